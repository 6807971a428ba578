"""What a ``new_message`` push has in it: its texts, its sender, whether its text still grows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct
from msgspec.json import Decoder

GROWING = "growing"
"""The ``state`` of a message that is appended to."""


class _Sender(Struct, frozen=True):
    user_id: str | None = None
    username: str | None = None


class _Message(Struct, frozen=True):
    content: Any = None
    state: str = ""
    deleted: bool = False
    sender: _Sender | None = None


class _Push(Struct, frozen=True):
    message: _Message = _Message()


_PUSH = Decoder(_Push)


def is_growing(push: bytes) -> bool:
    """Whether it is an answer whose text still grows."""
    return _PUSH.decode(push).message.state == GROWING


def is_complete(push: bytes) -> bool:
    """Whether it has its whole content: it neither grows, nor was it deleted."""
    message = _PUSH.decode(push).message
    return not message.deleted and message.state != GROWING


def text_of(push: bytes) -> str:
    """The content as one text: of an object all its texts, a line each."""
    return _joined(_PUSH.decode(push).message.content)


def complete_text_of(push: bytes) -> str:
    """The same of a message with its whole content, see ``is_complete``; empty for another one."""
    message = _PUSH.decode(push).message
    return "" if message.deleted or message.state == GROWING else _joined(message.content)


def sender_of(push: bytes) -> tuple[str | None, str | None]:
    """User id and name of the sender."""
    sender = _PUSH.decode(push).message.sender or _Sender()
    return sender.user_id, sender.username


def _joined(content: Any) -> str:
    return content if isinstance(content, str) else "\n".join(_texts(content))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
