"""Answers that grow: requests, the members of their messages and pushes, the text of the moment."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from msgspec.json import Decoder

from wsserver.protocol.contents import GROWING
from wsserver.protocol.pushes import NewMessage, message_of
from wsserver.protocol.requests import Request, Sender, metadata_faults, size_faults
from wsserver.protocol.strict_json import encode
from wsserver.protocol.types import Id, JsonObject, Term, Title
from wsserver.protocol.validation import Fault

AnswerState = Literal["growing", "completed", "failed", "cancelled", "interrupted"]
"""``interrupted``: by a take-over, a timeout, or the deletion of its message."""

Seq = Annotated[int, Meta(ge=1, le=2**53, description="1, 2, …: each append has the next number")]


class AnswerRequest(Request, kw_only=True):
    """The begin of an answer."""

    sender: Sender | UnsetType = UNSET
    content: str = ""
    """The first text."""
    content_type: Annotated[str, Meta(min_length=1, max_length=128)] = "text"
    reply_to: Id | UnsetType = UNSET
    term: Term | UnsetType = UNSET
    metadata: JsonObject | UnsetType = UNSET


class AnswerAppendRequest(Request, kw_only=True):
    """More text of an answer."""

    seq: Seq
    text: str
    """May be empty, to show that the answer goes on."""


class AnswerFinishRequest(Request, kw_only=True):
    """The end of an answer by its producer; ``content`` replaces the text.

    ``seq``: the number of its latest append, 0 without one. The end is refused if the server does
    not have that append, as after a crash, or has others.
    """

    state: Literal["completed", "failed"] = "completed"
    content: str | UnsetType = UNSET
    reason: Title | UnsetType = UNSET
    usage: JsonObject | UnsetType = UNSET
    seq: Annotated[int, Meta(ge=0, le=2**53)] | UnsetType = UNSET


class AnswerCancelRequest(Request, kw_only=True):
    """The end of an answer that is not wanted any more."""

    reason: Title | UnsetType = UNSET


class AnswerStartArgs(AnswerRequest, kw_only=True):
    """``AnswerRequest`` with its session, for the monitor's socket, where there is no path."""

    session_id: Id


class AnswerAppendArgs(AnswerAppendRequest, kw_only=True):
    """``AnswerAppendRequest`` with its answer."""

    message_id: Id


class AnswerFinishArgs(AnswerFinishRequest, kw_only=True):
    """``AnswerFinishRequest`` with its answer."""

    message_id: Id


class AnswerCancelArgs(AnswerCancelRequest, kw_only=True):
    """``AnswerCancelRequest`` with its answer."""

    message_id: Id


class _Sender(Struct):
    user_id: str


class _Message(Struct):
    id: str = ""
    session_id: str = ""
    content: Any = None
    state: str = ""
    sender: _Sender | None = None


class _Push(Struct):
    message: _Message


_PUSH = Decoder(_Push)
_MEMBERS = Decoder(dict[str, Raw])
_MARK = b'"state":"growing"'


class GrowingMessage(Struct, frozen=True, gc=False):
    """The message of a growing answer, as it was stored."""

    message_id: str
    session_id: str
    content: str
    """The first text."""
    sender: str | None = None
    """User id."""


def growing_message(push: bytes) -> GrowingMessage | None:
    """The growing answer in a ``new_message``; None for all other messages."""
    if _MARK not in push:
        return None
    message = _PUSH.decode(push).message
    if message.state != GROWING or not isinstance(message.content, str):
        return None
    sender = None if message.sender is None else message.sender.user_id
    return GrowingMessage(message.id, message.session_id, message.content, sender)


class AnswerPush:
    """The ``new_message`` of an answer, whose text, number and state are replaced."""

    __slots__ = ("_message", "_push")

    def __init__(self, push: bytes) -> None:
        self._push = _MEMBERS.decode(push)
        self._message = _MEMBERS.decode(self._push["message"])

    def encode(self, content: str, seq: int, state: str = GROWING) -> bytes:
        """The push with the text of a moment."""
        message: dict[str, Any] = dict(self._message)
        message |= {"content": content, "state": state, "seq": seq}
        return encode({**self._push, "message": message})


def answer_text(push: bytes) -> str:
    """The text of an answer in a ``new_message``; "" once it was deleted."""
    content = _PUSH.decode(push).message.content
    return content if isinstance(content, str) else ""


def answer_message(
    message_id: str, session_id: str, request: AnswerRequest, created_at: str
) -> JsonObject:
    """Build the ``message`` of an answer that begins."""
    sender = request.sender
    fields = NewMessage(
        content=request.content,
        session_id=session_id,
        content_type=request.content_type,
        sender=None if sender is UNSET else sender,
        reply_to=request.reply_to,
    )
    message = message_of(message_id, fields, created_at) | {"state": GROWING, "seq": 0}
    if request.metadata is not UNSET:
        message["metadata"] = request.metadata
    return message


def answer_faults(request: AnswerRequest, _: Collection[str] = ()) -> list[Fault]:
    """The fault of metadata that are too large."""
    return metadata_faults(request.metadata)


def finish_faults(request: AnswerFinishRequest, _: Collection[str] = ()) -> list[Fault]:
    """The fault of a usage that is too large."""
    return size_faults("usage", request.usage)
