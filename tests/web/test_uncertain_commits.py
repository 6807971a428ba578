"""A single process whose database is lost at a commit, so that nobody knows what is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.backends.postgres import PostgresServer
from tests.support.lost_commits import LateCommit, lose_at_commit
from tests.support.waiting import until
from tests.support.web_server import API, Server, Socket, StartServer, token
from wsserver.storage.engine.postgres import writer as writing
from wsserver.storage.notifications import feed

pytestmark = pytest.mark.slow


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    made = postgres.lend_database()
    yield made
    postgres.give_back(made)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_UNDECIDED_S", 0.1)
    monkeypatch.setattr(writing, "_BACKOFF_S", (0.01, 0.05))


class Outage:
    """The database of a server, which may be lost at the next commit."""

    def __init__(self, postgres: PostgresServer, url: str, patch: pytest.MonkeyPatch) -> None:
        self._postgres = postgres
        self._name = url.rpartition("/")[2]
        self._patch = patch

    def begin(self, *, is_committed: bool, after: int = 0, of: str = "") -> None:
        """``after``: so many commits; ``of``: a transaction with a statement with this text."""
        self._allow("false")
        lose_at_commit(self._patch, is_committed=is_committed, after=after, of=of)

    def end(self) -> None:
        self._allow("true")

    def _allow(self, value: str) -> None:
        self._postgres.execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS {value}")


@pytest.fixture
def outage(postgres: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch) -> Outage:
    return Outage(postgres, url, monkeypatch)


async def say(server: Server, data: int, *, status: int = 200) -> Any:
    path = "/sessions/s1/messages"
    answer = await server.post(path, type="note", data=data, keep=True)
    assert answer.status == status, answer
    return answer.json()


async def reply(socket: Socket, ref: int) -> dict[str, Any]:
    while (message := await socket.push()).get("ref") != ref:
        pass
    return message


async def join(socket: Socket) -> dict[str, Any]:
    """Join the session; returns the reply."""
    socket.send(type="join_session", session_id="s1", ref=1)
    return await reply(socket, 1)


async def resume(socket: Socket, since: Any) -> tuple[int, list[int]] | str:
    """Offset and missed data of the session; or the code of the error."""
    position = {"epoch": since["epoch"], "offset": since["offset"]}
    socket.send(type="resume", streams={"session:s1": position}, ref=2)
    answer = await reply(socket, 2)
    if answer["type"] == "error":
        return str(answer["error"]["code"])
    found = answer["streams"]["session:s1"]
    assert found["recovered"]
    return found["offset"], [each["data"] for each in found["messages"]]


@pytest.mark.parametrize("is_committed", [True, False])
@pytest.mark.gen_test(timeout=60)
async def test_a_refused_message_that_is_stored_all_the_same_leaves_no_gap(
    url: str, outage: Outage, start_server: StartServer, is_committed: bool
) -> None:
    """Neither for those who are connected nor for those who come back."""
    server = await start_server(database_url=url)
    alice = await server.connect("alice", sessions=["s1"])
    alice.send(type="join_session", session_id="s1", ref=1)
    await alice.push("session_joined")
    first = await say(server, 1)
    outage.begin(is_committed=is_committed)
    refused = await say(server, 2, status=503)
    assert "not known" in refused["detail"]
    bob = await server.connect("bob", sessions=["s1"])
    assert await resume(bob, first) == "storage_unavailable"
    outage.end()
    while isinstance(found := await resume(bob, first), str):
        await asyncio.sleep(0.02)
    stored = [1, 2] if is_committed else [1]
    assert found == (len(stored), stored[1:])
    await say(server, 3)
    stored.append(3)
    pushes = [await alice.push("note") for _ in stored]
    assert [(each["offset"], each["data"]) for each in pushes] == list(enumerate(stored, 1))
    assert (await bob.push("note"))["data"] == 3


@pytest.mark.gen_test(timeout=60)
async def test_what_is_stored_all_the_same_is_delivered_as_soon_as_that_is_known(
    url: str, outage: Outage, start_server: StartServer
) -> None:
    server = await start_server(database_url=url)
    alice = await server.connect("alice")
    outage.begin(is_committed=True, after=1)  # the first one is that of the key
    body = {"type": "note", "data": 1, "keep": True}
    key = {"Idempotency-Key": "k1"}
    answer = await server.post("/users/alice/messages", headers=key, **body)
    assert answer.status == 503
    outage.end()
    push = await alice.push("note")
    assert (push["data"], push["offset"]) == (1, 1)
    again = await server.post("/users/alice/messages", headers=key, **body)
    assert (again.status, again.json()["message_id"]) == (200, push["id"])
    alice.send(type="ack", ids=[push["id"]], ref=1)
    assert (await reply(alice, 1))["acknowledged"] == 1  # it is in the inbox


@pytest.mark.gen_test(timeout=60)
async def test_a_revocation_that_is_stored_all_the_same_is_in_force(
    url: str, outage: Outage, start_server: StartServer
) -> None:
    server = await start_server(database_url=url)
    alice = await server.connect("alice")
    outage.begin(is_committed=True)
    assert (await server.post("/tokens/revoke", user_id="alice")).status == 503
    outage.end()
    assert (await alice.closed())[0] == 4505


@pytest.mark.gen_test(timeout=60)
async def test_a_read_position_that_is_stored_all_the_same_is_shown(
    url: str, outage: Outage, start_server: StartServer
) -> None:
    server = await start_server(database_url=url)
    alice = await server.connect("alice", sessions=["s1"])
    await join(alice)
    await say(server, 1)

    async def mark() -> Any:
        alice.send(type="mark_read", session_id="s1", offset=1, ref=2)
        return await reply(alice, 2)

    outage.begin(is_committed=True)
    assert (await mark())["error"]["code"] == "storage_unavailable"
    outage.end()
    while (await mark())["type"] == "error":
        await asyncio.sleep(0.02)
    assert (await positions(server, "bob"))["alice"] == 1


@pytest.mark.gen_test(timeout=60)
async def test_what_was_read_before_the_commit_is_read_again(
    url: str, start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection was lost alone: others go on, and see what was before."""
    server = await start_server(database_url=url)
    service = server.system.service
    alice = await server.connect("alice")
    late = LateCommit(monkeypatch, url)
    assert (await server.post("/tokens/revoke", user_id="alice")).status == 503
    await until(lambda: service._polled_failures == service.database.write_failures)
    late.allow()
    assert (await alice.closed())[0] == 4505


