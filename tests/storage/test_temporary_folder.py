"""Temporary folders are removed at the end, or by the next process after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.server_process import ROOT, environment
from wsserver.storage.maintenance import temporary_folder as module
from wsserver.storage.maintenance.temporary_folder import PREFIX, remove_abandoned, temporary_folder


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_private_and_gone_at_the_end(tmp_path: Path) -> None:
    with suppress(ZeroDivisionError), temporary_folder(tmp_path) as folder:
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "draft").touch()
        raise ZeroDivisionError
    assert left(tmp_path) == []


def test_those_of_living_processes_stay(tmp_path: Path) -> None:
    with temporary_folder(tmp_path) as folder:
        remove_abandoned(tmp_path)
        assert folder.is_dir()


def test_those_of_killed_processes_go_and_nothing_else(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from wsserver.storage.maintenance.temporary_folder import *\n"
        "with temporary_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'draft').touch(); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, env=environment(), check=False
    )
    assert done.returncode == -signal.SIGKILL
    (tmp_path / f"{PREFIX}early").mkdir()  # killed before it was locked
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "lock").touch()
    (tmp_path / f"{PREFIX}link").symlink_to("elsewhere")
    assert len(left(tmp_path)) == 4
    remove_abandoned(tmp_path)
    assert left(tmp_path) == [f"{PREFIX}link", "elsewhere"]


@pytest.mark.parametrize("point", ["before its lock is made", "before it is locked"])
def test_a_folder_that_is_taken_away_too_early_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    open_locked = module._open_locked
    calls = []

    def first_time(folder: Path, flags: int) -> int | None:
        calls.append(folder)
        if len(calls) == 1:
            if point == "before it is locked":
                (folder / "lock").touch()
            remove_abandoned(tmp_path)
        return open_locked(folder, flags)

    monkeypatch.setattr(module, "_open_locked", first_time)
    with temporary_folder(tmp_path) as folder:
        assert left(tmp_path) == [folder.name]
        assert os.path.exists(folder / "lock")
    assert len(calls) > 1
