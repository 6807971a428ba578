"""The watch over PostgreSQL's answers: a process that stood still, or that has no threads left.

What it does with a real server is in ``test_postgres_faults.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from types import SimpleNamespace
from typing import cast

import pytest

from wsserver.storage.engine.postgres import answer_watch
from wsserver.storage.engine.postgres.answer_watch import AnswerWatch, Inquiry
from wsserver.storage.engine.postgres.connecting import Server
from wsserver.storage.engine.postgres.connection import PostgresConnection


class Asked:
    """Stands in for a connection whose answer is awaited."""

    backend = None

    def __init__(self) -> None:
        self.asked_at = inf
        self.is_hung_up = False

    def hang_up(self) -> None:
        self.is_hung_up = True


def watch_at(
    monkeypatch: pytest.MonkeyPatch, asked: Asked, times: list[float | Callable[[], None]]
) -> None:
    """Let a watch read these times, two in each period; a function is called in between."""
    watch = AnswerWatch(Server("postgresql://localhost/none"))

    def monotonic() -> float:
        while callable(each := times.pop(0)):
            each()
        if not times:
            watch.stop()
        return each

    monkeypatch.setattr(answer_watch, "PERIOD_S", 0)
    monkeypatch.setattr(answer_watch, "time", SimpleNamespace(monotonic=monotonic))
    watch._is_over = False
    with watch.waiting(cast("PostgresConnection", asked), writes=True):
        asked.asked_at = 0.0
        watch._run()


def test_an_answer_that_waited_while_the_process_stood_still_is_read_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered, silent = Asked(), Asked()
    watch_at(monkeypatch, answered, [0, 60, lambda: setattr(answered, "asked_at", inf), 60, 60])
    watch_at(monkeypatch, silent, [0, 60, 60, 60])
    assert (answered.is_hung_up, silent.is_hung_up) == (False, True)


def test_the_watch_goes_on_without_a_thread_to_ask_in(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: Inquiry) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Inquiry, "start", refuse)
    asked = Asked()
    with caplog.at_level(logging.WARNING):
        watch_at(monkeypatch, asked, [3, 3, 20, 20])
    assert asked.is_hung_up
    assert "can't start new thread" in caplog.text
