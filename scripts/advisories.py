"""Known vulnerabilities of the installed packages, by pip-audit: found, none, or skipped.

pip-audit exits with 0 also if it could look up nothing, and with 1 both for vulnerabilities and for
network errors: its report distinguishes them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

EXIT_OK, EXIT_FAILED, EXIT_SKIPPED = 0, 1, 75
"""75 is EX_TEMPFAIL of sysexits.h."""
TIMEOUT_S = 15
LIMIT_S = 300
OUTAGES = (
    "ConnectionError",
    "ConnectTimeout",
    "Max retries exceeded",
    "NameResolutionError",
    "ProxyError",
    "ReadTimeout",
    "Could not connect to",
    "Service Unavailable",
    "Connection aborted",
    "timed out",
)
"""Messages of pip-audit for network errors."""


class Verdict(NamedTuple):
    """Exit status of a scan, and lines for people."""

    status: int
    lines: tuple[str, ...]


def judge(report: str, errors: str) -> Verdict:
    """The verdict from the JSON report (may be empty) and from stderr."""
    try:
        found = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = errors.strip().splitlines()[-1] if errors.strip() else "no report"
        if any(outage in errors for outage in OUTAGES):
            return Verdict(EXIT_SKIPPED, (f"skipped: no advisories without a network ({last})",))
        return Verdict(EXIT_FAILED, (f"pip-audit failed: {last}",))
    return _judge_packages(found)


def _judge_packages(found: Sequence[Mapping[str, Any]]) -> Verdict:
    audited = [each for each in found if "skip_reason" not in each]
    unknown = [each for each in found if "skip_reason" in each]
    faults = [
        f"{each['name']} {each['version']}: {fault['id']}, fixed in"
        f" {', '.join(fault['fix_versions']) or 'no version yet'}"
        for each in audited
        for fault in each["vulns"]
    ]
    if faults:
        return Verdict(EXIT_FAILED, tuple(faults))
    if not audited:
        return Verdict(
            EXIT_SKIPPED,
            (f"skipped: the index has no advisories for any of the {len(unknown)} packages",),
        )
    lines = [f"no known vulnerability in {len(audited)} packages"]
    if unknown:
        names = ", ".join(each["name"] for each in unknown)
        lines.append(f"skipped: not looked up, as the index does not have them: {names}")
    return Verdict(EXIT_OK, tuple(lines))


def main() -> int:
    """Run pip-audit on this environment, without editable packages."""
    command = [sys.executable, "-m", "pip_audit", "--skip-editable", "--progress-spinner", "off"]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            [*command, "--format", "json", "--timeout", str(TIMEOUT_S)],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        verdict = Verdict(EXIT_SKIPPED, (f"skipped: no answer within {LIMIT_S} s",))
    else:
        verdict = judge(done.stdout, done.stderr)
    print(*verdict.lines, sep="\n")
    return verdict.status


if __name__ == "__main__":
    sys.exit(main())