@pytest.mark.gen_test(timeout=60)
async def test_positions_that_were_read_before_the_commit_are_read_again(
    url: str, start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start_server(database_url=url)
    alice = await server.connect("alice", sessions=["s1"])
    await join(alice)
    await server.post("/sessions/s1/messages", type="new_message", content="hello", keep=True)
    phone = await server.connect("alice", sessions=["s1"])
    late = LateCommit(monkeypatch, url)
    alice.send(type="mark_read", session_id="s1", offset=1, ref=2)
    assert (await reply(alice, 2))["error"]["code"] == "storage_unavailable"
    assert (await positions(server, "bob"))["alice"] == 0
    late.allow()
    while (await alice.push("read_position"))["user_id"] != "alice":
        pass
    assert (await positions(server, "carol"))["alice"] == 1
    while (await phone.push("unread_changed"))["unread"] != 0:
        pass


async def positions(server: Server, user_id: str) -> dict[str, Any]:
    """The read positions in the session, as a new user gets them."""
    socket = await server.connect(user_id, sessions=["s1"])
    return {each["user_id"]: each["read_offset"] for each in (await join(socket))["users"]}


@pytest.mark.gen_test(timeout=60)
async def test_a_session_that_is_changed_all_the_same_is_announced(
    url: str, outage: Outage, start_server: StartServer
) -> None:
    server = await start_server(database_url=url)
    alice = await server.connect("alice", sessions=["s1"])
    await join(alice)
    outage.begin(is_committed=True, of="conversations")
    changed = await server.request("PATCH", f"{API}/sessions/s1", b'{"title": "T"}', bearer=token())
    assert changed.status == 503
    outage.end()
    updated = await alice.push("session_updated")
    assert (updated["changed"], updated["session"]["title"]) == (["title"], "T")
    outage.begin(is_committed=True, of="conversations")
    held = await server.post("/sessions/s1/holder", holder={"type": "user", "id": "bob"})
    assert held.status == 503, held
    outage.end()
    assert (await alice.push("session_updated"))["session"]["term"] == 1


@pytest.mark.gen_test(timeout=60)
async def test_a_receipt_that_is_stored_all_the_same_is_announced(
    url: str, outage: Outage, start_server: StartServer
) -> None:
    server = await start_server(database_url=url)
    alice, phone = await server.connect("alice"), await server.connect("alice")
    sent = (await server.post("/users/alice/messages", type="note", data=1, keep=True)).json()
    outage.begin(is_committed=True)
    alice.send(type="ack", ids=[sent["message_id"]], ref=1)
    assert (await reply(alice, 1))["error"]["code"] == "storage_unavailable"
    outage.end()
    update = await phone.push("message_status_update")
    assert (update["message_id"], update["status"]) == (sent["message_id"], "delivered")


@pytest.mark.gen_test(timeout=60)
async def test_calls_that_are_changed_all_the_same_are_in_step(
    url: str, outage: Outage, start_server: StartServer
) -> None:
    server = await start_server(database_url=url)
    alice = await server.connect("alice", sessions=["s1"])
    bob = await server.connect("bob", sessions=["s1"])
    for each in (alice, bob):
        await join(each)
    call = {"type": "call", "session_id": "s1", "media": ["audio"]}
    outage.begin(is_committed=True, of="FROM calls WHERE is_open")
    alice.send(**call, ref=2)
    assert (await reply(alice, 2))["error"]["code"] == "storage_unavailable"
    outage.end()
    refused = await bob.push("call_state")
    assert (refused["state"], refused["reason"]) == ("ended", "cancelled")
    alice.send(**call, ref=3)
    call_id = (await reply(alice, 3))["call_id"]
    incoming = await bob.push("call_incoming")
    assert incoming["call_id"] == call_id != refused["call_id"]
    outage.begin(is_committed=True, of="UPDATE calls")
    bob.send(type="call_answer", call_id=call_id, ref=4)
    assert (await reply(bob, 4))["error"]["code"] == "storage_unavailable"
    outage.end()
    while (answered := await alice.push("call_state"))["state"] != "answered":
        pass
    assert answered["call_id"] == call_id


@pytest.mark.gen_test(timeout=60)
async def test_tasks_that_are_changed_all_the_same_are_pushed(
    url: str, outage: Outage, start_server: StartServer
) -> None:
    server = await start_server(database_url=url)
    bob = await server.connect("bob")
    body = {"title": "Onboard", "steps": [{"title": "Call"}], "assignee": {"user": "bob"}}
    key = {"Idempotency-Key": "k1"}
    outage.begin(is_committed=True, of="FROM tasks WHERE request")
    assert (await server.post("/tasks", headers=key, **body)).status == 503
    outage.end()
    created = (await bob.push("task_update"))["task"]
    assert (created["title"], created["version"]) == ("Onboard", 1)
    path = f"{API}/tasks/{created['task_id']}"
    outage.begin(is_committed=True, of="UPDATE tasks SET state")
    running = await server.request("PATCH", path, b'{"state": "running"}', bearer=token())
    assert running.status == 503, running
    outage.end()
    changed = await bob.push("task_update")
    assert (changed["task"]["state"], changed["changed"]) == ("running", ["state"])
    again = await server.post("/tasks", headers=key, **body)
    assert (again.status, again.json()["task_id"]) == (200, created["task_id"])


@pytest.mark.gen_test(timeout=60)
async def test_notifications_that_are_changed_all_the_same_are_pushed(
    url: str, outage: Outage, start_server: StartServer
) -> None:
    server = await start_server(database_url=url)
    alice = await server.connect("alice")
    alice.send(type="notifications", ref=1)
    await reply(alice, 1)
    for mark in ("mark_notifications", "read"):
        sent = await server.post("/notify", user_ids=["alice"], title="T", message="M")
        ids = [sent.json()["notification_id"]]
        while (await alice.push("notifications_changed"))["unread"] != 1:
            pass
        outage.begin(is_committed=True, of="UPDATE deliveries SET read_at")
        alice.send(type=mark, ids=ids, ref=2, **({} if mark == "read" else {"read": True}))
        assert (await reply(alice, 2))["error"]["code"] == "storage_unavailable"
        outage.end()
        push = await alice.push("notifications_changed")
        assert (push["unread"], push.get("notification_ids")) == (0, ids)


@pytest.mark.gen_test(timeout=60)
async def test_all_parts_of_a_marking_are_pushed_if_the_last_one_is_refused(
    url: str, outage: Outage, start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MARKED_AT_ONCE", 1)
    server = await start_server(database_url=url)
    alice = await server.connect("alice")
    alice.send(type="notifications", ref=2)
    await reply(alice, 2)
    ids = []
    for count in (1, 2):
        sent = await server.post("/notify", user_ids=["alice"], title="T", message="M")
        ids.append(sent.json()["notification_id"])
        while (await alice.push("notifications_changed"))["unread"] != count:
            pass
    outage.begin(is_committed=True, after=1, of="UPDATE deliveries SET read_at")
    alice.send(type="mark_notifications", ids=ids, read=True, ref=1)
    assert (await reply(alice, 1))["error"]["code"] == "storage_unavailable"
    outage.end()
    push = await alice.push("notifications_changed")
    assert (push["unread"], sorted(push["notification_ids"])) == (0, sorted(ids))


@pytest.mark.gen_test(timeout=60)
async def test_an_end_that_is_not_stored_is_not_reported_in_place_of_another(
    url: str, outage: Outage, start_server: StartServer
) -> None:
    server = await start_server(database_url=url)
    events: list[dict[str, Any]] = []
    server.system.manager.add_event_handler("answer_ended", events.append)
    begun = (await server.post("/sessions/s1/answers", content="so far")).json()
    path = f"/answers/{begun['message_id']}"
    outage.begin(is_committed=False, of="closing_digest = ")
    assert (await server.post(f"{path}/finish")).status == 503
    outage.end()
    await until(lambda: server.system.service.database.health()["ok"])
    assert (await server.post(f"{path}/cancel")).json()["state"] == "cancelled"
    assert [each["state"] for each in events] == ["cancelled"]


@pytest.mark.gen_test(timeout=60)
async def test_an_answer_that_has_ended_all_the_same_is_finished(
    url: str, outage: Outage, start_server: StartServer
) -> None:
    server = await start_server(database_url=url)
    events: list[dict[str, Any]] = []
    server.system.manager.add_event_handler("answer_ended", events.append)
    alice = await server.connect("alice", sessions=["s1"])
    await join(alice)
    begun = (await server.post("/sessions/s1/answers", content="so ")).json()
    path = f"/answers/{begun['message_id']}"
    assert (await server.post(f"{path}/append", seq=1, text="far")).status == 200
    outage.begin(is_committed=True, of="closing_digest = ")
    assert (await server.post(f"{path}/finish")).status == 503
    outage.end()
    ended = await alice.push("answer_ended")
    assert (ended["state"], ended["message"]["content"]) == ("completed", "so far")
    again = await server.post(f"{path}/finish")
    assert again.json() == {"state": "completed", "length": 6, "offset": ended["offset"]}, again
    assert [(each["state"], each["seq"]) for each in events] == [("completed", 1)]
    late = await server.post(f"{path}/append", seq=2, text="!")
    assert (late.status, late.code) == (409, "answer_ended")
