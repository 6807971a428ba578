"""Search: what a user finds and may not find, pages, hostile queries, the indexer."""

from __future__ import annotations

import json
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.live_server import Client, Live, MakeLive
from wsserver.clock import Clock
from wsserver.errors import BadRequest, Forbidden
from wsserver.protocol.requests import MembersRequest, PublishRequest, read_request
from wsserver.realtime.operations import search_indexer, searching
from wsserver.realtime.operations.search_indexer import SearchIndexer
from wsserver.storage.messages import search
from wsserver.storage.messages.search import SearchStore

Json = dict[str, Any]


class SteppingClock(Clock):
    """A clock of which a quarter of a second has passed whenever it is looked at."""

    def __init__(self) -> None:
        quarters = count()
        self.monotonic = lambda: next(quarters) / 4


async def say(client: Client, content: Any, session_id: str = "s1") -> Json:
    answer = await client.call("send_message", session_id=session_id, content=content)
    assert answer["type"] == "ack", answer
    return answer


async def find(client: Client, query: str, **members: Any) -> list[str]:
    answer = await client.call("search", query=query, **members)
    assert answer["type"] == "found", answer
    return [each["message"]["content"] for each in answer["messages"]]


async def rest(live: Live, actor: Any, query: str, **fields: Any) -> Json:
    given = {"session_id": None, "limit": 20, "cursor": None, **fields}
    answer = await live.search.of_actor(actor, query, **given)
    decoded: Json = json.loads(json.dumps(answer, default=lambda raw: json.loads(bytes(raw))))
    return decoded


@pytest.mark.gen_test
async def test_a_message_is_found_with_its_place_and_a_snippet(live: Live) -> None:
    client = await live.in_session("u1")
    await say(client, "My order has not arrived.")
    sent = await say(client, "请问什么时候可以退款？")
    await live.search_indexer.run()
    answer = await client.call("search", query="退款", limit=5)
    (found,) = answer["messages"]
    history = await client.call("history", session_id="s1", after=sent["offset"] - 1)
    assert {**history["messages"][0], "snippet": "请问什么时候可以退款？"} == found
    assert answer["next_cursor"] is None
    assert await find(client, "ORDER arrived") == ["My order has not arrived."]


@pytest.mark.gen_test
async def test_only_what_the_user_may_read_now_is_found(live: Live) -> None:
    mine = await live.in_session("u1")
    other = await live.in_session("u2", "s2")
    await say(mine, "apple of u1")
    await say(other, "apple of u2", "s2")
    await live.search_indexer.run()
    assert await find(mine, "apple") == ["apple of u1"]
    assert await find(other, "apple") == ["apple of u2"]
    assert await mine.error("search", query="apple", session_id="s2") == "forbidden"
    everything = await live.connect("u3", sessions="*")
    assert await find(everything, "apple") == ["apple of u2", "apple of u1"]
    assert await find(everything, "apple", session_id="s1") == ["apple of u1"]
    member = await live.connect("u4")
    assert await find(member, "apple") == []
    await live.admin_actions.replace_members(live.actor(), "s2", MembersRequest(["u4"]))
    assert await find(member, "apple") == ["apple of u2"]
    await live.admin_actions.replace_members(live.actor(), "s2", MembersRequest([]))
    assert await find(member, "apple") == []


@pytest.mark.gen_test
async def test_a_message_for_others_is_not_found(live: Live) -> None:
    body = {
        "target": {"type": "session", "id": "s1"},
        "type": "new_message",
        "content": "apple",
        "exclude_users": ["u1"],
    }
    await live.publishing.publish(live.actor(), read_request(body, PublishRequest))
    await live.search_indexer.run()
    assert await find(await live.in_session("u1"), "apple") == []
    assert await find(await live.in_session("u2"), "apple") == ["apple"]


@pytest.mark.gen_test
async def test_a_bound_connection_searches_its_session(live: Live) -> None:
    client = await live.connect("u1", session_id="s1", sessions="*")
    await say(client, "apple 1")
    other = await live.in_session("u1", "s2")
    await say(other, "apple 2", "s2")
    await live.search_indexer.run()
    assert await find(client, "apple") == ["apple 1"]
    assert await client.error("search", query="apple", session_id="s2") == "session_bound"


@pytest.mark.gen_test
async def test_edits_and_deletions_are_reflected(live: Live) -> None:
    client = await live.in_session("u1")
    first = await say(client, "apple one")
    await say(client, "apple two")
    await live.search_indexer.run()
    await client.call("edit_message", message_id=first["message_id"], content="cherry")
    assert await find(client, "apple") == ["apple two"]
    await live.search_indexer.run()
    assert await find(client, "cherry") == ["cherry"]
    await client.call("delete_message", message_id=first["message_id"])
    assert await find(client, "cherry") == []
    await live.search_indexer.run()
    assert await find(client, "cherry") == []


@pytest.mark.gen_test
async def test_pages_follow_each_other_and_end(live: Live) -> None:
    client = await live.in_session("u1")
    for number in range(7):
        await say(client, f"apple {number}")
    await live.search_indexer.run()
    seen: list[str] = []
    cursor: Json = {}
    while True:
        answer = await client.call("search", query="apple", limit=3, **cursor)
        seen += [each["message"]["content"] for each in answer["messages"]]
        await say(client, "apple meanwhile")
        await live.search_indexer.run()
        if answer["next_cursor"] is None:
            break
        cursor = {"before": answer["next_cursor"]}
    assert seen == [f"apple {number}" for number in range(6, -1, -1)]
    assert await client.error("search", query="apple", before="nonsense") == "bad_request"


