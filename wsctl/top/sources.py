"""Where the screen's facts come from: the monitor's feed and a few questions over REST."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from wsctl.config.target import Target
from wsctl.errors import Failed, NotPermitted
from wsctl.http.client import Client
from wsctl.text import one_line
from wsctl.times import rfc3339
from wsctl.top.model import LISTED, State
from wsctl.websocket.monitor_feed import MonitorFeed

ASK_EVERY_S = 5.0
WAITING = 1000
"""Facts that may wait to be taken in; past it events are counted and left out."""

Fact = Callable[[State, float], None]
"""Something to tell the state, at a monotonic time."""


class Sources:
    """Two threads that find facts, and the queue in which these wait for the screen.

    ``wake`` is a descriptor that is readable whenever something waits.
    """

    def __init__(self, target: Target, *, events: Sequence[str], interval_s: float) -> None:
        self._target = target
        self._facts: queue.Queue[Fact] = queue.Queue(WAITING)
        self._missed = 0
        self.failure: BaseException | None = None
        """Why there will be no more facts."""
        self._ended = threading.Event()
        self.wake, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        os.set_blocking(self.wake, False)
        self._feed = MonitorFeed(
            target, events=events, interval_s=interval_s, say=self._said, wait=self._wait
        )

    def start(self) -> None:
        """Begin to look. The threads are daemons: they hold up nobody who wants to leave."""
        for work in (self._watch, self._ask):
            threading.Thread(target=self._guard, args=(work,), daemon=True).start()

    def stop(self) -> None:
        """No more facts are wanted."""
        self._ended.set()

    def nudge(self) -> None:
        """Make ``wake`` readable."""
        try:
            os.write(self._waker, b".")
        except BlockingIOError:
            pass  # it is readable already

    def deliver(self, state: State, now: float) -> None:
        """Tell the state all that waits; raises what ended the feed, once it has."""
        while True:
            try:
                os.read(self.wake, 4096)
            except BlockingIOError:
                break
        while True:
            try:
                fact = self._facts.get_nowait()
            except queue.Empty:
                break
            fact(state, now)
        state.missed_events += self._missed
        self._missed = 0
        if self.failure is not None:
            raise self.failure

    def _tell(self, fact: Fact, *, is_event: bool = False) -> None:
        if is_event and self._facts.qsize() > WAITING // 2:
            self._missed += 1
            return
        try:
            self._facts.put(fact, timeout=ASK_EVERY_S)
        except queue.Full:
            return  # nobody looks at the moment: the program is stopped
        self.nudge()

    def _guard(self, work: Callable[[], None]) -> None:
        """Whatever ends a thread ends the screen: a traceback would spoil it."""
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that draws
            self.failure = error
            self.nudge()

    # The feed's thread

    def _watch(self) -> None:
        for push in self._feed.pushes():
            if self._ended.is_set():
                return
            if push is not None:
                self._tell(_push(push), is_event=push.get("type") == "event")

    def _said(self, text: str) -> None:
        is_live, timestamp = self._feed.is_connected, rfc3339(time.time())
        text = one_line(text)
        self._tell(lambda state, now: state.take_link(is_live, text, now, timestamp))

    def _wait(self, seconds: float) -> None:
        self._ended.wait(seconds)

    # The other thread

    def _ask(self) -> None:
        client = Client(self._target)
        while not self._ended.is_set():
            health = _answer(client, "/health", anonymous=True, accept=(200, 503))
            self._tell(lambda state, _, health=health: state.take_health(health))  # type: ignore[misc]
            self._tell(_lists(client))
            self._ended.wait(ASK_EVERY_S)
        client.close()


def _push(push: dict[str, Any]) -> Fact:
    return lambda state, now: state.take(push, now)


def _lists(client: Client) -> Fact:
    """Sessions and users; the reason, where the token does not allow to see them."""
    try:
        sessions = client.get("/sessions", {"limit": LISTED}).get("sessions")
        users = client.get("/online-users", {"limit": LISTED}).get("users")
    except NotPermitted as error:
        refusal = one_line(error.message)
        return lambda state, _: state.take_lists([], [], refusal)
    except Failed:
        return lambda state, _: None
    return lambda state, _: state.take_lists(sessions or [], users or [])


def _answer(client: Client, path: str, **options: Any) -> dict[str, Any]:
    """The answer, or nothing where there is none: the feed tells about outages."""
    try:
        answer: dict[str, Any] = client.get(path, **options)
    except Failed:
        return {}
    return answer
