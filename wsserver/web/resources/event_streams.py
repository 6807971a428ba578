"""Commands of event streams: ``POST /sse/commands``."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from wsserver.errors import BadJson, BadRequest, BodyTooLarge, ValidationFailed
from wsserver.protocol import strict_json
from wsserver.protocol.requests import BODY
from wsserver.realtime.connections.channel import HEADER, parse_channel
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import SIGNED_IN, Call, Resource
from wsserver.web.http.replies import JSON_TYPE, Reply

RESOURCE = Resource("Event streams", prefix="")

MAX_COMMANDS: Final = 100
"""Commands in one request; more would wait too long behind each other."""

_COMMAND: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type"],
    "properties": {"type": {"type": "string"}, "ref": {"type": ["string", "integer"]}},
}
_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [
        _COMMAND,
        {"type": "array", "items": _COMMAND, "minItems": 1, "maxItems": MAX_COMMANDS},
    ]
}
_decode_one = msgspec.json.Decoder(Raw).decode
_decode_many = msgspec.json.Decoder(list[Raw]).decode


@RESOURCE.endpoint(
    "POST /sse/commands",
    SIGNED_IN,
    JSON_TYPE,
    is_token_optional=True,
    raw_request=_SCHEMA,
    request_headers={HEADER: "`channel` of the stream's `connection_established`"},
    request_example={"type": "join_session", "ref": 1, "session_id": "session_11111"},
    errors=("not_found", "node_unreachable"),
)
async def _run(context: WebContext, call: Call) -> Reply:
    """Run one command, or several in order, for an event stream; answers the replies."""
    channels = call.headers.get_list(HEADER)
    if len(channels) != 1:
        raise BadRequest(f"{HEADER}: send it once", field=HEADER)
    channel = parse_channel(channels[0])
    commands, are_many = split_commands(call.body, context.poller.max_message_bytes)
    # Who came with a ticket may have no token: then the channel is enough.
    user_id = None if call.actor is None else call.actor.claims.sub
    replies = await context.command_channels.run(user_id, channel, commands)
    texts = [b"null" if reply is None else reply for reply in replies]
    return Reply(b"[%b]" % b",".join(texts) if are_many else texts[0])


def split_commands(raw: bytes, max_message_bytes: int) -> tuple[list[bytes], bool]:
    """The commands of a body, and whether it is an array.

    What is wrong with a single command is said in its reply. Raises ``BadJson`` and its like,
    ``ValidationFailed``, ``BodyTooLarge``.
    """
    are_many = raw.lstrip(b" \t\r\n").startswith(b"[")
    try:
        commands = [bytes(each) for each in _decode_many(raw)] if are_many else [raw]
        if not are_many:
            _decode_one(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        strict_json.decode(raw)
        raise BadJson("not valid JSON") from None
    if not are_many and not raw.lstrip(b" \t\r\n").startswith(b"{"):
        raise _invalid("a command, or an array of commands")
    if not 1 <= len(commands) <= MAX_COMMANDS:
        raise _invalid(f"1 to {MAX_COMMANDS} commands")
    if max(map(len, commands)) > max_message_bytes:
        raise BodyTooLarge(
            f"a command is larger than {max_message_bytes} bytes", limit_bytes=max_message_bytes
        )
    return commands, are_many


def _invalid(message: str) -> ValidationFailed:
    return ValidationFailed([{"field": BODY, "message": message}])
