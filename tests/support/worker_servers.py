"""A server of several workers: its processes, and connects in a loop."""

from __future__ import annotations

import http.client
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.running_server import API, RunningServer
from tests.support.waiting import PATIENCE_S, poll


class WorkerServer(RunningServer):
    """``wsserver serve --workers N``."""

    def __init__(self, folder: Path, *, workers: int = 2, **settings: Any) -> None:
        super().__init__(folder, workers=workers, node="box", **settings)

    def pids(self) -> dict[int, int]:
        """Worker's number → its latest process."""
        found = {}
        for line in list(self.lines):
            if '"event": "worker started"' in line:
                worker, pid = re.findall(r'"(?:worker|pid)": (\d+)', line)
                found[int(worker)] = int(pid)
        return found

    def valkey_pid(self) -> int:
        """Process id of the private Valkey server; 0 while there is none."""
        return next((pid for pid, name in children_of(self.process.pid) if "valkey" in name), 0)

    def accepted(self) -> int:
        """How often workers have begun to accept."""
        return sum('"event": "worker accepts connections"' in line for line in list(self.lines))


def children_of(pid: int) -> list[tuple[int, str]]:
    """The living child processes of a process, with their names."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().rpartition(")")
            state, parent = rest.split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found.append((int(folder.name), name.partition("(")[2]))
    return found


def is_alive(pid: int) -> bool:
    """Whether a process exists; one that has ended and was not waited for does not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def await_end(pids: list[int]) -> None:
    """Wait until none of the processes is left."""
    try:
        poll(lambda: [pid for pid in pids if is_alive(pid)], lambda left: not left)
    except BaseException:
        for pid in pids:
            if is_alive(pid):
                os.kill(pid, 9)
        raise


@contextmanager
def connects_in_a_loop(server: RunningServer, threads: int = 2) -> Iterator[list[int]]:
    """Meanwhile new connections are opened, one request on each: every one has to be answered.

    Yields the statuses so far. A connection that is reset because its worker was killed has been
    connected, which is what this tests.
    """
    statuses: list[int] = []
    failures: list[BaseException] = []
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set() and not failures:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
            try:
                connection.connect()
            except OSError as error:
                failures.append(error)
                return
            try:
                connection.request("GET", f"{API}/health")
                statuses.append(connection.getresponse().status)
            except (ConnectionResetError, http.client.RemoteDisconnected, BrokenPipeError):
                statuses.append(0)
            except OSError as error:
                failures.append(error)
            finally:
                connection.close()
            stop.wait(0.005)

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        for thread in running:
            thread.join(2 * PATIENCE_S)
    assert not failures, failures
