"""§4, §6: history of a session, over the socket and over REST, in both directions."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.conftest import Connect
from tests.support.running_server import RunningServer
from tests.support.tokens import token

SETTINGS = {"message_rate": 100_000, "message_burst": 100_000, "queue_limit_bytes": 200_000}
Json = dict[str, Any]


def publish(server: RunningServer, room: str, count: int = 1, **fields: Any) -> list[Json]:
    target = {"type": "session", "id": room}
    body = {"type": "new_message", "content": "a", "target": target, **fields}
    results: list[Json] = server.post("/messages/batch", {"messages": [body] * count}).ok["results"]
    return results


def offsets(page: Json) -> tuple[list[int], bool]:
    return [message["offset"] for message in page["messages"]], page["has_more"]


def test_pages_go_both_ways_on_both_ways_in(server: RunningServer, connect: Connect) -> None:
    reader = connect("u1", sessions="*")
    reader.join("room")
    client = connect("u2", sessions=["room"])
    publish(server, "room", 250)
    live = [reader.await_push("new_message") for _ in range(250)]

    def look(**ends: int) -> tuple[list[int], bool]:
        page = client.call("history", session_id="room", **ends)
        assert page["type"] == "history"
        query = "&".join(f"{name}={value}" for name, value in {"limit": 50, **ends}.items())
        rest = server.get(f"/sessions/room/history?{query}").ok
        assert rest["messages"] == page["messages"]
        assert (rest["epoch"], rest["has_more"]) == (page["epoch"], page["has_more"])
        found, has_more = offsets(page)
        assert page["messages"] == [live[offset - 1] for offset in found]
        return found, has_more

    assert look() == (list(range(201, 251)), True)
    assert look(limit=200) == (list(range(51, 251)), True)
    assert look(before=51, limit=200) == (list(range(1, 51)), False)
    assert look(after=0, limit=2) == ([1, 2], True)
    assert look(after=248, limit=2) == ([249, 250], False)
    assert look(after=250) == ([], False)
    assert look(before=1) == ([], False)
    assert look(before=0) == ([], False)
    assert look(after=10, before=14) == ([11, 12, 13], False)
    assert look(after=10, before=14, limit=1) == ([13], True)
    page = server.get("/sessions/room/history?limit=1000").ok
    assert offsets(page) == (list(range(1, 251)), False)
    assert len(server.get("/sessions/room/history").ok["messages"]) == 100


def test_everything_can_be_read_page_by_page(server: RunningServer, connect: Connect) -> None:
    """Large messages make pages shorter than asked for, and close no connection."""
    publish(server, "large", 40, content="x" * 20_000)
    client = connect("u1", sessions="*")
    seen: list[int] = []
    after = 0
    while True:
        found, has_more = offsets(client.call("history", session_id="large", after=after))
        assert found
        assert len(found) < 40
        seen += found
        if not has_more:
            break
        after = found[-1]
    assert seen == list(range(1, 41))


def test_where_nothing_is_there_is_nothing(server: RunningServer, connect: Connect) -> None:
    client = connect("u1", sessions="*")
    assert offsets(client.call("history", session_id="unused")) == ([], False)
    assert offsets(server.get("/sessions/unused/history").ok) == ([], False)


@pytest.mark.parametrize("limit", [0, 201, -1, 1.5, "5", True])
def test_limits_that_are_none(connect: Connect, limit: Any) -> None:
    client = connect("u1", sessions="*")
    assert client.code("history", session_id="room", limit=limit) == "bad_request"


@pytest.mark.parametrize(
    "query",
    ["before=-1", "before=1.5", "before=x", "before=true", "before=", "after=-1", "after=1_0",
     "after=%D9%A1", "limit=0", "limit=1001", "limit=%D9%A1%D9%A2", "before=1&before=2", "page=1",
     "before=99999999999999999999"],
)  # fmt: skip
def test_queries_that_are_none(server: RunningServer, query: str) -> None:
    answer = server.get(f"/sessions/room/history?{query}")
    assert answer.problem == (400, "bad_request")


@pytest.mark.parametrize("session_id", ["%00", "..%2f", "x" * 300, "%D9%A1"])
def test_session_ids_that_are_none(
    server: RunningServer, connect: Connect, session_id: str
) -> None:
    assert server.get(f"/sessions/{session_id}/history").problem[0] in (400, 404)
    client = connect("u1", sessions="*")
    assert client.code("history", session_id=session_id) == "bad_request"


def test_who_may_look_back(server: RunningServer, connect: Connect) -> None:
    publish(server, "private", 2)
    stranger = connect("u1", sessions=["other"])
    assert stranger.code("history", session_id="private") == "forbidden"
    assert stranger.code("history", session_id="never-used") == "forbidden"
    for role, status in (("user", 403), ("service", 200), ("admin", 200)):
        bearer = token("somebody", role=role)
        assert server.get("/sessions/private/history", bearer=bearer).status == status


def test_what_is_for_others_is_not_shown(server: RunningServer, connect: Connect) -> None:
    publish(server, "mixed")
    publish(server, "mixed", exclude_users=["u1"])
    publish(server, "mixed")
    mine = connect("u1", sessions="*").call("history", session_id="mixed")
    assert offsets(mine) == ([1, 3], False)
    others = connect("u2", sessions="*").call("history", session_id="mixed")
    assert offsets(others) == ([1, 2, 3], False)
