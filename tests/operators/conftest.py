"""A development server for a file's tests, and wsctl beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.support.server_process import ServerProcess
from wsctl.cli.root import wsctl

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A development server that takes a snapshot five times a second."""
    env = {"WSSERVER_SNAPSHOT_INTERVAL_S": "0.2", "WSSERVER_NODE": "n1"}
    folder = tmp_path_factory.mktemp("server")
    with ServerProcess(folder, "--dev", env=env, is_preloaded=True) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WSCTL_URL", "WSCTL_TOKEN", "WSSERVER_JWT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def run() -> Run:
    """Call wsctl in this process and the present folder: ``run("stats", "-o", "json")``."""

    def call(*args: str, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(wsctl, args, input=stdin, prog_name="wsctl")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def ctl(run: Run, server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> Run:
    """As ``run``, in the server's folder, where its address and a token are found."""
    monkeypatch.chdir(server.folder)
    return run
