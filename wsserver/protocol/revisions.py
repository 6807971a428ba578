"""Change records: kept pushes about another kept message, and the newest version in them."""

from __future__ import annotations

from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

CHANGE_TYPES = frozenset({"message_updated", "message_deleted", "answer_ended"})
"""Types of change records. Each is stored without the member ``message``, which is added when it
is sent or read: the message that it is about, in its newest version."""


class _WithMessage(Struct):
    message: Raw = Raw(b"null")


_MESSAGE = Decoder(_WithMessage)
_MEMBERS = Decoder(dict[str, Raw])


def message_in(push: bytes) -> bytes:
    """The member ``message`` of a push as JSON; ``null`` if it has none."""
    return bytes(_MESSAGE.decode(push).message)


def with_message(record: bytes, message: bytes) -> bytes:
    """Add the member ``message`` to a change record as it is stored."""
    return b'%b,"message":%b}' % (record[:-1], message)


class _Deleted(Struct):
    """The deleted form of a message: what is left of it."""

    id: str = ""
    session_id: str = ""
    deleted: bool = True
    created_at: str = ""


_DELETED = Decoder(_Deleted)


def deleted_message(message: bytes) -> bytes:
    """The deleted form of a message, both as JSON."""
    left = _DELETED.decode(message)
    return encode(_Deleted(left.id, left.session_id, True, left.created_at))


def replace_message(push: bytes, message: bytes) -> bytes:
    """Replace the member ``message`` of a push, whether it has a position or not."""
    members = _MEMBERS.decode(push)
    members["message"] = Raw(message)
    return encode(members)
