"""Answers that grow: begin, append, finish, cancel, and how one came about."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, field

from wsserver.protocol.answers import (
    AnswerAppendRequest,
    AnswerCancelRequest,
    AnswerFinishRequest,
    AnswerRequest,
    AnswerState,
    answer_faults,
    finish_faults,
)
from wsserver.web.api.answers import Answer, Time
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call, Resource
from wsserver.web.http.replies import Reply, json_reply

RESOURCE = Resource("Answers")

Length = Annotated[int, Meta(description="code points")]


class AnswerStarted(Answer):
    """An answer that has begun: its message, position and term."""

    message_id: str
    stream: str
    epoch: str
    offset: int
    seq: int
    term: Annotated[int, Meta(description="of the session; a new holder ends the answer")]


class AnswerAppended(Answer):
    """The latest append, and the length of the text."""

    seq: int
    length: Length


class AnswerEnded(Answer):
    """The end of an answer; ``offset`` of the closing record, null if its message was deleted."""

    state: AnswerState
    length: Length | None
    offset: int | None


class Stall(Answer):
    """A pause of more than two seconds between two texts."""

    at: Time
    ms: int


class Watcher(Answer):
    """A time in which a user had joined the session; without ``until``: still, or to the end."""

    user_id: str
    from_: Time = field(name="from")
    until: Time | None = None


class GrowingAnswer(Answer):
    """An answer: its text, and how it came about."""

    message_id: str
    session_id: str
    state: AnswerState
    seq: int
    term: int
    length: Length
    content: str
    started_at: Time
    stalls: list[Stall]
    rate: Annotated[
        float | None, Meta(description="characters a second; null before a second text")
    ]
    watchers: list[Watcher]
    reason: str | None = None
    first_text_at: Time | None = None
    ended_at: Time | None = None
    ended_by: Annotated[str | None, Meta(description="user id; missing: the server")] = None
    usage: dict[str, Any] | None = None


_TERM_ERRORS = ("not_found", "term_changed", "answer_too_long")
_ERRORS = ("not_found", "answer_ended", "node_unreachable")
_STARTED = {
    "message_id": "msg_12345",
    "stream": "session:session_abc123",
    "epoch": "e1",
    "offset": 42,
    "seq": 0,
    "term": 3,
}


@RESOURCE.endpoint(
    "POST /sessions/{session_id}/answers",
    "messages:publish",
    AnswerStarted,
    action="answer",
    request=AnswerRequest,
    request_example={
        "sender": {"user_id": "user_13579", "role": "ai"},
        "metadata": {"model": "m1"},
    },
    rules=answer_faults,
    answer_example=_STARTED,
    errors=_TERM_ERRORS,
)
async def _start(context: WebContext, call: Call) -> dict[str, Any]:
    """Begin an answer, whose text is appended later."""
    return await context.answers.start(call.caller, call.path["session_id"], call.body)


@RESOURCE.endpoint(
    "POST /answers/{message_id}/append",
    "messages:publish",
    AnswerAppended,
    request=AnswerAppendRequest,
    request_example={"seq": 1, "text": "Of course. "},
    answer_example={"seq": 1, "length": 11},
    errors=(*_ERRORS, "out_of_order", "answer_too_long"),
)
async def _append(context: WebContext, call: Call) -> Reply:
    """Append text to an answer; the latest append again is answered like the first time."""
    outcome = context.answers.append(call.caller, call.path["message_id"], call.body)
    # Producers append each word as it comes: not in the access log.
    answer = outcome if isinstance(outcome, dict) else await _awaited(outcome)
    return json_reply(answer, is_routine=True)


async def _awaited(outcome: Any) -> dict[str, Any]:
    return dict(await outcome)


@RESOURCE.endpoint(
    "POST /answers/{message_id}/finish",
    "messages:publish",
    AnswerEnded,
    request=AnswerFinishRequest,
    request_example={"seq": 24, "usage": {"total_tokens": 512}},
    rules=finish_faults,
    answer_example={"state": "completed", "length": 240, "offset": 43},
    errors=(*_ERRORS, "out_of_order", "answer_too_long"),
    is_body_optional=True,
)
async def _finish(context: WebContext, call: Call) -> dict[str, Any]:
    """Finish an answer; stored before it is answered."""
    return await context.answers.finish(call.caller, call.path["message_id"], call.body)


@RESOURCE.endpoint(
    "POST /answers/{message_id}/cancel",
    "messages:publish",
    AnswerEnded,
    action="answer_cancel",
    request=AnswerCancelRequest,
    request_example={"reason": "not needed any more"},
    answer_example={"state": "cancelled", "length": 120, "offset": 43},
    errors=_ERRORS,
    is_body_optional=True,
)
async def _cancel(context: WebContext, call: Call) -> dict[str, Any]:
    """Cancel an answer; its producer's next call is refused with ``answer_ended``."""
    return await context.answers.cancel(call.caller, call.path["message_id"], call.body)


@RESOURCE.endpoint(
    "GET /answers/{message_id}",
    "messages:read",
    GrowingAnswer,
    errors=("not_found", "node_unreachable"),
)
async def _get(context: WebContext, call: Call) -> dict[str, Any]:
    """Get an answer: its text so far, pauses, rate and watchers, and how it ended."""
    return await context.answers.get(call.caller, call.path["message_id"])