@pytest.mark.gen_test
async def test_a_page_ends_where_the_queue_of_the_connection_would(make_live: MakeLive) -> None:
    live = await make_live(queue_limit_bytes=40_000)
    client = await live.in_session("u1")
    for number in range(5):
        await say(client, f"apple {number} {'x' * 10_000}")
    await live.search_indexer.run()
    answer = await client.call("search", query="apple")
    assert len(answer["messages"]) == 3
    answer = await client.call("search", query="apple", before=answer["next_cursor"])
    assert [each["snippet"][:7] for each in answer["messages"]] == ["apple 1", "apple 0"]


@pytest.mark.gen_test
async def test_a_search_among_many_hits_of_others_goes_on_by_the_cursor(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "ROUNDS", 2)
    monkeypatch.setattr(searching, "SESSIONS_LIMIT", 0)  # too many to be named
    mine = await live.in_session("u1")
    other = await live.in_session("u2", "s2")
    await say(mine, "apple mine")
    for number in range(10):
        await say(other, f"apple {number}", "s2")
    await live.search_indexer.run()
    pages = 0
    cursor: Json = {}
    seen: list[str] = []
    while True:
        answer = await mine.call("search", query="apple", limit=2, **cursor)
        seen += [each["message"]["content"] for each in answer["messages"]]
        pages += 1
        if answer["next_cursor"] is None:
            break
        cursor = {"before": answer["next_cursor"]}
    assert seen == ["apple mine"]
    assert pages == 3


@pytest.mark.gen_test
@pytest.mark.parametrize("query", ['""', "**", "%%", "\\\\", "a" * 200, "' OR ''='", "NOT a", "x*"])
async def test_hostile_queries_find_what_they_say(live: Live, query: str) -> None:
    client = await live.in_session("u1")
    await say(client, "harmless")
    await say(client, f"so: {query} indeed")
    await live.search_indexer.run()
    assert await find(client, query) in ([], [f"so: {query} indeed"])


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"query": "x"}, "bad_request"),
        ({"query": "x" * 201}, "bad_request"),
        ({"query": "x" * 10_000}, "bad_request"),
        ({"query": 12}, "bad_request"),
        ({}, "bad_request"),
        ({"query": "xy", "limit": 51}, "bad_request"),
        ({"query": "xy", "limit": 0}, "bad_request"),
        ({"query": "xy", "session_id": "a b"}, "bad_request"),
        ({"query": "xy", "cursor": "a"}, "unknown_field"),
    ],
)
async def test_searches_of_the_wrong_shape(live: Live, members: Json, code: str) -> None:
    client = await live.in_session("u1")
    assert await client.error("search", **members) == code


@pytest.mark.gen_test
async def test_blanks_find_nothing(live: Live) -> None:
    client = await live.in_session("u1")
    await say(client, "a  b")
    await live.search_indexer.run()
    assert await find(client, "   ") == []


# Over REST


@pytest.mark.gen_test
async def test_managers_find_messages_of_their_organization(live: Live) -> None:
    mine = await live.in_session("u1", organization_id="o1")
    other = await live.in_session("u2", "s2", organization_id="o2")
    await say(mine, "apple of o1")
    await say(other, "apple of o2", "s2")
    await live.search_indexer.run()
    manager = live.actor("manager", "m1", organization_id="o1")
    found = await rest(live, manager, "apple")
    assert [each["message"]["content"] for each in found["messages"]] == ["apple of o1"]
    with pytest.raises(Forbidden):
        await rest(live, manager, "apple", session_id="s2")
    found = await rest(live, live.actor("admin"), "apple")
    assert [each["session_id"] for each in found["messages"]] == ["s2", "s1"]
    with pytest.raises(Forbidden):
        await rest(live, live.actor("user", "u1"), "apple")
    with pytest.raises(BadRequest):
        await rest(live, live.actor("admin"), "apple", cursor="nonsense")


@pytest.mark.gen_test
async def test_the_index_leaves_more_time_to_publishers_while_messages_come(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await live.in_session("u1")
    await live.search_indexer.run()
    indexer = SearchIndexer(SearchStore(live.database), SteppingClock())
    monkeypatch.setattr(search, "BATCH_MESSAGES", 1)
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 1:
            await say(client, "apple 2")

    await say(client, "apple 1")
    with monkeypatch.context() as patch:
        patch.setattr(f"{search_indexer.__name__}.asyncio", SimpleNamespace(sleep=pause))
        await indexer.run()
    assert pauses[:3] == [0.25, 0.25 * search_indexer.BUSY_PAUSE, 0.25]
    assert await find(client, "apple") == ["apple 2", "apple 1"]


@pytest.mark.gen_test
async def test_what_is_found_stays_found_while_the_first_index_is_made(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await live.in_session("u1")
    await say(client, "apple 1")
    found: list[list[str]] = []

    async def look(_: float) -> None:
        found.append(await find(client, "apple"))

    monkeypatch.setattr(f"{search_indexer.__name__}.asyncio", SimpleNamespace(sleep=look))
    await live.search_indexer.run()
    assert ["apple 1"] in found
    assert found == sorted(found)
