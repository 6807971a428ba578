"""Findings as text for people and as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from wsctl.doctor.facts import Facts
from wsctl.doctor.findings import Finding, State, worst
from wsctl.formatting import ms
from wsctl.output.writer import Column, Output
from wsctl.text import printable
from wsctl.times import rfc3339

COLUMNS = [
    Column("STATE", "state"),
    Column("CHECK", "check"),
    Column("FINDING", "finding"),
    Column("WHAT TO DO", "do"),
]
_SIGNS = {State.OK: "✓", State.WARNING: "!", State.FAILED: "✗", State.SKIPPED: "–"}
_PLAIN_SIGNS = {State.OK: "+", State.WARNING: "!", State.FAILED: "x", State.SKIPPED: "-"}
_COLOURS = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "red", State.SKIPPED: None}
_WIDEST = 80
_INDENT = 30
"""Cells before a finding: sign, state, check."""


def document(facts: Facts, findings: Mapping[str, Finding]) -> dict[str, Any]:
    """The whole result as one JSON object."""
    return {
        "url": facts.configuration.url,
        "status": worst(finding.state for finding in findings.values()).value,
        "checked_at": rfc3339(facts.checked_at),
        "took_s": round(facts.took_s, 3),
        "counts": counts(findings.values()),
        "checks": [
            {
                "id": name,
                "state": finding.state.value,
                "what": finding.what,
                "do": finding.do or None,
                "data": dict(finding.data),
            }
            for name, finding in findings.items()
        ],
    }


def rows(findings: Mapping[str, Finding]) -> list[dict[str, str]]:
    """One row for each check."""
    return [
        {"state": found.state.value, "check": name, "finding": found.what, "do": found.do}
        for name, found in findings.items()
    ]


def counts(findings: Iterable[Finding]) -> dict[str, int]:
    """How many of each state."""
    states = [finding.state for finding in findings]
    return {state.value: states.count(state) for state in State}


def show(output: Output, facts: Facts, findings: Mapping[str, Finding]) -> None:
    """For people: a line for each check, the remedy below it, the totals at the end.

    With ``-q`` only warnings and failures.
    """
    signs = _signs()
    for names, finding in _alike(findings):
        if not output.quiet or finding.state in (State.WARNING, State.FAILED):
            title = names[0] if len(names) == 1 else f"{len(names)} checks"
            _show(output, signs[finding.state], title, finding)
    if not output.quiet:
        total = ", ".join(f"{n} {state}" for state, n in counts(findings.values()).items() if n)
        output.line(f"{total} in {ms(facts.took_s)}", bold=True)
        # The list may be longer than the screen: repeat the names of problems.
        if bad := _bad(findings):
            for line in wrapped(f"problems: {', '.join(bad)}", _width(output)):
                output.line(line)


def _bad(findings: Mapping[str, Finding]) -> list[str]:
    return [n for n, f in findings.items() if f.state in (State.FAILED, State.WARNING)]


def _width(output: Output) -> int:
    return min(_WIDEST, output.width if output.is_terminal else _WIDEST)


def _alike(findings: Mapping[str, Finding]) -> list[tuple[list[str], Finding]]:
    """The findings in order; adjacent ones skipped for the same reason are grouped."""
    groups: list[tuple[list[str], Finding]] = []
    for name, finding in findings.items():
        if groups and finding.state is State.SKIPPED and groups[-1][1] == finding:
            groups[-1][0].append(name)
        else:
            groups.append(([name], finding))
    return groups


def _show(output: Output, sign: str, name: str, finding: Finding) -> None:
    width = _width(output)
    indent = _INDENT if width >= 60 else 4
    style = {"fg": _COLOURS[finding.state]} if _COLOURS[finding.state] else {}
    head = f"{sign} {finding.state.value:<7} "
    first, *rest = wrapped(finding.what, width - indent)
    if indent == _INDENT:
        output.line_of([(head, style), (f"{name:<{_INDENT - len(head)}}", {}), (first, {})])
    else:
        output.line_of([(head, style), (name, {})])
        rest = [first, *rest]
    for line in rest:
        output.line(" " * indent + line)
    for number, line in enumerate(wrapped(finding.do, width - indent - 2)):
        mark = "  " if number else "> "
        output.line_of([(" " * indent + mark, {}), (line, {"bold": True})])


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most ``width`` cells, wide characters counted as two."""
    from io import StringIO

    from rich.console import Console
    from rich.text import Text

    if not text:
        return []
    console = Console(file=StringIO(), width=max(20, width))
    return [line.plain.rstrip() for line in Text(printable(text)).wrap(console, max(20, width))]


def _signs() -> Mapping[State, str]:
    """Signs that the terminal's encoding supports."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        "".join(_SIGNS.values()).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return _PLAIN_SIGNS
    return _SIGNS
