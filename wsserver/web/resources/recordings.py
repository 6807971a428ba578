"""Recordings: ``/recordings``, what goes over the wires of a user or a session."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from wsserver.protocol.requests import RecordingRequest
from wsserver.realtime.operations.recordings import PERMISSION
from wsserver.web.api.answers import Answer, ClusterAnswer, Cursor, Time, Unreachable
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call, Resource
from wsserver.web.api.queries import PageQuery

RESOURCE = Resource("Recordings")


class Recording(Answer):
    """What is recorded: exactly one of ``user_id`` and ``session_id`` is set."""

    recording_id: str
    user_id: str | None
    session_id: str | None
    contents: Annotated[bool, Meta(description="false: texts are masked")]
    by: str
    started_at: Time
    ends_at: Time


class StartedRecording(Recording, kw_only=True):
    """A recording that has begun."""

    connected: Annotated[int, Meta(description="connections that are recorded from the start")]
    unreachable: Unreachable | UnsetType = UNSET


class RunningRecordings(ClusterAnswer):
    """The recordings that run now."""

    recordings: list[Recording]


class RecordedConnection(Answer):
    """A connection that was recorded."""

    connection_id: str
    user_id: str
    role: str
    organization_id: str | None
    endpoint: Literal["chat", "session", "monitor"]
    session_id: str | None
    protocol: Literal["wsserver.v1", "plain"]
    transport: Literal["websocket", "sse"]
    user_agent: str
    opened_at: Time
    node: str


class ReadRecording(Recording, kw_only=True):
    """A page of a recording; the events of one connection are in their order."""

    is_running: bool
    is_full: Annotated[bool, Meta(description="events were left out because of a limit")]
    has_more: Annotated[bool, Meta(description="there are more events already")]
    connections: list[RecordedConnection]
    events: list[dict[str, Any]]
    next_cursor: Cursor
    unreachable: Unreachable | UnsetType = UNSET


class StoppedRecording(ClusterAnswer):
    """A recording that was ended and forgotten."""

    recording_id: str
    stopped: bool


_RECORDING = {
    "recording_id": "rec_12345",
    "user_id": "user_67890",
    "session_id": None,
    "contents": False,
    "by": "admin",
    "started_at": "2024-01-15T14:30:00.000Z",
    "ends_at": "2024-01-15T14:31:00.000Z",
}
_PAGE = {
    **_RECORDING,
    "is_running": True,
    "is_full": False,
    "has_more": False,
    "connections": [
        {
            "connection_id": "conn_12345",
            "user_id": "user_67890",
            "role": "user",
            "organization_id": None,
            "endpoint": "chat",
            "session_id": None,
            "protocol": "wsserver.v1",
            "transport": "websocket",
            "user_agent": "Mozilla/5.0",
            "opened_at": "2024-01-15T14:30:01.000Z",
            "node": "node-1",
        }
    ],
    "events": [
        {
            "at": "2024-01-15T14:30:02.000Z",
            "dir": "out",
            "connection": "conn_12345",
            "type": "typing",
            "bytes": 68,
            "frame": {"type": "typing", "session_id": "s1", "is_typing": True, "ref": 4},
        }
    ],
    "next_cursor": "eyJub2RlLTEiOjF9",
}


@RESOURCE.endpoint(
    "POST /recordings",
    PERMISSION,
    StartedRecording,
    request=RecordingRequest,
    action="record",
    request_example={"user_id": "user_67890", "duration_s": 60},
    answer_example={**_RECORDING, "connected": 1},
    errors=("recording_limit",),
)
async def _start_recording(context: WebContext, call: Call) -> dict[str, Any]:
    """Record what goes over the wires of a user or a session."""
    return await context.recordings.start(call.caller, call.body)


@RESOURCE.endpoint(
    "GET /recordings",
    PERMISSION,
    RunningRecordings,
    answer_example={"recordings": [_RECORDING]},
)
async def _list_recordings(context: WebContext, call: Call) -> dict[str, Any]:
    """List the recordings that run now."""
    return await context.recordings.list(call.caller)


@RESOURCE.endpoint(
    "GET /recordings/{recording_id}",
    PERMISSION,
    ReadRecording,
    query=PageQuery,
    answer_example=_PAGE,
    errors=("not_found", "forbidden"),
)
async def _read_recording(context: WebContext, call: Call) -> dict[str, Any]:
    """Read a recording, from a cursor on; it can be read for 5 minutes after its end."""
    query = call.query
    return await context.recordings.read(
        call.caller, call.path["recording_id"], query.limit, query.cursor
    )


@RESOURCE.endpoint(
    "DELETE /recordings/{recording_id}",
    PERMISSION,
    StoppedRecording,
    action="record_stop",
    answer_example={"recording_id": "rec_12345", "stopped": True},
    errors=("not_found",),
)
async def _stop_recording(context: WebContext, call: Call) -> dict[str, Any]:
    """End a recording, and forget it."""
    return await context.recordings.stop(call.caller, call.path["recording_id"])
