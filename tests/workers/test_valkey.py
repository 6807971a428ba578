"""The private Valkey server: a real one."""

from __future__ import annotations

import os
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import poll
from wsserver.config import ConfigFaults
from wsserver.workers.valkey import PrivateValkey


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[PrivateValkey]:
    server = PrivateValkey(tmp_path)
    server.start()
    yield server
    server.stop()


def test_it_listens_on_a_socket_that_only_its_account_reaches(
    valkey: PrivateValkey, tmp_path: Path
) -> None:
    assert valkey.ping()
    assert stat.S_IMODE((tmp_path / "valkey").stat().st_mode) == 0o700
    assert valkey.url.startswith("unix:///")
    ports = Path(f"/proc/{valkey.pid}/net/tcp").read_text()
    sockets = {os.readlink(each) for each in Path(f"/proc/{valkey.pid}/fd").iterdir()}
    inodes = {line.split()[9] for line in ports.splitlines()[1:]}
    assert not {f"socket:[{inode}]" for inode in inodes} & sockets  # no TCP port


def test_it_is_started_again_when_it_was_killed(valkey: PrivateValkey) -> None:
    pid = valkey.pid
    os.kill(pid, signal.SIGKILL)

    def watched() -> bool:
        valkey.watch(time.monotonic())
        return valkey.pid not in (0, pid) and valkey.ping()

    assert poll(watched, bool)


def test_a_start_that_fails_is_tried_again_later(
    valkey: PrivateValkey, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    binary, valkey._binary = valkey._binary, tmp_path / "missing"
    os.kill(valkey.pid, signal.SIGKILL)

    def watched() -> bool:
        valkey.watch(time.monotonic())
        return "private valkey not started" in caplog.text

    assert poll(watched, bool)
    valkey._binary = binary

    def is_back() -> bool:
        valkey.watch(time.monotonic())
        return valkey.ping()

    assert poll(is_back, bool)


def test_it_is_killed_when_it_does_not_answer(valkey: PrivateValkey) -> None:
    pid, now = valkey.pid, time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    for later_s in (3, 6, 9, 12):
        valkey.watch(now + later_s)

    def watched() -> bool:
        valkey.watch(time.monotonic() + 60)
        return valkey.pid not in (0, pid)

    assert poll(watched, bool)


def test_a_second_server_in_the_same_folder_is_refused(
    valkey: PrivateValkey, tmp_path: Path
) -> None:
    with pytest.raises(ConfigFaults, match=r"data_dir .* is in use by another server with workers"):
        PrivateValkey(tmp_path).start()
    assert valkey.ping()


def test_a_path_too_long_for_a_socket_is_replaced_by_a_temporary_one(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    server = PrivateValkey(folder)
    server.start()
    try:
        assert server.ping()
        place = Path(server.url.removeprefix("unix://"))
        assert place.is_relative_to(tempfile.gettempdir())
        assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    finally:
        server.stop()
    assert not place.parent.exists()
    assert not (folder / "valkey").exists()
