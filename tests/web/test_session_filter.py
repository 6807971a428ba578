"""``GET /sessions`` by state and holder."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.web_server import API, Server, StartServer, token
from wsserver.storage.messages.conversations import Conversation, Holder, SessionFilter


async def make(server: Server, session_id: str, holder: str = "", **fields: Any) -> None:
    path = f"{API}/sessions/{session_id}"
    answer = await server.request("PATCH", path, bearer=token(), title=session_id, **fields)
    assert answer.status == 200, answer
    if holder:
        kind, _, name = holder.partition(":")
        await server.post(f"/sessions/{session_id}/holder", holder={"type": kind, "id": name})


@pytest.mark.gen_test
async def test_sessions_are_found_by_state_and_holder_also_without_connections(
    start_server: StartServer,
) -> None:
    server = await start_server()
    await make(server, "a", state="pending", organization_id="o1")
    await make(server, "b", "ai:bot", state="pending", organization_id="o2")
    await make(server, "c", "user:ann:x", organization_id="o1")
    await make(server, "d", "user:ann", state="closed")
    socket = await server.connect("u1", sessions=["b", "new"])
    for session in ("b", "new"):
        socket.send(type="join_session", session_id=session)
        await socket.push("session_joined")

    async def ids(query: str, **claims: Any) -> list[str]:
        bearer = token("m", "manager", **claims) if claims else token()
        found = (await server.get(f"/sessions{query}", bearer=bearer)).json()
        assert found["total"] == len(found["sessions"]) or "limit" in query
        return [each["session_id"] for each in found["sessions"]]

    assert await ids("") == ["b", "new"]
    assert await ids("?state=pending") == ["a", "b"]
    assert await ids("?state=pending&holder=none") == ["a"]
    assert await ids("?state=open") == ["c", "new"]
    assert await ids("?holder=none") == ["a", "new"]
    assert await ids("?holder=ai") == ["b"]
    assert await ids("?holder=ai:bot") == ["b"]
    assert await ids("?holder=user") == ["c", "d"]
    assert await ids("?holder=user:ann") == ["d"]
    assert await ids("?holder=user:ann:x") == ["c"]
    assert await ids("?state=pending", organization_id="o1") == ["a"]
    assert await ids("?state=open", organization_id="o1") == ["c"]
    node = (await server.get("/nodes")).json()["nodes"][0]["node"]
    assert await ids(f"?state=pending&node={node}") == ["b"]

    page = (await server.get("/sessions?state=pending&limit=1")).json()
    assert [each["session_id"] for each in page["sessions"]] == ["a"]
    cursor = page["next_cursor"]
    (row,) = (await server.get(f"/sessions?state=pending&cursor={cursor}")).json()["sessions"]
    assert (row["title"], row["state"], row["holder"]) == (
        "b",
        "pending",
        {"type": "ai", "id": "bot"},
    )
    assert (row["connections"], row["users"][0]["user_id"]) == (1, "u1")


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "query",
    [
        "state=gone",
        "holder=",
        "holder=bot",
        "holder=ai:",
        "holder=xai",
        "holder=ai:%00",
        "holder=ai%0A",
        "holder=ai:x%27",
    ],
)
async def test_what_is_no_state_or_holder_is_refused(server: Server, query: str) -> None:
    answer = await server.get(f"/sessions?{query}")
    assert (answer.status, answer.code) == (400, "bad_request")


@pytest.mark.parametrize(
    ("state", "holder", "is_admitted"),
    [
        (None, None, True),
        ("open", None, True),
        ("closed", None, False),
        (None, "none", False),
        (None, "user", True),
        (None, "ai", False),
        (None, "user:ann", True),
        ("pending", "user:ann", False),
        (None, "user:bob", False),
    ],
)
def test_choice(state: str | None, holder: str | None, is_admitted: bool) -> None:
    conversation = Conversation("s1", holder=Holder("user", "ann"))
    assert SessionFilter(state, holder).admits(conversation) is is_admitted
