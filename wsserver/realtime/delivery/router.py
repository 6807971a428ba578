"""Router: encodes a message, then publishes it through the broker or keeps it in its stream."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from wsserver.clock import Clock, rfc3339
from wsserver.cluster.broker import Broker, Outcome, Publication, PublishResult
from wsserver.protocol.ids import new_id
from wsserver.protocol.pushes import addressed_push, push
from wsserver.realtime.delivery.published import PublishedMessages
from wsserver.realtime.messages.message import Message, Sent
from wsserver.realtime.messages.variants import PushTemplate, content_of, in_full
from wsserver.realtime.streams.append_queue import Outcomes
from wsserver.realtime.streams.drafts import Draft
from wsserver.realtime.streams.retention_policy import Retention, draft_of
from wsserver.realtime.streams.streams import Streams
from wsserver.storage.messages.streams import TransactionHook


class Router:
    """Sends messages to their targets on all nodes; each message is encoded once."""

    def __init__(
        self,
        broker: Broker,
        streams: Streams,
        published: PublishedMessages,
        clock: Clock,
        retention: Retention,
    ) -> None:
        self._broker = broker
        self._streams = streams
        self._published = published
        self._clock = clock
        self._retention = retention

    async def send(self, message: Message) -> Sent:
        """Send a message to its target on every node; returns its id and the result.

        One with ``keep`` is stored before it is published: raises ``StorageFull`` or
        ``StorageUnavailable``, and then it is not published.
        """
        if message.keep:
            return (await self.keep([message]))[0]
        publication = self._publication(message)
        sent = Sent(publication.message_id, await self._broker.publish(publication))
        if self._published.are_wanted():
            self._published.note(message, sent)
        return sent

    def begin(self, message: Message) -> tuple[str, Outcome]:
        """Send a live message; its id, and the result now or in the future."""
        publication = self._publication(message)
        message_id, outcome = publication.message_id, self._broker.begin(publication)
        if self._published.are_wanted():
            self._note(message, message_id, outcome)
        return message_id, outcome

    def _note(self, message: Message, message_id: str, outcome: Outcome) -> None:
        if isinstance(outcome, PublishResult):
            self._published.note(message, Sent(message_id, outcome))
            return
        outcome.when_done(
            lambda result: self._published.note(message, Sent(message_id, result.result()))
        )

    def keep(self, messages: Sequence[Message]) -> Outcomes:
        """Store messages together, then publish them; their order is settled when this returns.

        The promise resolves to one outcome for each message; errors as in ``send``.
        """
        making = _Drafts(self._clock.wall(), self._retention)
        return self._append(messages, list(map(making.draft, messages)))

    def keep_checked(self, message: Message, hook: TransactionHook) -> Outcomes:
        """``keep`` for one message, with what is checked and written in its transaction.

        The promise is rejected with the error that refuses it.
        """
        wall = self._clock.wall()
        draft = draft_of(message, *_encode(message, wall), wall, self._retention)
        return self._append([message], [replace(draft, hook=hook)])

    def _append(self, messages: Sequence[Message], drafts: Sequence[Draft]) -> Outcomes:
        if self._published.are_counted():
            for message in messages:
                message.is_counted = True
        outcomes = self._streams.append(drafts)
        if self._published.are_wanted():
            self._published.watch(messages, outcomes)
        return outcomes

    def post(self, message: Message) -> None:
        """Send a signal without waiting for the result."""
        self._broker.post(self._publication(message))

    def _publication(self, message: Message) -> Publication:
        wall = self._clock.wall()
        message_id, payload = _encode(message, wall)
        return message.publication(message_id, payload, wall)


def _encode(message: Message, wall: float) -> tuple[str, bytes]:
    """The id of a message and its push as JSON; ``wall``: the time."""
    message_id, timestamp = message.message_id, rfc3339(wall)
    if message.is_addressed:
        if not message_id:
            message_id = new_id("msg", wall)
        payload = addressed_push(message.type, timestamp, message_id, message.members)
    else:
        payload = push(message.type, timestamp, **message.members)
    message.size_bytes = len(payload)
    return message_id, payload


class _Drafts:
    """Makes the drafts of messages that are kept together."""

    def __init__(self, wall: float, retention: Retention) -> None:
        self._wall = wall
        self._retention = retention
        self._found: dict[int, tuple[Draft, PushTemplate | None]] = {}
        """Of the prototypes, by their identities; None: its push is no template."""

    def draft(self, message: Message) -> Draft:
        """The draft of a message."""
        prototype = message.prototype
        if prototype is None:
            return draft_of(message, *_encode(message, self._wall), self._wall, self._retention)
        found = self._found.get(id(prototype))
        if found is None:
            found = self._found[id(prototype)] = self._read(prototype)
        like, template = found
        if template is None:
            payload = _encode(in_full(message), self._wall)[1]
        else:
            payload = template.push(message.message_id, message.content)
        message.size_bytes = len(payload)
        return replace(like, message_id=message.message_id, payload=payload, message=message)

    def _read(self, prototype: Message) -> tuple[Draft, PushTemplate | None]:
        draft = self.draft(prototype)
        try:
            return draft, PushTemplate(draft.payload, draft.message_id, content_of(prototype))
        except ValueError:
            return draft, None
