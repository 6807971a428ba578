"""Messages of a batch that differ from an earlier one in their content alone: made from it."""

from __future__ import annotations

from copy import copy
from operator import attrgetter
from typing import Any

from msgspec import UNSET

from wsserver.protocol.ids import new_id
from wsserver.protocol.requests import PublishRequest
from wsserver.protocol.strict_json import encode
from wsserver.realtime.messages.message import Message

CHAT = "new_message"
_all_but_content = attrgetter(
    *[name for name in PublishRequest.__struct_fields__ if name != "content"]
)


class Variants:
    """Makes messages from those of the same batch that have been checked.

    What a rule says of a message never depends on its content beyond its type, which has been
    checked with the body: two bodies that differ in it alone are both right, or both wrong.
    """

    def __init__(self) -> None:
        self._found: dict[str, tuple[tuple[Any, ...], Message]] = {}
        """By the target's id, the latest: the fields of its body but the content."""

    def of(self, body: PublishRequest, wall: float) -> Message | None:
        """The message of a body, made from one that was noted; None: there is none like it.

        ``wall``: the time.
        """
        id_ = body.target.id
        known = None if id_ is UNSET else self._found.get(id_)
        if known is None or body.content is UNSET or _all_but_content(body) != known[0]:
            return None
        message = copy(known[1])
        message.message_id = new_id("msg", wall)
        message.prototype = known[1]
        message.content = body.content
        return message

    def note(self, body: PublishRequest, message: Message) -> None:
        """Make further messages from this one: a chat message to be kept, sent for the first time.

        Of a batch that may be repeated, each has a key of its own, and none is made from another.
        """
        id_ = body.target.id
        if body.type == CHAT and message.keep and message.dedup is None and id_ is not UNSET:
            self._found[id_] = _all_but_content(body), message


class PushTemplate:
    """The push of a chat message without its id, which is in it twice, and its content."""

    def __init__(self, push: bytes, message_id: str, content: Any) -> None:
        """Raises ``ValueError`` for a push in which they cannot be told from the rest."""
        # A quote inside of a string has a backslash: the member's name is found at its place only.
        member = b',"content":' + encode(content) + b',"content_type":'
        self._before, self._between, behind = push.split(message_id.encode())
        self._from_id, self._behind = behind.split(member)

    def push(self, message_id: str, content: Any) -> bytes:
        """The push of another message."""
        id_ = message_id.encode()
        return b'%b%b%b%b%b,"content":%b,"content_type":%b' % (
            self._before,
            id_,
            self._between,
            id_,
            self._from_id,
            encode(content),
            self._behind,
        )


def content_of(message: Message) -> Any:
    """The content of a chat message that is no variant."""
    return message.members["message"]["content"]


def in_full(variant: Message) -> Message:
    """A variant as a message of its own."""
    message = copy(variant)
    chat = {**variant.members["message"], "id": variant.message_id, "content": variant.content}
    message.members = {**variant.members, "message": chat}
    message.prototype = None
    return message
