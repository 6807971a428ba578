"""Calls over sockets: who rings, the first device wins, signals, and what time ends."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from tests.support.web_server import Server, Socket, StartServer, token
from wsserver.extensions.calls.pushes import (
    CallEntered,
    CallIncomingPush,
    Calling,
    CallSignalPush,
    CallStatePush,
)
from wsserver.extensions.calls.store import CALLS_A_MINUTE
from wsserver.extensions.calls.turn import IceServers

SHAPES: dict[str, Any] = {
    "call_incoming": CallIncomingPush,
    "call_state": CallStatePush,
    "call_signal": CallSignalPush,
    "calling": Calling,
}
OFFER = {"type": "offer", "sdp": "v=0\r\n"}


def shaped(message: dict[str, Any], shape: Any = None) -> dict[str, Any]:
    """The message, which has its declared shape."""
    kind = shape or SHAPES[message["type"]]
    members = {name: value for name, value in message.items() if name not in ("type", "ref")}
    msgspec.convert(members, kind, strict=True)
    known = {field.encode_name for field in msgspec.structs.fields(kind)}
    assert set(members) <= known
    return message


async def ask(socket: Socket, type_: str, **fields: Any) -> dict[str, Any]:
    """Send a command; its reply, and the pushes before it are dropped."""
    socket.send(type=type_, ref="r", **fields)
    while True:
        message = await socket.push()
        if message.get("ref") == "r":
            return message


async def refusal(socket: Socket, type_: str, **fields: Any) -> dict[str, Any]:
    reply = await ask(socket, type_, **fields)
    assert reply["type"] == "error", reply
    return dict(reply["error"])


async def state(socket: Socket, wanted: str, **members: Any) -> dict[str, Any]:
    """The next push of the state of a call, which is this one."""
    push = shaped(await socket.push("call_state"))
    found = {name: push[name] for name in members}
    assert (push["state"], found) == (wanted, members)
    return push


async def join(server: Server, user_id: str, session_id: str = "s1", **claims: Any) -> Socket:
    """A device of a user in a session."""
    socket = await server.connect(user_id, sessions=[session_id], **claims)
    assert (await ask(socket, "join_session", session_id=session_id))["type"] == "session_joined"
    return socket


async def ring(caller: Socket, *devices: Socket, session_id: str = "s1") -> str:
    """Call; the devices ring."""
    reply = await ask(caller, "call", session_id=session_id, media=["audio", "video"])
    shaped(reply)
    for device in devices:
        push = shaped(await device.push("call_incoming"))
        assert (push["call_id"], push["state"]) == (reply["call_id"], "ringing")
    return str(reply["call_id"])


async def answer(device: Socket, call_id: str) -> dict[str, Any]:
    reply = await ask(device, "call_answer", call_id=call_id)
    return shaped(reply, CallEntered)


def id_of(socket: Socket) -> str:
    return str(socket.greeting["connection_id"])


@pytest.mark.gen_test
async def test_the_first_device_that_answers_has_the_call(server: Server) -> None:
    events: list[dict[str, Any]] = []
    server.system.manager.add_event_handler("call_*", events.append)
    alice = await join(server, "alice", username="Alice")
    phone, laptop = await join(server, "bob"), await join(server, "bob")
    reply = await ask(alice, "call", session_id="s1", media=["audio", "audio"])
    shaped(reply)
    assert (reply["type"], reply["devices"], reply["ice_servers"]) == ("calling", 2, [])
    call_id = reply["call_id"]
    assert reply["call"]["media"] == ["audio"]
    for device in (phone, laptop):
        push = shaped(await device.push("call_incoming"))
        assert push["caller"]["username"] == "Alice"
        assert push["callee"] is None
    entered = await answer(laptop, call_id)
    assert entered["call"]["callee"]["connection_id"] == id_of(laptop)
    late = await refusal(phone, "call_answer", call_id=call_id)
    assert (late["code"], late["state"], late["temporary"]) == (
        *("bad_call_state", "answered"),
        False,
    )
    other = await join(server, "bob")
    assert (await answer(laptop, call_id))["call"] == entered["call"]  # repeated
    push = await state(alice, "answered", by="bob")
    assert push["callee"]["connection_id"] == id_of(laptop)
    assert (await ask(laptop, "call_end", call_id=call_id, reason="bye"))["type"] == "ack"
    await state(alice, "ended", by="bob", reason="bye")
    await state(other, "ended")
    assert (await ask(alice, "call_end", call_id=call_id))["type"] == "ack"  # hung up as well
    assert [each["name"] for each in events] == ["call_started", "call_answered", "call_ended"]
    assert events[2]["duration_s"] >= 0


@pytest.mark.gen_test
async def test_the_devices_that_ring_stop_when_another_answers(server: Server) -> None:
    alice, phone, laptop = [await join(server, user) for user in ("alice", "bob", "bob")]
    call_id = await ring(alice, phone, laptop)
    await answer(laptop, call_id)
    push = await state(phone, "answered", by="bob")
    assert push["callee"]["connection_id"] != id_of(phone)


@pytest.mark.gen_test
async def test_signals_go_to_the_other_device_only(server: Server) -> None:
    alice, phone, laptop = [await join(server, user) for user in ("alice", "bob", "bob")]
    stranger, guest = await server.connect("mallory"), await join(server, "guest")
    call_id = await ring(alice, phone, laptop)
    early = await refusal(alice, "call_signal", call_id=call_id, candidate=None)
    assert (early["code"], early["state"]) == ("bad_call_state", "ringing")
    await answer(laptop, call_id)
    offer = {"call_id": call_id, "description": OFFER}
    assert (await ask(alice, "call_signal", to=id_of(laptop), **offer))["type"] == "ack"
    push = shaped(await laptop.push("call_signal"))
    assert (push["from"], push["polite"], push["description"]) == (id_of(alice), True, OFFER)
    assert "candidate" not in push
    for candidate in ({"candidate": "x", "sdpMid": "0"}, None):
        await ask(laptop, "call_signal", call_id=call_id, candidate=candidate)
        push = shaped(await alice.push("call_signal"))
        assert (push["candidate"], push["polite"]) == (candidate, False)
    for outsider in (phone, guest, stranger):
        for command in ("call_signal", "call_resume"):
            if outsider is phone and command == "call_resume":
                continue  # it is a device of the same user
            more = {"candidate": None} if command == "call_signal" else {}
            found = await refusal(outsider, command, call_id=call_id, **more)
            assert found["code"] == "forbidden"
    unknown = await refusal(stranger, "call_signal", call_id="call_1", candidate=None)
    known = await refusal(stranger, "call_end", call_id=call_id)
    assert unknown["code"] == known["code"] == "forbidden"
    assert unknown["message"].replace("call_1", call_id) == known["message"]
    wrong = await refusal(alice, "call_signal", to=id_of(phone), **offer)
    assert wrong["code"] == "forbidden"
    await ask(alice, "call_end", call_id=call_id)
    over = await refusal(alice, "call_signal", **offer)
    assert (over["code"], over["state"]) == ("bad_call_state", "ended")


@pytest.mark.gen_test
async def test_bad_commands_are_refused(start_server: StartServer) -> None:
    server = await start_server(max_message_bytes=200_000, message_burst=1000)
    alice, bob = await join(server, "alice"), await join(server, "bob")
    for media in ([], ["audio", "video", "audio"], ["screen"]):
        found = await refusal(alice, "call", session_id="s1", media=media)
        assert found["code"] == "bad_request"
    found = await refusal(alice, "call", session_id="s2", media=["audio"])
    assert found["code"] == "forbidden"
    alone = await join(server, "carol", "s3")
    found = await refusal(alone, "call", session_id="s3", media=["audio"])
    assert found["code"] == "nobody_to_call"
    member = await server.connect("dora", sessions=["s1"])
    found = await refusal(member, "call", session_id="s1", media=["audio"])
    assert found["code"] == "not_joined"
    call_id = await ring(alice, bob)
    found = await refusal(bob, "call", session_id="s1", media=["audio"])
    assert (found["code"], found["call_id"]) == ("call_busy", call_id)
    await answer(bob, call_id)
    for fields in (
        {},
        {"candidate": {}, "description": OFFER},
        {"description": {"type": "hello", "sdp": ""}},
        {"candidate": "x"},
    ):
        found = await refusal(alice, "call_signal", call_id=call_id, **fields)
        assert found["code"] == "bad_request"
    large = {"type": "offer", "sdp": "x" * 65_536}
    found = await refusal(alice, "call_signal", call_id=call_id, description=large)
    assert (found["code"], found["limit"]) == ("signal_too_large", 65_536)
    codes = set()
    for _ in range(200):
        reply = await ask(alice, "call_signal", call_id=call_id, candidate=None)
        codes.add(reply["error"]["code"] if "error" in reply else "")
    assert codes == {"", "rate_limited"}
    found = await refusal(bob, "call_cancel", call_id=call_id)
    assert found["code"] == "forbidden"
    found = await refusal(alice, "call_cancel", call_id=call_id)
    assert (found["code"], found["state"]) == ("bad_call_state", "answered")


@pytest.mark.gen_test
async def test_a_device_has_one_call_at_a_time(server: Server) -> None:
    alice, bob = await join(server, "alice"), await join(server, "bob")
    busy = await server.connect("bob", sessions=["s1", "s2"])
    dora = await join(server, "dora", "s2")
    for session_id in ("s1", "s2"):
        await ask(busy, "join_session", session_id=session_id)
    first, second = await ring(alice), await ring(dora, session_id="s2")
    await answer(busy, first)
    found = await refusal(busy, "call_answer", call_id=second)
    assert (found["code"], found["call_id"]) == ("call_busy", first)
    assert (await answer(busy, first))["call"]["call_id"] == first  # repeated
    await ask(busy, "call_end", call_id=first)
    await answer(busy, second)
    third = await ring(alice)
    await answer(bob, third)
    found = await refusal(busy, "call_resume", call_id=third)
    assert (found["code"], found["call_id"]) == ("call_busy", second)


@pytest.mark.gen_test
async def test_a_caller_may_not_ring_without_end(server: Server) -> None:
    alice, bob = await join(server, "alice"), await join(server, "bob")
    for _ in range(CALLS_A_MINUTE):
        call_id = await ring(alice, bob)
        await ask(alice, "call_cancel", call_id=call_id)
        await state(bob, "ended", reason="cancelled")
    found = await refusal(alice, "call", session_id="s1", media=["audio"])
    assert found["code"] == "rate_limited"
    assert 0 < found["retry_after_ms"] <= 60_001


@pytest.mark.gen_test
async def test_a_call_is_declined_when_nobody_is_left(server: Server) -> None:
    alice, bob, tablet, carol = [
        await join(server, user) for user in ("alice", "bob", "bob", "carol")
    ]
    call_id = await ring(alice, bob, tablet, carol)
    await ask(bob, "call_decline", call_id=call_id, reason="busy")
    await state(tablet, "declined", by="bob")
    await ask(bob, "call_decline", call_id=call_id)  # again, without effect
    await ask(carol, "call_decline", call_id=call_id, reason="driving")
    await state(alice, "declined", by="carol", reason="driving")
    assert (await refusal(carol, "call_answer", call_id=call_id))["state"] == "declined"
    assert (await refusal(alice, "call_decline", call_id=call_id))["code"] == "forbidden"


@pytest.mark.gen_test
async def test_a_call_that_nobody_answers_is_missed_and_notified(
    start_server: StartServer,
) -> None:
    server = await start_server(call_ring_s=0.2)
    await server.request(
        "PUT", "/api/v1/websocket/sessions/s1/members", bearer=token(), user_ids=["carol"]
    )
    alice, bob = await join(server, "alice", username="Alice"), await join(server, "bob")
    call_id = await ring(alice, bob)
    for device in (alice, bob):
        if device is alice:
            await state(device, "missed", by=None, call_id=call_id)
    push = await bob.push("notification")
    assert push["notification"]["title"] == "未接来电"
    assert "Alice" in push["notification"]["message"]
    assert push["notification"]["auto_close"] is False
    carol = await server.connect("carol")  # was away, and is a member
    assert (await carol.push("notification"))["notification"]["title"] == "未接来电"
    listed = await server.get("/notifications?template=missed_call")
    assert listed.json()["total"] == 1


@pytest.mark.gen_test
async def test_a_device_that_connects_while_it_rings_rings_too(server: Server) -> None:
    members = ["alice", "bob"]
    await server.request(
        "PUT", "/api/v1/websocket/sessions/s1/members", bearer=token(), user_ids=members
    )
    alice = await join(server, "alice")
    reply = await ask(alice, "call", session_id="s1", media=["audio"])
    assert reply["devices"] == 0
    bob = await server.connect("bob")
    assert shaped(await bob.push("call_incoming"))["call_id"] == reply["call_id"]
    await answer(bob, reply["call_id"])
    await state(alice, "answered", by="bob")


@pytest.mark.gen_test
async def test_a_party_that_resumes_stays_in_the_call(server: Server) -> None:
    alice, bob = await join(server, "alice"), await join(server, "bob")
    joined = await ask(bob, "join_session", session_id="s1")
    call_id = await ring(alice, bob)
    await answer(bob, call_id)
    await state(alice, "answered")
    await bob.close()
    push = await state(alice, "answered", by="bob")
    assert push["callee"]["connected"] is False
    bob = await server.connect("bob", sessions=["s1"])
    position = {"epoch": joined["epoch"], "offset": joined["offset"]}
    bob.send(type="resume", streams={"session:s1": position})
    await state(bob, "answered", by="bob")
    push = await state(alice, "answered", by="bob")
    assert push["callee"] == {
        "user_id": "bob",
        "username": None,
        "connection_id": id_of(bob),
        "connected": True,
    }
    await ask(bob, "call_signal", call_id=call_id, candidate=None)
    assert shaped(await alice.push("call_signal"))["from"] == id_of(bob)
    laptop = await server.connect("bob", sessions=["s1"])
    moved = await ask(laptop, "call_resume", call_id=call_id)
    assert shaped(moved, CallEntered)["call"]["callee"]["connection_id"] == id_of(laptop)
    push = await state(bob, "answered")
    assert push["callee"]["connection_id"] == id_of(laptop)


@pytest.mark.gen_test
async def test_a_party_that_is_back_before_its_loss_is_noticed_stays_in(server: Server) -> None:
    alice, bob = await join(server, "alice"), await join(server, "bob")
    call_id = await ring(alice, bob)
    await answer(bob, call_id)
    await state(alice, "answered")
    back = await join(server, "bob")
    await bob.close()
    assert not (await state(alice, "answered"))["callee"]["connected"]
    callee = (await state(alice, "answered"))["callee"]
    assert (callee["connected"], callee["connection_id"]) == (True, id_of(back))
    signalled = await ask(back, "call_signal", call_id=call_id, description=OFFER)
    assert signalled["type"] == "ack"


@pytest.mark.gen_test
async def test_an_older_device_does_not_take_the_place_of_a_lost_one(server: Server) -> None:
    alice, tablet = await join(server, "alice"), await join(server, "bob")
    phone = await join(server, "bob")
    call_id = await ring(alice, tablet, phone)
    await answer(phone, call_id)
    await state(alice, "answered")
    await phone.close()
    assert not (await state(alice, "answered"))["callee"]["connected"]
    await ask(tablet, "call_end", call_id=call_id)
    await state(alice, "ended")  # and nothing before it


@pytest.mark.gen_test
async def test_a_party_that_stays_away_ends_the_call(start_server: StartServer) -> None:
    server = await start_server(call_resume_s=0.2)
    alice, bob = await join(server, "alice"), await join(server, "bob")
    call_id = await ring(alice, bob)
    await answer(bob, call_id)
    await alice.close()
    push = await state(bob, "answered", by="alice")
    assert push["caller"]["connected"] is False
    await state(bob, "ended", by=None, reason="connection_lost")
    other = await join(server, "alice")
    await ring(other, bob)
    await other.close()  # while it rings
    await state(bob, "ended", by=None, reason="connection_lost")


@pytest.mark.gen_test
async def test_after_a_restart_the_parties_are_awaited(
    server: Server, start_server: StartServer
) -> None:
    alice, bob = await join(server, "alice"), await join(server, "bob")
    call_id = await ring(alice, bob)
    await answer(bob, call_id)
    folder = server.context.settings.data_dir
    await server.stop()
    again = await start_server(data_dir=folder, database=folder / "wsserver.sqlite3")
    alice = await join(again, "alice")
    bob = await join(again, "bob")
    push = await alice.push("call_state")
    while not (push["caller"]["connected"] and push["callee"]["connected"]):
        push = await alice.push("call_state")
    reply = await ask(bob, "call_signal", call_id=call_id, candidate=None)
    assert reply["type"] == "ack"
    assert (await alice.push("call_signal"))["from"] == id_of(bob)


@pytest.mark.gen_test
async def test_the_call_of_a_user_who_is_erased_ends(server: Server) -> None:
    alice, bob = await join(server, "alice"), await join(server, "bob")
    path = "/api/v1/websocket/users/alice/data"
    for is_answered in (True, False):
        call_id = await ring(alice if is_answered else bob, bob if is_answered else alice)
        if is_answered:
            await answer(bob, call_id)
        erased = await server.request("DELETE", path, bearer=token())
        assert erased.json()["erased"]["calls"] == 1
        wanted = "ended" if is_answered else "declined"
        while (push := await bob.push("call_state"))["state"] != wanted:
            pass
        assert (push["call_id"], push["by"]) == (call_id, "alice")


@pytest.mark.gen_test
async def test_who_loses_access_is_out_of_the_call(server: Server) -> None:
    path = "/api/v1/websocket/sessions/s1/members"
    await server.request("PUT", path, bearer=token(), user_ids=["alice", "bob"])
    alice = await join(server, "alice")
    bob = await server.connect("bob")
    call_id = await ring(alice, bob)
    await server.request("PUT", path, bearer=token(), user_ids=["alice"])
    assert (await refusal(bob, "call_answer", call_id=call_id))["code"] == "forbidden"
    await server.request("PUT", path, bearer=token(), user_ids=["alice", "bob"])
    await answer(bob, call_id)
    await server.request("PUT", path, bearer=token(), user_ids=["alice"])
    await state(alice, "answered")
    found = await refusal(bob, "call_signal", call_id=call_id, candidate=None)
    assert found["code"] == "forbidden"
    await state(alice, "ended", reason="access_lost")
    await server.request("PUT", path, bearer=token(), user_ids=["alice", "bob"])
    await ask(bob, "join_session", session_id="s1")
    await answer(bob, await ring(alice, bob))
    await state(alice, "answered")
    await server.request("PUT", path, bearer=token(), user_ids=["alice"])
    await state(alice, "ended", reason="access_lost")  # at once: it had joined the session


@pytest.mark.gen_test
async def test_turn_credentials_are_fresh(start_server: StartServer) -> None:
    urls = ("stun:turn.example.com", "turn:turn.example.com:3478?transport=udp")
    server = await start_server(turn_url=urls, turn_secret="north-star", turn_ttl_s=600)
    alice = await server.connect("alice:1")
    reply = await ask(alice, "ice_servers")
    stun, turn = reply["ice_servers"]
    assert stun == {"urls": [urls[0]]}
    expiry, user_id = turn["username"].split(":", 1)
    assert (turn["urls"], user_id) == ([urls[1]], "alice:1")
    assert abs(int(expiry) - time.time() - 600) < 60
    made = IceServers(urls, "north-star", 0).view("alice:1", float(expiry))["ice_servers"][1]
    assert made == turn
