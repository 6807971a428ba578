"""The crontab, the units and the page on exports are run as they are written."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.export_database import add_deliveries, add_entries, add_snapshots, rows_in
from tests.support.rst_blocks import block, table
from tests.support.server_process import ROOT, ServerProcess, shell
from wsctl.commands.export import export
from wsctl.errors import ExitStatus

DOCUMENT = "docs/exports.rst"
CRON = ROOT / "scripts/wsctl-exports.cron"
SERVICE = ROOT / "scripts/wsctl-export@.service"
TIMER = ROOT / "scripts/wsctl-export@.timer"
KINDS = ("stats", "audit", "notifications")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A machine in small: a server in ``data``, a place for exports, ``wsctl``, a token."""
    for name in ("bin", "data", "exports", "etc"):
        (tmp_path / name).mkdir()
    program = tmp_path / "bin/wsctl"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m wsctl "$@"\n')
    program.chmod(0o755)
    database = tmp_path / "data/wsserver.sqlite3"
    env = {"WSSERVER_SNAPSHOT_INTERVAL_S": "86400"}
    with ServerProcess(
        tmp_path, "--dev", "--database", str(database), env=env, is_preloaded=True
    ) as running:
        add_entries(database, 1, 2)
        add_snapshots(database, *range(12))
        add_deliveries(database, "a", "b")
        (tmp_path / "etc/export-token").write_text(running.token())
        yield running


def here(server: ServerProcess, text: str) -> str:
    """A line of theirs with this machine's places in it."""
    for place, ours in (
        ("/var/lib/wsserver-exports", "exports"),
        ("/var/lib/wsserver", "data"),
        ("var/wsserver.sqlite3", "data/wsserver.sqlite3"),
        ("/etc/wsserver", "etc"),
        ("/opt/wsserver/bin", "bin"),
    ):
        text = text.replace(place, str(server.folder / ours))
    return text.replace("http://127.0.0.1:8765", server.url)


def run(server: ServerProcess, command: str) -> str:
    """Run it; it must go well and say nothing on stderr."""
    path = f"PATH={server.folder}/bin:$PATH"
    done = shell(f"{path}; {here(server, command)}", server.folder)
    assert (done.returncode, done.stderr) == (0, ""), (command, done)
    return done.stdout


# cron


def cron_lines() -> list[tuple[list[str], str, str]]:
    """Times, user and command of each line (crontab(5), with the system's field for the user)."""
    lines = []
    for line in CRON.read_text().splitlines():
        if line and not line.startswith("#") and not re.match(r"[A-Z]+=", line):
            *times, user, command = line.split(maxsplit=6)
            lines.append((times, user, command))
    return lines


def test_the_crontab_is_one() -> None:
    limits = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
    for times, user, command in cron_lines():
        assert len(times) == len(limits)
        for text, (low, high) in zip(times, limits, strict=True):
            assert text == "*" or low <= int(text) <= high
        assert user == "wsserver"
        assert "%" not in command  # cron takes it for the end of the line
    assert "\t" not in CRON.read_text()
    assert CRON.read_text().endswith("\n")


@pytest.mark.long
def test_each_line_of_the_crontab_does_its_work_in_silence_again_and_again(
    server: ServerProcess,
) -> None:
    exports = server.folder / "exports"
    for _ in range(2):
        for _, _, command in cron_lines():
            assert run(server, command) == ""
    for kind in ("audit", "notifications"):
        files = sorted(exports.glob(f"{kind}-*Z.csv.gz"))
        assert [len(rows_in(file)) for file in files] == [2, 0]
    assert (exports / "week.csv").exists()
    assert len([*exports.glob("stats-*Z.ndjson.gz")]) == 2
    for file in exports.iterdir():
        os.utime(file, (time.time() - 91 * 86_400,) * 2)
    run(server, next(command for _, _, command in cron_lines() if command.startswith("find")))
    left = {file.name for file in exports.iterdir()}
    states = {f"{kind}.state{end}" for kind in KINDS for end in ("", ".lock")}
    assert left == {"week.csv", *states}


@pytest.mark.long
def test_the_crontab_works_while_the_server_is_down(server: ServerProcess) -> None:
    server.stop()
    for _, _, command in cron_lines():
        assert run(server, command) == ""
    (file,) = (server.folder / "exports").glob("audit-*.csv.gz")
    assert [row["target"] for row in rows_in(file)] == ["1", "2"]


# systemd


def unit(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, delimiters="=")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text())
    return parser


@pytest.mark.parametrize("kind", KINDS)
def test_the_service_exports_in_silence(server: ServerProcess, kind: str) -> None:
    command = unit(SERVICE)["Service"]["ExecStart"].replace("%i", kind)
    assert "%" not in command
    assert "$" not in command
    for _ in range(2):
        # systemd calls no shell: the words are taken as they are.
        done = subprocess.run(
            shlex.split(here(server, command)),
            cwd=server.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    first, second = sorted((server.folder / "exports").glob(f"{kind}-*Z.csv.gz"))
    assert (len(rows_in(first)) >= 2, rows_in(second)) == (True, [])


def test_the_units_belong_together() -> None:
    service, timer = unit(SERVICE), unit(TIMER)
    assert int(service["Service"]["SuccessExitStatus"]) == ExitStatus.BUSY
    assert (
        f"/var/lib/{service['Service']['StateDirectory']}/%i.state"
        in service["Service"]["ExecStart"]
    )
    assert service["Service"]["Type"] == "oneshot"
    assert timer["Timer"]["Persistent"] == "true"
    assert timer["Install"]["WantedBy"] == "timers.target"
    assert set(KINDS) <= set(export.commands)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    program = tmp_path / "program"  # the path of this checkout may have quotes in it
    program.symlink_to(sys.executable)
    units = []
    for path in (SERVICE, TIMER):
        text = path.read_text().replace("/opt/wsserver/bin/wsctl", str(program))
        units.append(tmp_path / path.name.replace("@", "@audit"))
        units[-1].write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    assert str(tmp_path) not in done.stderr
    when = unit(TIMER)["Timer"]["OnCalendar"]
    subprocess.run(["systemd-analyze", "calendar", when], check=True, capture_output=True)


# The page


def commands(name: str) -> list[str]:
    return block(DOCUMENT, name).commands


def test_the_commands_of_the_page_work(server: ServerProcess) -> None:
    target = f"wsctl --url {server.url} --token-file etc/export-token "
    for command in (*commands("range-commands"), *commands("since-last-commands")):
        run(server, command.replace("wsctl ", target, 1))
    first, second = sorted(server.folder.glob("audit-*Z.csv"))
    assert [len(rows_in(file)) for file in (first, second)] == [2, 0]


def test_what_the_page_installs_is_there(server: ServerProcess) -> None:
    for command in (*commands("cron-commands"), *commands("systemd-commands")):
        for word in shlex.split(command):
            if word.startswith("scripts/"):
                assert (ROOT / word).is_file()
    (make_token, *_) = commands("systemd-commands")
    secret = server.folder / "var/dev-jwt-secret"
    (server.folder / "etc/jwt-secret").write_bytes(secret.read_bytes())
    run(server, make_token)
    run(server, unit(SERVICE)["Service"]["ExecStart"].replace("%i", "audit"))


def test_the_page_has_all_exit_codes() -> None:
    found = {row[0] for row in table(DOCUMENT, "exit-codes")}
    assert found == {str(int(code)) for code in ExitStatus}
