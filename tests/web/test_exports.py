"""Exports over REST: stored rows after a position."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.web_server import Server, StartServer, token
from tests.web.test_notify import TEXT, notify, settled


async def export(server: Server, what: str, bearer: str | None = None) -> Any:
    answer = await server.get(f"/export/{what}", bearer=bearer or token())
    assert answer.status == 200, answer
    return answer.json()


@pytest.mark.gen_test
async def test_the_audit_trail_goes_on_after_a_position(server: Server) -> None:
    for reason in ("a", "b", "c"):
        await server.post("/users/disconnect", user_id="u1", reason=reason)
    first = await export(server, "audit?limit=2")
    assert [row["detail"]["reason"] for row in first["entries"]] == ["a", "b"]
    assert first["position"] == first["entries"][-1]["position"] == first["entries"][-1]["id"]
    rest = await export(server, f"audit?after={first['position']}")
    assert [row["detail"]["reason"] for row in rest["entries"]] == ["c"]
    assert rest["position"] == rest["end"] == first["end"]
    assert rest["epoch"] == first["epoch"]
    nothing = await export(server, f"audit?after={rest['position']}")
    assert (nothing["entries"], nothing["position"]) == ([], rest["position"])
    assert (await export(server, "audit?until=1h"))["entries"] == []


@pytest.mark.gen_test
async def test_snapshots_go_on_after_a_position(server: Server) -> None:
    stats = (await server.get("/stats")).json()
    ten = {name: value for name, value in stats.items() if isinstance(value, int)}
    for number in range(2):
        await server.context.snapshots.add(
            {**ten, "timestamp": 1_700_000_000.5, "node": "n1", "sequence": number}
        )
    first = await export(server, "stats?limit=1")
    assert first["snapshots"][0]["timestamp"] == "2023-11-14T22:13:20.500Z"
    rest = await export(server, f"stats?after={first['position']}")
    assert [row["sequence"] for row in rest["snapshots"]] == [1]
    assert (await export(server, "stats?since=1h"))["snapshots"] == []


@pytest.mark.gen_test
async def test_deliveries_as_they_stand_or_as_they_end(server: Server) -> None:
    accepted = (
        await notify(server, user_ids=["u1"], channels=["websocket", "email"], **TEXT)
    ).json()
    await settled(server, accepted["notification_id"])
    everything = await export(server, "notifications")
    assert [row["state"] for row in everything["deliveries"]] == ["sent", "not_configured"]
    ended = await export(server, "notifications?order=settled")
    (row,) = ended["deliveries"]
    assert (row["channel"], row["notification_id"]) == ("email", accepted["notification_id"])
    assert (row["title"], row["message"], row["attempts"]) == ("T", "M", [])
    assert row["created_at"].endswith("Z")


@pytest.mark.gen_test
async def test_messages_go_on_after_a_cursor(server: Server) -> None:
    for content in ("a", {"b": 1}, "c"):
        await server.post("/sessions/s1/messages", type="new_message", content=content)
    await server.post("/sessions/s2/messages", type="price", data=7, keep=True)
    found: list[Any] = []
    query = ""
    while True:
        page = await export(server, f"messages?limit=2{query}")
        found += page["messages"]
        if page["next_cursor"] is None:
            break
        query = f"&cursor={page['next_cursor']}"
    assert [(row["session_id"], row["offset"], row["content"]) for row in found] == [
        ("s1", 1, "a"),
        ("s1", 2, {"b": 1}),
        ("s1", 3, "c"),
        ("s2", 1, 7),
    ]
    assert found[0]["created_at"].endswith("Z")
    one = await export(server, "messages?session_id=s2&since=1h")
    assert [row["type"] for row in one["messages"]] == ["price"]
    assert (await export(server, "messages?until=1h"))["messages"] == []
    assert (await export(server, "messages?session_id=never"))["messages"] == []


@pytest.mark.gen_test
async def test_a_role_of_one_organization_exports_only_that(start_server: StartServer) -> None:
    permissions = {"manager": ("notifications:send", "notifications:read", "audit:read")}
    server = await start_server(permissions=permissions)
    manager = token("m", "manager", organization_id="acme")
    await server.connect("u1", organization_id="acme")
    await notify(server, user_ids=["u1"], **TEXT)
    await notify(server, manager, user_ids=["u1"], **TEXT)
    assert len((await export(server, "notifications"))["deliveries"]) == 2
    (row,) = (await export(server, "notifications", manager))["deliveries"]
    assert row["organization_id"] == "acme"
    (row,) = (await export(server, "notifications?order=accepted", manager))["deliveries"]
    assert (await server.get("/export/audit", bearer=manager)).code == "forbidden"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("stats?after=-1", "after"),
        ("stats?after=x", "after"),
        ("stats?limit=0", "limit"),
        ("stats?order=settled", "order"),
        ("audit?since=-1h", "since"),
        ("notifications?order=newest", "order"),
        ("messages?since=tomorrow", "since"),
        ("messages?cursor=x", "cursor"),
        ("messages?user_id=a%20b", "user_id"),
        ("messages?session_id=", "session_id"),
        ("messages?after=1", "after"),
    ],
)
@pytest.mark.gen_test
async def test_a_bad_query_is_named(server: Server, query: str, field: str) -> None:
    answer = await server.get(f"/export/{query}")
    assert (answer.code, answer.json()["field"]) == ("bad_request", field)
