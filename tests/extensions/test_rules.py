"""Rules on a whole server: what fires, who is told, once; and looking back."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from tornado.ioloop import IOLoop

from tests.support.waiting import until
from tests.support.web_server import Server, Socket, StartServer, token
from wsserver.extensions.rules.extension import RULES
from wsserver.extensions.rules.model import Answered, Closed, Firing, Held, Said, Visit
from wsserver.extensions.rules.options import Rule
from wsserver.extensions.rules.store import Look, RuleStore
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.extension_schema import apply_steps
from wsserver.storage.messages.answers import AnswerStore
from wsserver.storage.messages.conversations import (
    ConversationStore,
    Holder,
    HolderWish,
    log_visits,
)
from wsserver.storage.messages.streams import Append, StreamStore

SOON = {"kind": "waiting", "after_s": 0.05, "away_s": 0}
LATER = {"kind": "waiting", "after_s": 3600}


def back(**ago: float) -> str:
    return (datetime.now(UTC) - timedelta(**ago)).isoformat()


def rules(**tables: dict[str, Any]) -> dict[str, Any]:
    return {"extension_settings": {"rules": tables}}


@pytest.fixture
def server(io_loop: IOLoop, start_server: StartServer) -> Server:
    """A server with a rule that fires soon, and one that does not."""
    settings = rules(soon=SOON, later=LATER)
    started: Server = io_loop.run_sync(lambda: start_server(**settings))
    return started


async def say(server: Server, session_id: str, role: str = "customer", **fields: Any) -> str:
    sender = {"user_id": "ann", "username": "Ann", "role": role}
    answer = await server.post(
        f"/sessions/{session_id}/messages",
        type="new_message",
        content="hello?",
        sender=sender,
        **fields,
    )
    assert answer.status == 200, answer.json()
    return str(answer.json()["message_id"])


def heard(server: Server) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    server.system.manager.add_event_handler("rule_fired", events.append)
    return events


async def notified(socket: Socket) -> dict[str, Any]:
    return dict((await socket.push("notification"))["notification"])


@pytest.mark.slow
@pytest.mark.gen_test
async def test_a_customer_who_waits_is_told_once_to_the_managers(server: Server) -> None:
    events = heard(server)
    boss = await server.connect("boss", "manager", organization_id="o1")
    other = await server.connect("boss2", "manager", organization_id="o2")
    path = "/api/v1/websocket/sessions/s1"
    await server.request("PATCH", path, bearer=token(), organization_id="o1")
    message_id = await say(server, "s1")
    told = await notified(boss)
    assert (told["type"], told["action_url"]) == ("warning", "/sessions/s1")
    assert "Ann" in told["message"]
    await until(lambda: len(events) == 1)
    (event,) = events
    assert (event["rule"], event["kind"], event["session_id"]) == ("soon", "waiting", "s1")
    assert (event["message_id"], event["user_id"]) == (message_id, "ann")
    assert event["organization_id"] == "o1"
    await say(server, "s1")  # still waits, for the first message
    await say(server, "s2")  # nobody's session: administrators
    await until(lambda: len(events) == 2)
    assert events[1]["session_id"] == "s2"
    await server.post("/broadcast", type="end")
    assert (await other.push())["type"] == "end"
    listed = (await server.get("/rules")).json()["rules"]
    assert [(each["name"], each["fired_24h"]) for each in listed] == [("soon", 2), ("later", 0)]
    mine = token("boss", "manager", organization_id="o1")
    listed = (await server.get("/rules", bearer=mine)).json()["rules"]
    assert [each["fired_24h"] for each in listed] == [1, 0]


@pytest.mark.slow
@pytest.mark.gen_test
async def test_nothing_fires_while_somebody_is_there(server: Server) -> None:
    events = heard(server)
    bob = await server.connect("bob", "manager", sessions=["s1"])
    bob.send(type="join_session", session_id="s1", ref=1)
    await bob.push("session_joined")
    held = {"type": "user", "id": "bob"}
    await server.post("/sessions/s2/holder", holder=held)
    for session_id in ("s1", "s2", "s3"):
        await say(server, session_id)
    await until(lambda: len(events) == 1)
    assert events[0]["session_id"] == "s3"
    await bob.close()
    await server.post("/sessions/s2/holder", holder=None)
    await until(lambda: len(events) == 3)
    assert {event["session_id"] for event in events} == {"s1", "s2", "s3"}


@pytest.mark.slow
@pytest.mark.gen_test
async def test_an_answer_that_stalls(start_server: StartServer) -> None:
    server = await start_server(
        **rules(slow={"kind": "stalled", "after_s": 2, "notify": ["user:eve"]})
    )
    events = heard(server)
    eve = await server.connect("eve", "manager", organization_id="o9")
    sender = {"user_id": "bot", "username": "Bot"}
    begun = (await server.post("/sessions/s1/answers", sender=sender, content="I")).json()
    assert "Bot" in (await notified(eve))["message"]
    await until(lambda: len(events) == 1)
    assert events[0]["message_id"] == begun["message_id"]
    await server.post(f"/answers/{begun['message_id']}/append", seq=1, text=" see")
    await server.post(f"/answers/{begun['message_id']}/finish")
    body = {"since": back(hours=1)}
    (firing,) = (await server.post("/rules/test", **body)).json()["firings"]
    assert (firing["user_id"], firing["rule"]) == ("bot", "slow")
    assert firing["until"] is not None


@pytest.mark.slow
@pytest.mark.gen_test
async def test_looking_back_says_when_and_on_whom(server: Server) -> None:
    first = await say(server, "s1")
    await asyncio.gather(say(server, "s2"), say(server, "s3"))
    events = heard(server)
    await until(lambda: len(events) == 3)
    await say(server, "s1", role="manager")
    answer = (await server.post("/rules/test", since=back(days=7))).json()
    assert (answer["sessions"], answer["next_cursor"]) == (3, None)
    by_session = {each["session_id"]: each for each in answer["firings"]}
    assert set(by_session) == {"s1", "s2", "s3"}
    firing = by_session["s1"]
    event = next(event for event in events if event["session_id"] == "s1")
    assert {name: firing[name] for name in ("rule", "at", "since", "message_id", "user_id")} == {
        name: event[name] for name in ("rule", "at", "since", "message_id", "user_id")
    }
    assert (firing["message_id"], firing["username"]) == (first, "Ann")
    assert (firing["until"] is None, by_session["s2"]["until"]) == (False, None)
    assert firing["notify"] == ["role:admin"]
    other = {"strict": {"kind": "waiting", "after_s": 0.01, "unless": [], "notify": ["user:eve"]}}
    answer = (
        await server.post("/rules/test", since=back(days=7), rules=other, session_id="s2")
    ).json()
    assert [(each["rule"], each["notify"]) for each in answer["firings"]] == [
        ("strict", ["user:eve"])
    ]
    assert (await server.post("/rules/test", since=back(days=-1))).json()["firings"] == []


@pytest.mark.slow
@pytest.mark.gen_test
async def test_a_manager_looks_back_in_its_organization(server: Server) -> None:
    for session_id, organization_id in (("s1", "o1"), ("s2", "o2")):
        path = f"/api/v1/websocket/sessions/{session_id}"
        await server.request("PATCH", path, bearer=token(), organization_id=organization_id)
        await say(server, session_id)
    events = heard(server)
    await until(lambda: len(events) == 2)
    mine = token("boss", "manager", organization_id="o1")
    answer = (await server.post("/rules/test", bearer=mine, since=back(days=1))).json()
    assert [each["session_id"] for each in answer["firings"]] == ["s1"]
    assert answer["sessions"] == 1
    answer = await server.post("/rules/test", bearer=mine, since=back(days=1), session_id="s2")
    assert (answer.status, answer.code) == (403, "forbidden")


@pytest.mark.gen_test
async def test_every_fault_of_a_test_is_named(server: Server) -> None:
    answer = await server.post("/rules/test", since="yesterday", rules={"a": {"kind": "x"}}, y=1)
    assert answer.status == 422
    fields = [each["field"] for each in answer.json()["errors"]]
    assert {"since", "rules.a.kind", "rules.a.after_s", "y"} <= set(fields)
    wrong = {"a": {"kind": "stalled", "after_s": 1}, "b": {"kind": "stalled", "after_s": 60}}
    answer = await server.post("/rules/test", since=back(days=1), rules=wrong)
    fields = [each["field"] for each in answer.json()["errors"]]
    assert (answer.status, fields) == (422, ["rules.a.after_s", "rules.b.after_s"])
    answer = await server.post("/rules/test", since=back(days=1), until=back(days=2))
    assert answer.status == 422, answer.json()
    assert [each["field"] for each in answer.json()["errors"]] == ["until"]


@pytest.mark.slow
@pytest.mark.gen_test
async def test_who_waited_before_a_restart_is_found_after_it(start_server: StartServer) -> None:
    server = await start_server(disabled_extensions=["rules"])
    message_id = await say(server, "s1")
    database = server.context.settings.database
    await server.system.service.stop()
    again = await start_server(**rules(soon=SOON), database=database)
    events = heard(again)
    await until(lambda: len(events) == 1)
    assert events[0]["message_id"] == message_id


NOW = 1_700_000_000.0


@pytest.mark.gen_test
async def test_a_rule_fires_once_over_all_nodes(database: Database) -> None:
    await database.run(lambda db: apply_steps(db, database.KIND, [RULES.schema], NOW))
    store = RuleStore(database)
    firing = Firing(NOW, NOW - 120, "m1", "ann", None, None)
    assert [await store.fire("r", "s1", "o1", firing) for _ in range(2)] == [True, False]
    assert await store.fire("r2", "s1", None, firing)
    assert {name: each.times for name, each in (await store.fired(0, None)).items()} == {
        "r": 1,
        "r2": 1,
    }
    assert set(await store.fired(0, "o1")) == {"r"}
    assert await store.fired(NOW + 1, None) == {}
    await store.prune(NOW + 91 * 86_400)
    assert await store.fired(0, None) == {}


@pytest.mark.gen_test
async def test_what_happens_while_a_session_is_looked_at_is_not_lost(database: Database) -> None:
    await database.run(lambda db: apply_steps(db, database.KIND, [RULES.schema], NOW))
    store = RuleStore(database)
    await store.note({"s1": NOW, "s2": NOW + 9}, (), NOW)
    (look,) = await store.due(NOW)
    assert look == Look("s1", 0)
    await store.note({"s1": NOW + 9}, (), NOW)
    await store.settle(look, None)
    (look,) = await store.due(NOW)  # as it was noted again
    await store.settle(look, NOW + 5)
    assert await store.due(NOW) == []
    await store.note({}, ("s2", "s3"), NOW + 1)
    assert [each.session_id for each in await store.due(NOW + 1)] == ["s2"]
    assert await store.see("s1", NOW) is None
    assert await store.stalled({}, NOW) == []
    assert await store.sweep(NOW, NOW) == 0


@pytest.mark.gen_test
async def test_the_facts_about_a_session_are_read_from_storage(database: Database) -> None:
    await database.run(lambda db: apply_steps(db, database.KIND, [RULES.schema], NOW))
    large = b'{"message":{"sender":{"user_id":"x","role":"user"},"content":"%s"}}' % (b"x" * 20_000)
    small = b'{"message":{"sender":{"user_id":"ann","username":"Ann","role":"customer"}}}'
    rows = [
        Append("session:s1", "m1", "new_message", small, NOW, NOW + 9e9, sender="ann"),
        Append(
            *("session:s1", "m2", "new_message", large, NOW + 5, NOW + 9e9),
            sender="bob",
            origin='{"role":"manager"}',
        ),
        Append("session:s1", "a1", "new_message", small, NOW + 9, NOW + 9e9),
        Append("session:s1", "n1", "hint", b"{}", NOW + 10, NOW + 9e9),
    ]
    answers = AnswerStore(database, "n1")
    hook = answers.beginning("a1", "s1", "", NOW + 9, lambda _: 0)
    rows[2] = msgspec.structs.replace(rows[2], hook=hook)
    await StreamStore(database).append(rows)
    conversations = ConversationStore(database)
    await conversations.hold("s1", HolderWish(Holder("user", "bob")), "bob", NOW + 1)
    await conversations.hold("s1", HolderWish(None), "bob", NOW + 2)
    await conversations.change("s1", {"state": "closed"}, "bob", NOW + 20, lambda _: 0)
    visits = [("s1", NOW + 3, "bob", "joined"), ("s1", NOW + 4, "bob", "left")]
    await database.run(lambda db: log_visits(db, [*visits, ("", NOW + 6, "", "started")]))
    store = RuleStore(database)
    (timeline,) = await store.timelines(["s1", "none"], NOW - 1)
    assert timeline.held_before is False
    assert list(timeline.facts) == [
        Said(NOW, "m1", "ann", "Ann", "customer"),
        Held(NOW + 1, True),
        Held(NOW + 2, False),
        Visit(NOW + 3, "bob", True),
        Visit(NOW + 4, "bob", False),
        Said(NOW + 5, "m2", "bob", None, "manager"),
        Visit(NOW + 6, None, False),
        Answered(NOW + 9, "a1", "ann", "Ann", None, None, None, "growing", []),
        Closed(NOW + 20),
    ]
    stalled = {"slow": Rule(kind="stalled", after_s=10)}
    assert await store.stalled(stalled, NOW + 18) == []
    assert await store.stalled(stalled, NOW + 19) == ["s1"]
    assert await store.fire("slow", "s1", None, Firing(NOW + 19, NOW + 9, "a1", "ann", None, None))
    assert await store.stalled(stalled, NOW + 30) == []
    assert await store.sweep(NOW, NOW + 30) == 1
    assert await store.sweep(NOW, NOW + 30) == 0
    assert await store.due(NOW + 30) == [Look("s1", 0)]
    assert (await store.sessions(0, NOW, 9))[0][1] == "s1"
