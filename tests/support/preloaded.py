"""Server processes that start with their modules loaded: forks of a process that has imported them.

Most of what a start of ``wsserver`` takes is to import it. The process that is forked runs this
module; ``start`` asks it for a child, which then runs ``wsserver`` as ``python -m`` would.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
IS_POSSIBLE = hasattr(os, "pidfd_open")
LONGEST_REQUEST = 1 << 17
MODULES = ("wsserver.app", "wsserver.cli", "wsserver.extension_registry", "wsserver.process")


class ForkedProcess:
    """The part of ``subprocess.Popen`` that tests use, for a process that another one waits for."""

    def __init__(self, parent: socket.socket, request: Mapping[str, Any]) -> None:
        errors, errors_end = os.pipe()
        status, status_end = os.pipe()
        socket.send_fds(parent, [json.dumps(request).encode()], [errors_end, status_end])
        os.close(errors_end)
        os.close(status_end)
        self.stderr = os.fdopen(errors, "rb")
        self._status = os.fdopen(status, "rb", buffering=0)
        self.pid = int(self._status.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit status once it has ended, minus the number of a signal that ended it."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self._read_status()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            self._read_status()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _read_status(self) -> None:
        self.returncode = int(self._status.readline())
        self._status.close()


def start(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], output: str = os.devnull
) -> ForkedProcess:
    """Start ``wsserver`` with arguments; its stderr is a pipe, ``output`` takes its stdout."""
    request = {"arguments": list(arguments), "cwd": str(cwd), "env": dict(env), "output": output}
    return ForkedProcess(_parent(), request)


def run(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run ``wsserver`` with arguments that make it end by itself."""
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as output:
        process = start(arguments, cwd=cwd, env=env, output=output.name)
        overdue = threading.Timer(timeout, process.kill)
        overdue.start()
        try:
            with process.stderr as errors:
                said = errors.read().decode()
            status = process.wait(timeout)
        finally:
            overdue.cancel()
            overdue.join()
        return subprocess.CompletedProcess(arguments, status, output.read(), said)


@functools.cache
def _parent() -> socket.socket:
    """The socket of the process that forks; it ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(theirs.fileno())],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


# In the process that is forked


def serve(requests: socket.socket) -> dict[str, Any] | None:
    """Fork for each request, until the other end closes; returns, in a child, its request."""
    children: dict[int, tuple[int, int]] = {}  # of its descriptor: process, pipe for its status
    while True:
        for ready in select.select([requests.fileno(), *children], [], [])[0]:
            if ready in children:
                pid, status_end = children.pop(ready)
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                _write_line(status_end, status)
                os.close(status_end)
                os.close(ready)
                continue
            message, descriptors, _, _ = socket.recv_fds(requests, LONGEST_REQUEST, 2)
            if not message:
                return None
            errors_end, status_end = descriptors
            pid = os.fork()
            if pid == 0:
                os.dup2(errors_end, 2)
                requests.detach()
                os.closerange(3, 1024)
                request: dict[str, Any] = json.loads(message)
                return request
            os.close(errors_end)
            children[os.pidfd_open(pid)] = (pid, status_end)
            _write_line(status_end, pid)


def _write_line(descriptor: int, number: int) -> None:
    try:
        os.write(descriptor, f"{number}\n".encode())
    except BrokenPipeError:
        pass  # nobody asks any more


def become(request: Mapping[str, Any]) -> None:
    """Take over what the command line, the environment and the interpreter's start would set."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    output = os.open(request["output"], os.O_WRONLY)
    os.dup2(output, 1)
    os.close(output)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.path[0] = request["cwd"]
    sys.argv = ["wsserver", *request["arguments"]]


if __name__ == "__main__":
    import importlib
    import runpy

    # A Ctrl-C that ends the tests reaches the whole group; the tests end this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in MODULES:
        importlib.import_module(name)
    asked = serve(socket.socket(fileno=int(sys.argv[1])))
    if asked is not None:
        become(asked)
        runpy.run_module("wsserver", run_name="__main__", alter_sys=True)
