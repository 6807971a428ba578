"""Endpoints of AI responders, for operators."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from wsserver.extending import Answer, Call, ExtensionResource
from wsserver.extensions.responders.options import Kind, OnInterrupt
from wsserver.extensions.responders.service import Responders
from wsserver.web.api.answers import Time

READ = "responders:read"
RESOURCE = ExtensionResource("responders", "Responders", "AI responders, and what they answer.")


class ResponderSender(Answer):
    """Whose messages the answers are."""

    user_id: str
    username: str | None


class Responder(Answer):
    """A responder, and what it has to answer on all nodes."""

    responder: str
    kind: Kind
    model: str | None
    sender: ResponderSender
    unit: Annotated[str, Meta(description="of its usage")]
    concurrency: Annotated[int, Meta(description="answers at the same time, of each process")]
    on_interrupt: OnInterrupt
    due: Annotated[int, Meta(description="sessions that are being answered, or wait for it")]
    failing: Annotated[int, Meta(description="those of them whose last answer failed")]
    waiting_since: Annotated[Time | None, Meta(description="the longest of them")]


class ResponderList(Answer):
    """The responders of the configuration."""

    responders: list[Responder]


class QueuedSession(Answer):
    """A session that is to be answered."""

    session_id: str
    since: Time
    failures: Annotated[int, Meta(description="in a row")]
    is_answering: bool


class ResponderFailure(Answer):
    """An answer that failed."""

    session_id: str
    at: Time
    reason: str


class WholeResponder(Responder, kw_only=True):
    """A responder with its queue and its failures."""

    queue: Annotated[list[QueuedSession], Meta(description="the 100 that wait longest")]
    failures: Annotated[list[ResponderFailure], Meta(description="the latest 20, newest first")]


@RESOURCE.endpoint("GET /responders", READ, ResponderList)
async def list_responders(responders: Responders, call: Call) -> Any:
    """List the AI responders, and how much waits for them."""
    return {"responders": await responders.overview.listing()}


@RESOURCE.endpoint("GET /responders/{responder}", READ, WholeResponder, errors=("not_found",))
async def show_responder(responders: Responders, call: Call) -> Any:
    """An AI responder, with the sessions that wait for it and its latest failures."""
    return await responders.overview.one(call.path["responder"])
