"""What passes between two nodes: the whole live side twice, over one real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from scripts.backends.valkey import ValkeyProcess
from tests.support.cluster_nodes import eventually
from tests.support.live_server import Client, Live
from wsserver.clock import Clock
from wsserver.cluster.redis.wiring import RedisSeams, build_redis
from wsserver.protocol.requests import (
    DisconnectRequest,
    MembersRequest,
    PublishRequest,
    RevokeRequest,
    read_request,
)
from wsserver.protocol.targets import session, user
from wsserver.realtime.messages.message import Message
from wsserver.realtime.observability.monitors import MonitorInterest
from wsserver.realtime.operations import admin_actions
from wsserver.realtime.operations.access_changes import MembersReplaced, RevokeTokens


@asynccontextmanager
async def two_nodes(server: ValkeyProcess, folder: Path) -> AsyncIterator[list[Live]]:
    server.run("FLUSHALL")
    lives: list[Live] = []
    started: list[RedisSeams] = []
    for name in ("a", "b"):
        seams = build_redis(server.url, name, "1.0", 0.0)
        live = Live(Clock(), folder / f"{name}.db", seams=seams)
        await live.start()
        for seam in (live.connections, seams.broker, seams.control):
            await seam.start()
        lives.append(live)
        started.append(seams)
    try:
        for live in lives:
            await live.connections.nodes()
        yield lives
    finally:
        for live, seams in zip(lives, started, strict=True):
            await live.stop()
            for each in (seams.control, seams.broker, live.connections):
                await each.stop()
            await seams.close()


async def got(client: Client, type_: str) -> dict[str, Any]:
    """The next push of a type, however late it comes from the other node."""
    found: list[dict[str, Any]] = []

    async def look() -> bool:
        found.extend(push for push in await client.rest() if push["type"] == type_)
        return bool(found)

    await eventually(look)
    return found[0]


async def joined(live: Live, user: str, **claims: Any) -> Client:
    client = await live.in_session(user, **claims)
    await asyncio.sleep(0.1)  # the subscription is not waited for yet
    return client


@pytest.mark.gen_test(timeout=30)
async def test_members_of_a_session_on_two_nodes(
    shared_valkey: ValkeyProcess, tmp_path: Path
) -> None:
    async with two_nodes(shared_valkey, tmp_path) as (a, b):
        here = await joined(a, "u1")
        there = await joined(b, "u2")
        assert (await got(here, "session_joined"))["user_id"] == "u2"
        await here.call("typing", session_id="s1", is_typing=True)
        assert (await got(there, "typing"))["user_id"] == "u1"
        answer = await here.call("send_message", session_id="s1", content="hello")
        push = await got(there, "new_message")
        assert push["message"]["id"] == answer["message_id"]
        assert (push["stream"], push["offset"]) == ("session:s1", 1)
        there.socket.close()
        gone = await got(here, "user_status_update")
        assert (gone["user_id"], gone["status"]) == ("u2", "offline")


@pytest.mark.gen_test(timeout=30)
async def test_receipts_and_statuses_reach_the_other_node(
    shared_valkey: ValkeyProcess, tmp_path: Path
) -> None:
    async with two_nodes(shared_valkey, tmp_path) as (a, b):
        sender = await a.connect("boss", role="admin")
        there = await b.connect("u1")
        await asyncio.sleep(0.1)
        request = {"target": {"type": "user", "id": "u1"}, "type": "x", "data": {}, "keep": False}
        sent = await a.publishing.publish(a.actor(), read_request(request, PublishRequest))
        assert (sent["matched"], sent["sent"]) == (1, 1)
        assert await got(there, "x")
        watching = await b.monitor("watcher")
        await watching.call("subscribe", args={"events": ["session_*"]})
        await eventually(lambda: a.manager.monitors.has_any)
        await joined(a, "u3")
        event = await got(watching, "event")
        assert event["event"]["name"] == "session_joined"
        assert sender.info.is_alive


@pytest.mark.gen_test(timeout=30)
async def test_admin_actions_reach_the_other_node(
    shared_valkey: ValkeyProcess, tmp_path: Path
) -> None:
    async with two_nodes(shared_valkey, tmp_path) as (a, b):
        await a.connect("u1")
        clients = [await b.connect("u1"), await b.connect("u2", jti="t1"), await b.connect("u3")]
        actions, boss = a.admin_actions, a.actor()
        pinged = asyncio.create_task(actions.ping_user(boss, "u1", 0.3))
        assert len((await pinged)["connections"]) == 2
        answer = await actions.disconnect_user(
            boss, read_request({"user_id": "u1"}, DisconnectRequest)
        )
        assert answer == {"disconnected": 2}
        assert (await clients[0].closing())[0] == 4502
        answer = await actions.disconnect_connection(boss, clients[2].id)
        assert answer == {"disconnected": 1}
        answer = await actions.revoke(boss, read_request({"jti": "t1"}, RevokeRequest))
        assert answer == {"jti": "t1", "disconnected": 1}
        assert (await clients[1].closing())[0] == 4505


@pytest.mark.gen_test(timeout=30)
async def test_a_member_removed_on_one_node_leaves_the_session_on_the_other(
    shared_valkey: ValkeyProcess, tmp_path: Path
) -> None:
    async with two_nodes(shared_valkey, tmp_path) as (a, b):
        for user_ids in (["u1", "u2"], ["u2"]):
            request = read_request({"user_ids": user_ids}, MembersRequest)
            await a.admin_actions.replace_members(a.actor(), "s1", request)
            if "u1" in user_ids:
                await eventually(lambda: b.members.is_member("s1", "u1"))
                there = await joined(b, "u1", sessions=())
        assert (await got(there, "session_left"))["user_id"] == "u1"
        assert b.members.of_session("s1") == ["u2"]


@pytest.mark.gen_test(timeout=30)
async def test_who_was_removed_gets_no_later_message_from_a_node_that_does_not_answer(
    shared_valkey: ValkeyProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(request: MembersReplaced) -> int:
        await asyncio.Event().wait()
        return request.version

    async with two_nodes(shared_valkey, tmp_path) as (a, b):
        request = read_request({"user_ids": ["u1", "u2"]}, MembersRequest)
        await a.admin_actions.replace_members(a.actor(), "s1", request)
        await eventually(lambda: b.members.is_member("s1", "u1"))
        removed, stays = await joined(b, "u1", sessions=()), await joined(b, "u2", sessions=())
        monkeypatch.setattr(admin_actions, "SPREAD_S", 0.05)
        b.control.add_handler(MembersReplaced, hang)
        request = read_request({"user_ids": ["u2"]}, MembersRequest)
        answer = await a.admin_actions.replace_members(a.actor(), "s1", request)
        assert answer["unreachable"] == [b.control.node]
        await a.router.send(Message("note", {"data": "later"}, session("s1"), keep=True))
        assert (await got(stays, "note"))["data"] == "later"
        types = [push["type"] for push in await removed.rest()]
        assert ("session_left" in types, "note" in types) == (True, False), types


@pytest.mark.gen_test(timeout=30)
async def test_a_revocation_is_in_force_on_a_node_that_does_not_answer(
    shared_valkey: ValkeyProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(request: RevokeTokens) -> int:
        await asyncio.Event().wait()
        return request.version

    async with two_nodes(shared_valkey, tmp_path) as (a, b):
        there = await joined(b, "u1")
        monkeypatch.setattr(admin_actions, "SPREAD_S", 0.05)
        b.control.add_handler(RevokeTokens, hang)
        request = read_request({"user_id": "u1"}, RevokeRequest)
        answer = await a.admin_actions.revoke(a.actor(), request)
        assert answer["unreachable"] == [b.control.node]
        assert (await there.closing())[0] == 4505


@pytest.mark.gen_test(timeout=30)
async def test_a_sender_on_another_node_gets_the_status_of_each_of_many_messages(
    shared_valkey: ValkeyProcess, tmp_path: Path
) -> None:
    async with two_nodes(shared_valkey, tmp_path) as (a, b):
        # Else a node that has just started assumes that there may be monitors, which get all.
        b.control.notify(MonitorInterest("", None))
        a.control.notify(MonitorInterest("", None))
        plain = await b.connect("u2", protocol="plain", sessions=["s1"])
        await plain.call("join_session", session_id="s1")
        messages = [
            Message("new_message", {"session_id": "s1", "message": {}}, session("s1"), keep=True)
            for _ in range(20)
        ]
        for message in messages:
            message.sender = "boss"
        await b.router.keep(messages[:10])  # while the sender is connected nowhere
        boss = await a.connect("boss")
        await a.broker.followed(user("boss"))
        sent = [each.message_id for each in await b.router.keep(messages[10:])]
        updates: list[str] = []

        async def look() -> list[str]:
            updates.extend(
                push["message_id"]
                for push in await boss.rest()
                if push["type"] == "message_status_update" and push["message_id"] in sent
            )
            return updates

        await eventually(look, sent)
