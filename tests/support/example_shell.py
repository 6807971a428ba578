"""A shell that runs the examples of the documentation beside a server."""

from __future__ import annotations

import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.rst_blocks import ROOT
from tests.support.waiting import PATIENCE_S

USUAL_URL = "http://127.0.0.1:8765"


@dataclass
class ExampleShell:
    """A folder with a server running in it, and what a shell needs to work there."""

    folder: Path
    environ: dict[str, str]
    url: str = ""

    def here(self, text: str) -> str:
        """An example with this server's address in place of the usual one."""
        for scheme in ("http", "ws"):
            usual = USUAL_URL.replace("http", scheme)
            text = text.replace(usual, self.url.replace("http", scheme))
        return text

    def start(self, script: str, **more: Any) -> subprocess.Popen[str]:
        """Run a shell command beside the test."""
        return subprocess.Popen(
            ["sh", "-ec", f"exec {self.here(script)}"],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            **more,
        )

    def run(self, script: str) -> str:
        """Run a shell script to its end; returns its output."""
        done = subprocess.run(
            ["sh", "-ec", self.here(script)],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def assigned(shell: ExampleShell, assignments: list[str]) -> str:
    """The same assignments of variables with the values that they get, computed once."""
    names = [each.partition("=")[0].removeprefix("export ").strip() for each in assignments]
    prints = [f'printf "%s\\n" "${name}"' for name in names]
    values = shell.run("\n".join([*assignments, *prints])).splitlines()
    pairs = zip(names, values, strict=True)
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in pairs)


def make_example_shell(folder: Path) -> ExampleShell:
    """A folder that looks like a fresh clone after ``scripts/serve`` has installed everything."""
    tools = folder / ".venv" / "bin"
    tools.mkdir(parents=True)
    python = shlex.quote(sys.executable)
    for name in ("wsctl", "wsserver"):
        _script(tools / name, f'exec {python} -m {name} "$@"\n')
    _script(tools / "python", f'exec {python} "$@"\n')
    (tools / "activate").write_text(f"PATH={shlex.quote(str(tools))}:$PATH\n")
    (folder / "scripts").mkdir()
    # As scripts/serve does once .venv is ready, on a port that is free.
    _script(folder / "scripts" / "serve", f"exec {python} -m wsserver serve --dev --port 0\n")
    environ = {name: value for name, value in os.environ.items() if name[:2] not in ("WS", "XD")}
    environ |= {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{folder}",
        "XDG_CONFIG_HOME": str(folder / "config"),
        "COLUMNS": "120",
        "WSSERVER_NODE": "web",  # the pages show one; by default it is the name of the machine
    }
    return ExampleShell(folder, environ)


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def serve(shell: ExampleShell, command: str) -> Iterator[ExampleShell]:
    """Run a server until the test has ended; it must then stop with status 0."""
    server = shell.start(command, stderr=subprocess.PIPE)
    assert server.stderr is not None
    too_late = threading.Timer(PATIENCE_S, server.kill)
    too_late.start()
    said = ""
    try:
        while (ready := re.search(r"^listening on (http://\S+)$", said, re.MULTILINE)) is None:
            line = server.stderr.readline()
            assert line, said
            said += line
        too_late.cancel()
        shell.url = ready[1]
        yield shell
        server.send_signal(signal.SIGTERM)
        said += server.communicate(timeout=PATIENCE_S)[1]
        assert server.returncode == 0, said
        assert "Traceback" not in said, said
    finally:
        too_late.cancel()
        server.kill()
        server.communicate()
