"""Kept messages to users and sessions, their acknowledgements and status updates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.support.live_server import Client, Live, settle
from wsserver.errors import StorageUnavailable
from wsserver.protocol.targets import session, user
from wsserver.realtime.inbox.unacked import TICK_S
from wsserver.realtime.messages.message import Message, Sent
from wsserver.wire.frames import build_frame


async def send_to_user(live: Live, text: Any, user_id: str = "u1", **options: Any) -> Sent:
    """A kept message of ``boss`` to a user."""
    options.setdefault("sender", "boss")
    message = Message("note", {"data": text}, user(user_id), keep=True, **options)
    return await live.router.send(message)


async def send_batch_to_user(live: Live, *texts: Any, user_id: str = "u1") -> list[Sent]:
    """The same, several in one transaction."""
    return await live.router.keep(
        [Message("note", {"data": text}, user(user_id), keep=True, sender="boss") for text in texts]
    )


async def received(client: Client, count: int) -> list[Any]:
    """The next pushes, which must be that many notes; returns what they say."""
    return [(await client.receive("note"))["data"] for _ in range(count)]


async def pass_time(live: Live, seconds: float) -> None:
    """Let time pass as the periodic work sees it."""
    for _ in range(round(seconds / TICK_S)):
        live.clock.advance(TICK_S)
        await live.inboxes.advance()
    await settle()


def statuses(pushes: Sequence[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [
        (push["message_id"], push["user_id"], push["status"])
        for push in pushes
        if push["type"] == "message_status_update"
    ]


def notes(pushes: Sequence[dict[str, Any]]) -> list[Any]:
    return [push["data"] for push in pushes if push["type"] == "note"]


def fill_send_queue(client: Client) -> int:
    """Send to a connection until something has to wait for it; returns how many pushes."""
    transport = client.info.websocket
    count = 0
    frame = build_frame(json.dumps({"type": "filler", "x": "x" * 20_000}).encode())
    while not transport.queued_bytes:
        transport.send(frame)
        count += 1
    return count


async def send_to_session(live: Live, text: str, session_id: str = "s1", **options: Any) -> Sent:
    """A kept message of ``boss`` to a session."""
    options.setdefault("sender", "boss")
    message = Message("note", {"data": text}, session(session_id), keep=True, **options)
    return await live.router.send(message)


async def ack(client: Client, *sent: Sent) -> int:
    return int((await client.call("ack", ids=[each.message_id for each in sent]))["acknowledged"])


async def pending_count(live: Live, user_id: str = "u1") -> int:
    return (await live.receipt_store.inbox(user_id, live.clock.wall())).pending


async def raise_storage_unavailable(*args: Any, **options: Any) -> Any:
    raise StorageUnavailable("broken")
