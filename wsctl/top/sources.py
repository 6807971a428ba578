"""Data sources of the screen: the monitor's feed, and polling over REST."""

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

POLL_INTERVAL_S = 5.0
WAITING = 1000
"""Size of the queue of updates; above half of it, events are counted and dropped."""

Update = Callable[[State, float], None]
"""An update of the state at a monotonic time."""


class Sources:
    """Two threads that produce updates, and the queue of updates for the screen.

    ``wake`` is a descriptor that is readable while updates wait.
    """

    def __init__(self, target: Target, *, events: Sequence[str], interval_s: float) -> None:
        self._target = target
        self._updates: queue.Queue[Update] = queue.Queue(WAITING)
        self._missed = 0
        self.failure: BaseException | None = None
        """Exception that ended a thread."""
        self._ended = threading.Event()
        self.wake, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        os.set_blocking(self.wake, False)
        self._feed = MonitorFeed(
            target, events=events, interval_s=interval_s, say=self._said, wait=self._wait
        )

    @property
    def reason(self) -> str:
        """Why the feed had no connection at the latest attempt."""
        return self._feed.reason

    def start(self) -> None:
        """Start the threads, as daemons, so that they do not delay the exit."""
        for work in (self._watch, self._poll):
            threading.Thread(target=self._guard, args=(work,), daemon=True).start()

    def stop(self) -> None:
        """Stop the threads."""
        self._ended.set()

    def nudge(self) -> None:
        """Make ``wake`` readable."""
        try:
            os.write(self._waker, b".")
        except BlockingIOError:
            pass  # it is readable already

    def deliver(self, state: State, now: float) -> None:
        """Apply all waiting updates; raises the exception that ended a thread."""
        while True:
            try:
                os.read(self.wake, 4096)
            except BlockingIOError:
                break
        while True:
            try:
                update = self._updates.get_nowait()
            except queue.Empty:
                break
            update(state, now)
        state.missed_events += self._missed
        self._missed = 0
        if self.failure is not None:
            raise self.failure

    def _put(self, update: Update, *, is_event: bool = False) -> None:
        if is_event and self._updates.qsize() > WAITING // 2:
            self._missed += 1
            return
        try:
            self._updates.put(update, timeout=POLL_INTERVAL_S)
        except queue.Full:
            return  # the program is suspended
        self.nudge()

    def _guard(self, work: Callable[[], None]) -> None:
        """Run ``work``; its exception ends the screen instead of printing a traceback."""
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
                self._put(_push(push), is_event=push.get("type") == "event")

    def _said(self, text: str) -> None:
        is_live, timestamp = self._feed.is_connected, rfc3339(time.time())
        text = one_line(text)
        self._put(lambda state, now: state.take_link(is_live, text, now, timestamp))

    def _wait(self, seconds: float) -> None:
        self._ended.wait(seconds)

    # The other thread

    def _poll(self) -> None:
        client = Client(self._target)
        while not self._ended.is_set():
            health = _answer(client, "/health", anonymous=True, accept=(200, 503))
            self._put(lambda state, _, health=health: state.take_health(health))  # type: ignore[misc]
            self._put(_lists(client))
            nodes = _answer(client, "/nodes").get("nodes")
            self._put(lambda state, _, nodes=nodes: state.take_nodes(nodes or []))  # type: ignore[misc]
            self._ended.wait(POLL_INTERVAL_S)
        client.close()


def _push(push: dict[str, Any]) -> Update:
    return lambda state, now: state.take(push, now)


def _lists(client: Client) -> Update:
    """Sessions and users, or the reason if the token may not read them."""
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
    """The answer; empty on failure, as the feed reports outages."""
    try:
        answer: dict[str, Any] = client.get(path, **options)
    except Failed:
        return {}
    return answer
