"""Descriptor limits: the number of connections, and the default that follows."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server_process import environment
from wsserver.fd_limits import KEPT_BACK, SPARE, attainable_connections


@pytest.mark.parametrize(
    ("hard", "connections"),
    [
        (resource.RLIM_INFINITY, 50_000),
        (1_048_576, 50_000),
        (50_500, 50_000),
        (50_499, 49_999),
        (4096, 3596),
        (1024, 524),
        (256, 96),
        (10, 1),
    ],
)
def test_the_smaller_of_50000_and_what_the_hard_limit_allows(
    monkeypatch: pytest.MonkeyPatch, hard: int, connections: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (min(100, hard), hard))
    assert attainable_connections(50_000) == connections
    assert connections + KEPT_BACK <= hard or hard in (resource.RLIM_INFINITY, 10)
    assert KEPT_BACK + SPARE == 500, "the rule of docs/deployment.rst"


@pytest.mark.slow
def test_the_setting_follows_the_limit_unless_it_is_set(tmp_path: Path) -> None:
    def shown(**env: str) -> str:
        code = (
            "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 1000))\n"
            "from wsserver.cli import main; main(['config', 'show', '--dev'])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=environment(**env),
            capture_output=True,
            text=True,
            check=True,
        )
        (line,) = (at for at in done.stdout.splitlines() if at.startswith("max_connections ="))
        return line

    assert shown().split() == ["max_connections", "=", "500", "#", "default"]
    assert "= 50000 " in shown(WSSERVER_MAX_CONNECTIONS="50000")
