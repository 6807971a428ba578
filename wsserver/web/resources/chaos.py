"""Chaos: ``/users/{user_id}/chaos`` and ``/chaos``, bad networks for named users."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from wsserver.protocol.requests import ChaosRequest
from wsserver.realtime.operations.chaos import PERMISSION
from wsserver.web.api.answers import Answer, ClusterAnswer, Time, Unreachable
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call, Resource

RESOURCE = Resource("Chaos")


class Disturbed(Answer):
    """A user whose connections are disturbed, and how."""

    user_id: str
    delay_ms: float
    jitter_ms: float
    drop: Annotated[float, Meta(description="share of the messages that get lost")]
    bytes_per_s: Annotated[float, Meta(description="how fast the client reads; 0: unlimited")]
    cut_every_s: Annotated[float, Meta(description="0: never")]
    direction: Literal["both", "to_client", "from_client"]
    by: str
    ends_at: Time


class DisturbedNow(Disturbed, kw_only=True):
    """A disturbance that has begun."""

    cut_now: bool
    connected: Annotated[int, Meta(description="connections that the user has now")]
    unreachable: Unreachable | UnsetType = UNSET


class DisturbedUsers(ClusterAnswer):
    """The users whose connections are disturbed now."""

    disturbed: list[Disturbed]


class Calmed(ClusterAnswer):
    """A disturbance that was ended."""

    user_id: str
    ended: bool


_DISTURBED = {
    "user_id": "user_67890",
    "delay_ms": 300.0,
    "jitter_ms": 100.0,
    "drop": 0.1,
    "bytes_per_s": 0.0,
    "cut_every_s": 0.0,
    "direction": "both",
    "by": "admin",
    "ends_at": "2024-01-15T14:35:00.000Z",
}


@RESOURCE.endpoint(
    "PUT /users/{user_id}/chaos",
    PERMISSION,
    DisturbedNow,
    action="chaos",
    request=ChaosRequest,
    request_example={"delay_ms": 300, "jitter_ms": 100, "drop": 0.1},
    answer_example={**_DISTURBED, "cut_now": False, "connected": 1},
    errors=("not_found", "chaos_disabled"),
)
async def _disturb(context: WebContext, call: Call) -> dict[str, Any]:
    """Disturb a user's connections: delay, loss, slow reading, cuts."""
    return await context.chaos.disturb(call.caller, call.path["user_id"], call.body)


@RESOURCE.endpoint(
    "DELETE /users/{user_id}/chaos",
    PERMISSION,
    Calmed,
    action="chaos_end",
    answer_example={"user_id": "user_67890", "ended": True},
    errors=("not_found", "chaos_disabled"),
)
async def _calm(context: WebContext, call: Call) -> dict[str, Any]:
    """End the disturbance of a user's connections."""
    return await context.chaos.calm(call.caller, call.path["user_id"])


@RESOURCE.endpoint(
    "GET /chaos",
    PERMISSION,
    DisturbedUsers,
    answer_example={"disturbed": [_DISTURBED]},
    errors=("chaos_disabled",),
)
async def _list_disturbed(context: WebContext, call: Call) -> dict[str, Any]:
    """List the users whose connections are disturbed."""
    return await context.chaos.list(call.caller)
