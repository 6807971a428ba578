"""docs/database.rst: its commands do what it says."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from tests.support.rst_blocks import block, table
from tests.support.server_process import ServerProcess, shell
from tests.support.tokens import SECRET
from wsserver.errors import MEANINGS

DOCUMENT = "docs/database.rst"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A machine in small: settings, data, backups, and the programs that the commands call."""
    for name in ("etc", "data", "backups", "bin"):
        (tmp_path / name).mkdir()
    (tmp_path / "etc/wsserver.toml").write_text(
        f'data_dir = "{tmp_path}/data"\njwt_secret = "{SECRET}"\nport = 0\n'
    )
    program(tmp_path, "wsserver", f'exec {shlex.quote(sys.executable)} -m wsserver "$@"')
    program(tmp_path, "systemctl", f'echo "$@" >> {tmp_path}/systemctl.log')
    return tmp_path


def program(folder: Path, name: str, script: str) -> None:
    path = folder / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def here(folder: Path, text: str) -> str:
    """A line of the document, with this folder's places in it."""
    for place, ours in (
        ("/etc/wsserver", "etc"),
        ("/var/lib/wsserver", "data"),
        ("/var/backups/wsserver", "backups"),
        ("/var/backups", "backups"),
        ("/opt/wsserver/bin", "bin"),
    ):
        text = text.replace(place, str(folder / ours))
    return text.replace("-o wsserver -g wsserver ", "")


def run(folder: Path, script: str) -> str:
    """Type it; it must go well and say nothing on stderr."""
    path = f"PATH={shlex.quote(str(folder / 'bin'))}:$PATH; set -e"
    done = shell(f"{path}\n{here(folder, script)}", folder)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def commands(name: str) -> str:
    return "\n".join(block(DOCUMENT, name).commands)


def cron_line() -> str:
    """The command as cron hands it to the shell (crontab(5): an escaped % is a %)."""
    line = block(DOCUMENT, "crontab").text
    *times, user, command = line.split(maxsplit=6)
    assert (len(times), user) == (5, "wsserver")
    assert "%" not in command.replace("\\%", "")
    return command.replace("\\%", "%")


def test_check_and_backup_beside_a_server_then_restore(folder: Path) -> None:
    with ServerProcess(folder, "--config", "etc/wsserver.toml", is_preloaded=True) as server:
        assert "well (every page and index" in run(folder, commands("check-command"))
        assert "today.sqlite3: " in run(folder, commands("back-up-command"))
        for _ in range(2):
            assert run(folder, cron_line()) == ""
        assert server.stop() == 0
    (nightly,) = (path for path in (folder / "backups").iterdir() if path.name != "today.sqlite3")
    assert nightly.stem in ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

    nightly.rename(nightly.with_stem("Mon"))
    (folder / "data/wsserver.sqlite3").write_bytes(b"damaged")
    (folder / "data/wsserver.sqlite3-wal").write_bytes(b"of the damaged one")
    assert "well" in run(folder, commands("restore-commands"))
    assert (folder / "systemctl.log").read_text() == "stop wsserver\nstart wsserver\n"
    assert (folder / "data/wsserver.sqlite3").stat().st_mode & 0o777 == 0o600
    moved = {path.name for path in (folder / "data/before-restore").iterdir()}
    assert moved == {"wsserver.sqlite3", "wsserver.sqlite3-wal"}
    with ServerProcess(folder, "--config", "etc/wsserver.toml", is_preloaded=True) as server:
        assert server.stop() == 0
    assert "given back" in run(folder, commands("prune-command"))


def test_the_statuses_of_the_faults_are_those_of_their_codes() -> None:
    answers = [row[1].split() for row in table(DOCUMENT, "faults")]
    shown = {(int(answer[0]), answer[1]) for answer in answers if answer[0].isdigit()}
    expected = {(MEANINGS[c].status, c) for c in ("storage_unavailable", "storage_full")}
    assert shown == expected
