"""The command ``wsserver``, called in this process or run in another."""

from __future__ import annotations

import os
import subprocess
import sys

from click.testing import CliRunner, Result

from tests.support.server_process import ROOT
from wsserver.cli import main

SECRET = "canary-" + "s" * 32


def invoke(*args: str, **env: str) -> Result:
    return CliRunner().invoke(main, args, env=env)


def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WSSERVER_")}
    return subprocess.run(
        [sys.executable, "-m", "wsserver", *args],
        env=clean | {"PYTHONPATH": str(ROOT)} | env,
        capture_output=True,
        text=True,
        timeout=30,
    )
