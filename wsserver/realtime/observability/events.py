"""The event bus: calls registered handlers by the name of the event."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from wsserver.clock import Clock, rfc3339
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

Event = dict[str, Any]
Handler = Callable[[Event], Any]
Wanted = str | Callable[[str], bool]
"""The names of the events that a handler is called for: a glob, or a predicate."""
Admits = Callable[[str], bool]
"""Called with the name of each event that a handler is for, before the event is built; False: the
handler is not called for this one."""

USER_CONNECTED = "user_connected"
USER_DISCONNECTED = "user_disconnected"
SESSION_JOINED = "session_joined"
SESSION_LEFT = "session_left"
MESSAGE_RECEIVED = "message_received"
MESSAGE_PUBLISHED = "message_published"
MESSAGE_DELIVERED = "message_delivered"
ANSWER_ENDED = "answer_ended"
TYPING_STATUS_CHANGED = "typing_status_changed"
NOTIFICATION_SENT = "notification_sent"
NOTIFICATION_FAILED = "notification_failed"
HOLDER_CHANGED = "holder_changed"
SESSION_STATE_CHANGED = "session_state_changed"
RECORDING_STARTED = "recording_started"
RECORDING_ENDED = "recording_ended"
CHAOS_CHANGED = "chaos_changed"
ALERT_RAISED = "alert_raised"
ALERT_CLEARED = "alert_cleared"

CONTENT_PERMISSION = "messages:read"
"""The permission that a token needs to see the contents of messages in events."""

KNOWN_NAMES = 1000
"""Event names whose handlers are cached."""
MAX_RUNNING = 1000
"""Running calls of async handlers; beyond it their events are dropped, with a warning."""


def check_handler(name: Wanted, handler: Handler) -> None:
    """Raise ``TypeError`` for what cannot be the name or the handler of an event."""
    if not isinstance(name, str) and not callable(name):
        given = type(name).__name__
        raise TypeError(f"the name of an event is a string or a function, not {given}")
    if not callable(handler):
        raise TypeError(f"an event handler is callable, not {type(handler).__name__}")


class EventBus:
    """Calls handlers by the name of the event; names may be globs such as ``session_*``.

    A handler gets one dict: ``name``, ``timestamp`` and the event's fields. Sync handlers are
    called immediately and must not block; async ones run as tasks. An exception is logged and
    counted, and affects neither the server nor other handlers.
    """

    def __init__(self, tasks: Tasks, clock: Clock, on_failure: Callable[[], None]) -> None:
        self._tasks = tasks
        self._clock = clock
        self._on_failure = on_failure
        self._handlers: list[tuple[Wanted, Handler, Admits | None]] = []
        self._by_name: dict[str, tuple[tuple[Handler, Admits | None], ...]] = {}
        self._running = 0
        self.dropped = 0
        """Events dropped for async handlers because too many calls were running."""

    def hears(self, name: str) -> bool:
        """Whether events of this name have a handler; check before building a costly event."""
        return bool(self._handlers_of(name))

    def add_event_handler(
        self, name: Wanted, handler: Handler, admits: Admits | None = None
    ) -> None:
        """Call ``handler`` for each event whose name matches the glob or predicate ``name``.

        The result of a predicate is cached until handlers are added or removed. ``admits`` is
        called for each event, and limits their number.
        """
        check_handler(name, handler)
        self._handlers.append((name, handler, admits))
        self._by_name.clear()

    def remove_event_handler(self, name: Wanted, handler: Handler) -> None:
        """Undo ``add_event_handler``; raises ``ValueError`` if the handler is not registered."""
        for index, (wanted, known, _) in enumerate(self._handlers):
            if (wanted, known) == (name, handler):
                del self._handlers[index]
                self._by_name.clear()
                return
        raise ValueError(f"no such handler of {name!r}: {handler!r}")

    def emit(self, name: str, **fields: Any) -> None:
        """Call the handlers of an event; never raises because of a handler."""
        handlers = self._admitted(name)
        if handlers:
            self._tell(name, handlers, fields)

    def emit_lazily(self, name: str, fields: Callable[[], dict[str, Any]]) -> None:
        """The same; ``fields`` is called only if a handler gets the event."""
        handlers = self._admitted(name)
        if handlers:
            self._tell(name, handlers, fields())

    def _admitted(self, name: str) -> list[Handler]:
        """The handlers that get the next event of this name."""
        handlers = self._handlers_of(name)
        return [handler for handler, admits in handlers if admits is None or admits(name)]

    def _tell(self, name: str, handlers: Sequence[Handler], fields: dict[str, Any]) -> None:
        timestamp = rfc3339(self._clock.wall())
        for handler in handlers:
            self._call(name, handler, {"name": name, "timestamp": timestamp, **fields})

    def _handlers_of(self, name: str) -> tuple[tuple[Handler, Admits | None], ...]:
        found = self._by_name.get(name)
        if found is None:
            if len(self._by_name) >= KNOWN_NAMES:
                self._by_name.clear()
            found = self._by_name[name] = tuple(
                (handler, admits)
                for wanted, handler, admits in self._handlers
                if self._is_wanted(wanted, name)
            )
        return found

    def _is_wanted(self, wanted: Wanted, name: str) -> bool:
        if isinstance(wanted, str):
            return fnmatchcase(name, wanted)
        try:
            return wanted(name)
        except Exception:  # the edge to foreign code; logged
            self._on_failure()
            log.exception("event handler's predicate failed name=%s", name)
            return False

    def _call(self, name: str, handler: Handler, event: Event) -> None:
        try:
            outcome = handler(event)
        except Exception:  # noqa: BLE001 - the edge to foreign code; logged
            self._failed(name, handler)
            return
        if outcome is None or not inspect.isawaitable(outcome):
            return
        if self._running >= MAX_RUNNING:
            if inspect.iscoroutine(outcome):
                outcome.close()
            self.dropped += 1
            if self.dropped & (self.dropped - 1) == 0:  # at 1, 2, 4, 8 …: not one log line each
                log.warning("events dropped by slow handlers name=%s total=%d", name, self.dropped)
            return
        self._running += 1
        self._tasks.spawn(self._await(name, handler, outcome), name=f"event {name}")

    async def _await(self, name: str, handler: Handler, outcome: Awaitable[Any]) -> None:
        try:
            await outcome
        except Exception:  # noqa: BLE001 - the edge to foreign code; logged
            self._failed(name, handler)
        finally:
            self._running -= 1

    def _failed(self, name: str, handler: Handler) -> None:
        self._on_failure()
        log.exception("event handler failed name=%s handler=%r", name, handler)


def has_content(event: Mapping[str, Any]) -> bool:
    """Whether the event has the content of a message, as ``message_received`` does."""
    message = event.get("message")
    return isinstance(message, dict) and "content" in message


def without_content(event: dict[str, Any]) -> dict[str, Any]:
    """The event without the content of its message, with ``content_omitted`` in the message."""
    if not has_content(event):
        return event
    message = {name: value for name, value in event["message"].items() if name != "content"}
    return {**event, "message": {**message, "content_omitted": True}}
