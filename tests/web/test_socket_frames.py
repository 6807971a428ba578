"""What the server writes on sockets has the shapes from which the client's types are made."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from msgspec import Struct
from websockets.asyncio.client import ClientConnection, connect

from tests.support.web_server import Server, token
from wsserver.web.resources.socket_frames import PUSHES, AnyPush, Push
from wsserver.web.resources.socket_replies import REPLIES, RESULTS


def exactly(kind: type[Struct]) -> type[Struct]:
    """The same shape without room for other fields."""
    return msgspec.defstruct(
        kind.__name__,
        [
            (field.name, field.type) if field.required else (field.name, field.type, field.default)
            for field in msgspec.structs.fields(kind)
        ],
        kw_only=True,
        forbid_unknown_fields=True,
    )


EXACT: dict[type[Struct], type[Struct]] = {}


def check(frame: dict[str, Any], kind: type[Struct]) -> None:
    """Raise unless a frame has this shape, with no field that the shape does not have."""
    members = {name: value for name, value in frame.items() if name not in ("type", "ref")}
    shape = EXACT.setdefault(kind, exactly(kind))
    try:
        msgspec.convert(members, shape, strict=True)
    except msgspec.ValidationError as error:
        raise AssertionError(f"{frame['type']}: {error}: {frame}") from None


class Listener:
    """A client that checks everything that it gets, and notes the types."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.pushes: list[dict[str, Any]] = []
        self.faults: list[AssertionError] = []

    async def listen(self) -> None:
        async for text in self._socket:
            frame = json.loads(text)
            if "ref" in frame:
                self._replies.pop(frame["ref"]).set_result(frame)
                continue
            self.pushes.append(frame)
            try:
                check_push(frame)
            except AssertionError as error:
                self.faults.append(error)

    async def ask(self, type_: str, **fields: Any) -> dict[str, Any]:
        """Send a command; its reply, which has the right type and shape."""
        ref = 1 + len(self._replies)
        self._replies[ref] = asyncio.get_running_loop().create_future()
        future = self._replies[ref]
        await self._socket.send(json.dumps({"type": type_, "ref": ref, **fields}))
        reply = await asyncio.wait_for(future, 5)
        if type_ in REPLIES:
            reply_type, kind = REPLIES[type_]
            assert reply["type"] == reply_type
            check(reply, kind)
        else:
            assert set(reply) == {"type", "ref", "result"}, reply
            check({"type": "result", **reply["result"]}, RESULTS[type_][1])
        for push in messages_of(reply):
            check_push(push)
        return reply

    async def wait(self, type_: str) -> dict[str, Any]:
        """The first push of a type."""
        for _ in range(500):
            for push in self.pushes:
                if push["type"] == type_:
                    return push
            await asyncio.sleep(0.01)
        raise AssertionError(f"no {type_}: {[push['type'] for push in self.pushes]}")


def check_push(push: dict[str, Any]) -> None:
    kind: type[Push] = PUSHES.get(push["type"], AnyPush)
    if push["type"] == "event":  # whose other fields depend on its name
        push = {**push, "event": {key: push["event"][key] for key in ("name", "timestamp")}}
    check(push, kind)


def messages_of(reply: dict[str, Any]) -> list[dict[str, Any]]:
    found = list(reply.get("messages", []))
    for answer in reply.get("streams", {}).values():
        found += answer.get("messages", [])
    return found


@contextlib.asynccontextmanager
async def client(
    server: Server, sub: str, role: str = "user", path: str = "/ws/chat", **claims: Any
) -> AsyncIterator[Listener]:
    protocols: Any = ["wsserver.v1", f"bearer.{token(sub, role, **claims)}"]
    async with connect(f"ws://127.0.0.1:{server.port}{path}", subprotocols=protocols) as socket:
        listener = Listener(socket)
        listening = asyncio.ensure_future(listener.listen())
        try:
            yield listener
        finally:
            listening.cancel()
        assert not listener.faults, listener.faults[0]


