"""Servers that are forks behave as those that are executed: settings, folder, signals, status."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.support import preloaded
from tests.support.server_process import ServerProcess, environment, executed, refused
from tests.support.tokens import SECRET
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -9)]
)
def test_it_serves_until_a_signal(tmp_path: Path, number: int, status: int) -> None:
    with ServerProcess(tmp_path, "--dev", is_preloaded=True) as server:
        assert isinstance(server.process, preloaded.ForkedProcess)
        assert server.process.poll() is None
        assert (tmp_path / "var" / "wsserver.sqlite3").exists()
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(0)
        assert server.stop(number) == status
        assert server.process.poll() == status


def test_it_is_refused_as_one_that_is_executed(tmp_path: Path) -> None:
    env = environment(WSSERVER_PORT="many", TZ="Asia/Shanghai")
    forked = preloaded.start(["serve"], cwd=tmp_path, env=env)
    with forked.stderr as errors:
        said = errors.read().decode()
    other = executed("serve", folder=tmp_path, WSSERVER_PORT="many")
    assert (forked.wait(PATIENCE_S), said) == (other.returncode, other.stderr)
    assert other.returncode == 78


@pytest.mark.parametrize("command", ["config show", "config --help", "nonsense"])
def test_a_command_says_the_same_on_both_outputs(tmp_path: Path, command: str) -> None:
    env = {"WSSERVER_JWT_SECRET": SECRET}
    forked = refused(*command.split(), folder=tmp_path, **env)
    other = executed(*command.split(), folder=tmp_path, **env)
    assert forked.stdout == other.stdout
    assert forked.stderr == other.stderr
    assert forked.returncode == other.returncode


def test_two_at_a_time_are_kept_apart(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    with (
        ServerProcess(folders[0], "--dev", is_preloaded=True) as one,
        ServerProcess(folders[1], "--dev", is_preloaded=True) as other,
    ):
        assert one.url != other.url
        assert one.stop() == 0
        assert other.process.poll() is None
        assert other.stop() == 0
