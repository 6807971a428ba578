"""What goes with conversations, on two nodes: the publish hook, notices to absent members, unread
messages with answers that grow, erasure, accounts of messengers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.backends.postgres import PostgresServer
from scripts.backends.valkey import ValkeyProcess
from tests.extensions.test_gewe import nested
from tests.support.answer_watchers import append, start
from tests.support.cluster_servers import ClusterServers
from tests.support.http_provider import Answer, HttpProvider, ReceivedRequest
from tests.support.provider_thread import ProviderThread
from tests.support.running_server import RunningServer
from tests.support.tokens import token
from tests.support.waiting import poll
from tests.support.websocket_clients import Client, open_client, together

AWAY_S = 4.0
"""More than the receipts of plain clients need to be stored, on a slow machine too."""
KEY = "key-of-the-callback"
_numbers = itertools.count()


@pytest.fixture(scope="module")
def outside() -> Iterator[ProviderThread[HttpProvider]]:
    """The publish hook, which masks "bad" and refuses "worse", and the API of a messenger."""
    providers = ProviderThread(HttpProvider)

    def answer(request: ReceivedRequest) -> Answer:
        body = json.loads(request.body)
        if request.path != "/hook":
            return Answer(200, b'{"ret":200,"data":{}}')
        content = str(body["content"])
        if "worse" in content:
            return Answer(200, b'{"allow":false,"code":"rude","message":"No."}')
        masked = json.dumps({"allow": True, "content": content.replace("bad", "***")})
        return Answer(200, masked.encode())

    providers.provider.answer = answer
    yield providers
    providers.close()


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory,
    postgres: PostgresServer,
    shared_valkey: ValkeyProcess,
    outside: ProviderThread[HttpProvider],
) -> Iterator[tuple[RunningServer, RunningServer]]:
    """Two nodes with all of it."""
    shared_valkey.run("FLUSHALL")
    database_url = postgres.create_database(is_empty=True)
    account = {
        "kind": "gewe",
        "url": outside.provider.url("/api"),
        "key": KEY,
        "token": "t",
        "app_id": "wx_a1",
        "rate_per_minute": "6000",
    }
    nodes = ClusterServers(
        tmp_path_factory.mktemp("services"),
        database_url,
        shared_valkey.url,
        publish_hook_url=outside.provider.url("/hook"),
        publish_hook_fail="closed",
        webhook_secret="s" * 32,
        publish_hook_timeout_ms=10_000,
        allow_loopback_urls=True,
        away_notify_s=AWAY_S,
        away_channels="email",
        message_rate=1000,
        **{f"accounts__main__{name}": value for name, value in account.items()},
    )
    try:
        yield nodes.start("n1"), nodes.start("n2")
        nodes.stop()
    finally:
        nodes.kill()
        postgres.drop_database(database_url)


Pair = tuple[RunningServer, RunningServer]


@pytest.fixture
def session() -> str:
    """A session of its own for each test."""
    return f"room{next(_numbers)}"


def connect(
    node: RunningServer, user: str, session_id: str | None = None, **options: Any
) -> Client:
    client = open_client(node, bearer=token(user, sessions="*"), **options)
    client.established = client.push("connection_established")
    if session_id is not None:
        client.join(session_id)
    return client


def test_the_hook_decides_on_both_nodes_before_anybody_sees_a_message(
    pair: Pair, session: str
) -> None:
    alice, bob = [connect(node, f"{session}{n}", session) for n, node in enumerate(pair)]
    said = {}
    for client, other in ((alice, bob), (bob, alice)):
        answer = client.call("send_message", session_id=session, content="a bad word")
        for seen in (client, other):
            push = seen.await_push("new_message")
            assert (push["offset"], push["message"]["content"]) == (answer["offset"], "a *** word")
        refused = client.error("send_message", session_id=session, content="a worse word")
        assert (refused["code"], refused["reason"]) == ("rejected", "rude")
        said[client] = answer["message_id"]
    refused = alice.error("edit_message", message_id=said[alice], content="worse")
    assert refused["code"] == "rejected"
    assert alice.call("edit_message", message_id=said[alice], content="bad")["type"] == "ack"
    assert bob.await_push("message_updated")["message"]["content"] == "***"
    for node in pair:
        messages = node.get(f"/sessions/{session}/history").ok["messages"]
        assert [each["message"]["content"] for each in messages] == ["***", "a *** word"]
    for client in (alice, bob):
        client.close()


def test_an_absent_member_gets_one_notice_whichever_nodes_the_others_are_on(
    pair: Pair, session: str
) -> None:
    one, two = pair
    writer, reader, plain, absent = users = [f"{session}.{n}" for n in "wrpa"]
    one.put(f"/sessions/{session}/members", {"user_ids": users}).ok  # noqa: B018
    for user in users:
        assert two.put(f"/users/{user}/contacts", {"email": f"{user}@example.com"}).ok
    ours = connect(one, writer, session)
    reads = connect(two, reader, session)
    shown = connect(two, plain, session, offers=())

    def notices() -> list[list[str]]:
        found = one.get("/notifications?template=chat_message").ok["notifications"]
        texts = [each["recipients"]["user_ids"] for each in found]
        return [ids for ids in texts if set(ids) & set(users)]

    def say(number: int) -> None:
        sent = ours.call("send_message", session_id=session, content=f"text {number}")
        assert reads.call("ack", ids=[sent["message_id"]])["acknowledged"] == 1
        assert shown.await_push("new_message")["offset"] == sent["offset"]

    say(1)
    say(2)
    poll(notices, lambda found: found == [[absent]])
    connect(two, absent).close()  # is back on the other node, and away again
    poll(lambda: two.get(f"/users/{absent}/connections").ok["total"], lambda total: total == 0)
    say(3)
    poll(notices, lambda found: found == [[absent], [absent]])
    for client in (ours, reads, shown):
        client.close()


def test_an_answer_is_one_unread_message_on_both_nodes_however_it_grows(
    pair: Pair, session: str
) -> None:
    one, two = pair
    user = f"{session}.u"
    one.put(f"/sessions/{session}/members", {"user_ids": [user]}).ok  # noqa: B018
    here, there = connect(one, user), connect(two, user)

    def unread() -> list[int]:
        lists = [each.call("conversations")["conversations"] for each in (here, there)]
        return [each["unread"] for found in lists for each in found]

    answers = [start(node, session, content="so") for node in pair]
    for device in (here, there):
        device.await_unread(session_id=session, unread=2)
    for seq, (node, id_) in enumerate(itertools.product(pair, answers)):
        assert append(node, id_, seq // 2 + 1, " far").status == 200
    assert unread() == [2, 2]
    here.call("mark_read", session_id=session, offset=1)  # while it grows
    for device in (here, there):
        device.await_unread(session_id=session, unread=1)
    assert two.post(f"/answers/{answers[0]}/finish", {}).ok["state"] == "completed"
    assert one.post(f"/answers/{answers[1]}/cancel", {}).ok["state"] == "cancelled"
    assert unread() == [1, 1]  # the closing records are no messages
    assert two.delete(f"/messages/{answers[1]}").status == 200
    for device in (here, there):
        device.await_unread(session_id=session, unread=0)
    assert unread() == [0, 0]
    for device in (here, there):
        device.close()


def test_erasure_on_one_node_reaches_the_memory_of_the_other(pair: Pair, session: str) -> None:
    one, two = pair
    user, other = f"{session}.u", f"{session}.o"
    one.put(f"/sessions/{session}/members", {"user_ids": [user, other]}).ok  # noqa: B018
    mine, theirs = connect(two, user, session), connect(two, other, session)
    start_of = theirs.join(session)
    secret = mine.call("send_message", session_id=session, content="my secret")
    answer = start(two, session, content="my secret answer", sender={"user_id": user})
    for _ in range(2):
        last = theirs.call("send_message", session_id=session, content="stays")
    mine.call("mark_read", session_id=session, offset=3)
    direct = {"type": "new_message", "session_id": session, "content": "my secret letter"}
    assert two.post(f"/users/{user}/messages", direct).ok["message_id"]
    mine.await_unread(session_id=session, unread=1)
    theirs.rest()
    assert mine.id in str(one.get(f"/messages/{secret['message_id']}").ok)

    erased = one.delete(f"/users/{user}/data").ok["erased"]
    assert erased["messages"] == 3
    mine.await_unread(session_id=session, unread=0)  # as of a new member
    deleted = {theirs.await_push("message_deleted")["message_id"] for _ in range(2)}
    assert deleted == {secret["message_id"], answer}
    for node in pair:
        page = node.get(f"/sessions/{session}/history?changes=true").body.decode()
        assert "secret" not in page
        positions = {p["user_id"]: p for p in node.get(f"/sessions/{session}").ok["positions"]}
        assert positions[user]["read_offset"] >= last["offset"]
        for message_id in deleted:
            assert mine.id not in node.get(f"/messages/{message_id}").body.decode()
        assert append(node, answer, 1, "more").status in (404, 409)
        assert "secret" not in node.get(f"/users/{user}/data").body.decode()
    since = {"epoch": start_of["epoch"], "offset": 0}
    resumed = theirs.call("resume", streams={f"session:{session}": since})
    assert "secret" not in json.dumps(resumed)
    mine.close()
    again = connect(two, user)
    assert again.established["inbox"]["pending"] == 0
    for client in (theirs, again):
        client.close()


def test_a_contact_of_a_messenger_is_served_once_by_two_nodes(
    pair: Pair, outside: ProviderThread[HttpProvider]
) -> None:
    one, two = pair
    number = next(_numbers)
    contact = f"wxid_{number}"
    callback = nested(sender=contact, NewMsgId=7_000_000 + number)

    def report(turn: int) -> str:
        path = f"/intake/gewe/main?key={KEY}"
        answer = pair[turn % 2].request("POST", path, callback)
        assert answer.status == 200, answer
        return str(answer.json()["result"])

    assert sorted(together(report, 6)) == ["repeated"] * 5 + ["stored"]
    session_id = f"gewe:main:{contact}"
    clients = [connect(node, f"sales{n}", session_id) for n, node in enumerate(pair)]
    for n, client in enumerate(clients):
        client.call("send_message", session_id=session_id, content=f"reply {n}")

    def sent() -> list[str]:
        bodies = [json.loads(each.body) for each in outside.provider.requests]
        return [body["content"] for body in bodies if body.get("toWxid") == contact]

    outside.until(lambda: len(sent()) == 2)
    waiting = poll(lambda: two.get("/accounts").ok["accounts"][0], lambda main: not main["pending"])
    assert (sent(), waiting["failed"]) == (["reply 0", "reply 1"], 0)
    assert one.get(f"/sessions/{session_id}").ok["offset"] == 3
    for client in clients:
        client.close()