@pytest.mark.gen_test
async def test_everything_that_chat_clients_get_has_its_shape(server: Server) -> None:
    claims: dict[str, Any] = {"sessions": ["s1"], "organization_id": "org1", "username": "Ann"}
    async with client(server, "u1", **claims) as ann, client(server, "u2", **claims) as bob:
        since = await ann.ask("join_session", session_id="s1")
        await bob.ask("join_session", session_id="s1")
        await ann.wait("session_joined")
        await ann.ask("ping", data={"n": 1})
        sent = await ann.ask(
            "send_message", session_id="s1", content={"a": 1}, client_message_id="c1"
        )
        push = await bob.wait("new_message")
        assert push["message"]["id"] == sent["message_id"]
        await bob.ask("ack", ids=[sent["message_id"]])
        await bob.ask("read", ids=[sent["message_id"]])
        await ann.wait("message_status_update")
        await bob.ask("typing", session_id="s1", is_typing=True)
        await ann.wait("typing")
        await ann.ask("presence", session_id="s1")
        await ann.ask(
            "preferences",
            channels={"maintenance": {"sms": False}},
            quiet_hours={"start": "22:00", "end": "07:00"},
            daily_digest={"at": "08:00"},
        )
        assert (await ann.ask("history", session_id="s1"))["messages"]
        position = {"epoch": since["epoch"], "offset": 0}
        await ann.ask("join_session", session_id="s1", since=position)
        await ann.ask(
            "resume",
            streams={
                "session:s1": position,
                "session:closed": position,
                "user:u1": {"epoch": "other", "offset": 7},
                "organization:org1": position,
                "broadcast": position,
            },
        )
        await ann.ask("refresh_token", token=token("u1", "user", **claims))
        await publish(server)
        await ann.wait("notification")
        listed = await ann.ask("notifications", limit=1)
        newest = listed["notifications"][0]["id"]
        await ann.ask("mark_notifications", up_to=newest, read=True, archived=False)
        await ann.wait("notifications_changed")
        for type_ in ("notification", "order.shipped", "ai_processing_status"):
            await ann.wait(type_)
        await bob.ask("leave_session", session_id="s1")
        await ann.wait("session_left")


async def publish(server: Server) -> None:
    """What a backend sends to the user u1 and the session s1."""
    for path, body in (
        ("/users/u1/messages", {"type": "order.shipped", "data": {"n": 1}, "keep": True}),
        ("/users/u1/messages", {"type": "order.shipped", "data": None}),
        (
            "/sessions/s1/messages",
            {"type": "ai_processing_status", "status": "streaming", "progress": 0.5, "delta": "x"},
        ),
        ("/sessions/s1/messages", {"type": "new_message", "content": "x"}),
        ("/sessions/s1/messages", {"type": "new_message", "content": "x", "keep": False}),
    ):
        answer = await server.post(path, **body)
        assert answer.status == 200, answer
    answer = await server.post("/notify", user_ids=["u1"], title="t", message="m", type="info")
    assert answer.status == 202, answer


@pytest.mark.gen_test
async def test_everything_that_monitors_get_has_its_shape(server: Server) -> None:
    async with client(server, "admin1", "admin", "/ws/admin/monitor") as monitor:
        await monitor.ask("subscribe", args={"events": ["*"], "interval_s": 0.1})
        await monitor.ask("get_stats")
        async with client(server, "u1", sessions=["s1"]) as user:
            await user.ask("join_session", session_id="s1")
            await monitor.wait("user_status_update")
            await monitor.ask("ping_user", args={"user_id": "nobody", "timeout_s": 0.1})
            target = {"type": "session", "id": "s1"}
            body = {"type": "new_message", "content": "x", "target": target}
            assert "offset" in (await monitor.ask("publish", args=body))["result"]
            await stream_answers(monitor, user)
            await monitor.ask("broadcast", args={"type": "hint", "data": 1})
            await user.wait("hint")
            await user.wait("new_message")
            await monitor.wait("stats_update")
            await monitor.wait("event")
            await monitor.ask("disconnect_user", args={"user_id": "u1"})


async def stream_answers(monitor: Listener, user: Listener) -> None:
    """An answer that is finished, one that a member cancels, and one that its producer cancels."""
    for end in ("answer_finish", "cancel_answer", "answer_cancel"):
        args = {"session_id": "s1", "metadata": {"model": "m"}}
        begun = (await monitor.ask("answer_start", args=args))["result"]
        this = {"message_id": begun["message_id"]}
        await monitor.ask("answer_append", args={**this, "seq": 1, "text": "x"})
        if end == "cancel_answer":
            await user.ask(end, **this, reason="enough")
        else:
            await monitor.ask(end, args=this)
    await user.wait("answer_appended")
    await user.wait("answer_ended")


@pytest.mark.gen_test
async def test_a_bound_client_hears_of_its_session_and_of_its_end(
    server: Server,
) -> None:
    path = "/ws/chat/session/s1"
    soon = server.context.clock.wall() + 30
    async with client(server, "u1", path=path, sessions=["s1"], exp=soon) as bound:
        joined = await bound.wait("session_joined")
        assert joined["users"]
        await bound.wait("token_expiring")
        server.system.manager.drain()
        await bound.wait("server_draining")
