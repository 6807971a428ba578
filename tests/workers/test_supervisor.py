"""``Supervisor``: what needs no worker; ``cluster/test_workers`` has the rest."""

from __future__ import annotations

import selectors
import socket
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from wsserver.config import Settings
from wsserver.workers.channel import Channel
from wsserver.workers.fleet import Action
from wsserver.workers.supervisor import Supervisor, Worker
from wsserver.workers.valkey import PrivateValkey


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


class FailingValkey:
    """Cannot be watched at all."""

    due = 0.0

    def watch(self, now: float) -> None:
        raise RuntimeError(f"at {now}")

    def stop(self) -> None:
        """Nothing runs."""


def test_workers_are_looked_after_though_valkey_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path, workers=2)
    supervisor = Supervisor(settings, lambda: settings)
    supervisor._valkey = cast(PrivateValkey, FailingValkey())
    ticks: list[float] = []

    def tick(now: float) -> list[Action]:
        ticks.append(now)
        return []

    monkeypatch.setattr(supervisor._fleet, "tick", tick)
    with pytest.raises(RuntimeError):
        supervisor._turn()
    assert len(ticks) == 1
    supervisor._close()
