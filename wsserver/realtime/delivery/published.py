"""``PublishedMessages``: the event ``message_published``, and the counts of top talkers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from wsserver.errors import WsServerError
from wsserver.promise import Promise
from wsserver.protocol.targets import TargetType
from wsserver.realtime.messages.message import Message, Sent
from wsserver.realtime.observability.events import MESSAGE_PUBLISHED, EventBus
from wsserver.realtime.observability.top_talkers import TopTalkers


class PublishedMessages:
    """Observes the outcomes of the router on this node, whoever has published.

    On the path of every message: without a handler of the event it costs one look-up.
    """

    def __init__(self, events: EventBus, top_talkers: TopTalkers) -> None:
        self._events = events
        self._top_talkers = top_talkers

    def are_wanted(self) -> bool:
        """Whether messages are counted, or the event has a handler."""
        return self._top_talkers.is_on or self._events.hears(MESSAGE_PUBLISHED)

    def are_counted(self) -> bool:
        """Whether ``note`` needs to know how many connections a message has reached."""
        return self._events.hears(MESSAGE_PUBLISHED)

    def watch(self, messages: Sequence[Message], outcomes: Promise[list[Sent]]) -> None:
        """Note messages once they are stored and published; those that fail are none."""
        outcomes.when_done(partial(self._stored, messages))

    def _stored(self, messages: Sequence[Message], outcomes: Promise[list[Sent]]) -> None:
        try:
            results = outcomes.result()
        except WsServerError:
            return
        for message, sent in zip(messages, results, strict=True):
            if sent.is_new:
                self.note(message, sent)

    def note(self, message: Message, sent: Sent) -> None:
        """A message was published; ``sent``: the outcome."""
        if not message.is_addressed:
            return  # a signal
        if self._top_talkers.is_on:
            self._top_talkers.note(message.sender, _username(message), _session_of(message))
        self._events.emit_lazily(MESSAGE_PUBLISHED, partial(_fields, message, sent))


def _fields(message: Message, sent: Sent) -> dict[str, Any]:
    """The fields of the event: everything about a message but its content."""
    fields = {
        "message_id": sent.message_id,
        "type": message.type,
        "class": "kept" if sent.stream else "live",
        "target": message.target.view(),
        "organization_id": message.organization_id,
        "session_id": _session_of(message),
        "sender": message.sender,
    }
    return {
        **{name: value for name, value in fields.items() if value is not None},
        "bytes": message.size_bytes,
        "matched": sent.receipt.matched,
        "sent": sent.receipt.sent,
    }


def _session_of(message: Message) -> str | None:
    target = message.target
    if target.type is TargetType.SESSION:
        return target.id
    session_id = message.members.get("session_id")
    return session_id if isinstance(session_id, str) else None


def _username(message: Message) -> str | None:
    """The sender's name, which chat messages have."""
    content = message.members.get("message")
    sender = content.get("sender") if isinstance(content, dict) else None
    return sender.get("username") if isinstance(sender, dict) else None
