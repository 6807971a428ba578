"""``Supervisor``: what needs no worker; ``cluster/test_workers`` has the rest."""

from __future__ import annotations

import selectors
import socket
import subprocess
import sys
from pathlib import Path

from wsserver.config import Settings
from wsserver.workers.channel import Channel
from wsserver.workers.supervisor import Supervisor, Worker


def test_a_child_of_an_ended_worker_keeps_no_other_from_being_heard(tmp_path: Path) -> None:
    """It may hold the other end of the channel open, whose number the next channel gets."""
    settings = Settings(data_dir=tmp_path, workers=2)
    supervisor = Supervisor(settings, lambda: settings)
    ours, held_by_child = socket.socketpair()
    process = subprocess.Popen([sys.executable, "-c", ""])
    worker = Worker(1, "run", process, Channel(ours))
    supervisor._workers[7] = worker
    supervisor._selector.register(worker.channel, selectors.EVENT_READ, 7)
    descriptor = worker.channel.fileno()
    supervisor._ended(7, worker, process.wait())
    assert descriptor not in supervisor._selector.get_map()
    held_by_child.close()
    supervisor._close()
