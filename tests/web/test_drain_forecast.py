"""``GET /nodes/{node}/drain``: what a drain would do to the connections of a node."""

from __future__ import annotations

import pytest

from tests.support.event_stream_client import connect_events
from tests.support.web_server import Server, token


@pytest.mark.gen_test
async def test_the_forecast_of_a_drain_changes_nothing(server: Server) -> None:
    path = f"/nodes/{server.context.nodes.own}/drain"
    empty = (await server.get(path)).json()
    assert (empty["total"], empty["reconnects_per_s"], empty["connections"]) == (0, [], [])
    first = await server.connect("u1")
    plain = await server.upgrade(
        bearer=token("u2"), protocols="", headers={"User-Agent": "plain/1"}
    )
    await plain.push("connection_established")
    await connect_events(server, "u3")
    sent = await server.post("/users/u1/messages", type="hint", data=1, keep=True)
    await first.push("hint")
    assert sent.status == 200
    found = (await server.get(path)).json()
    assert (found["total"], found["users"], found["peak_per_s"]) == (3, 3, 1)
    assert found["reconnects_per_s"] == [1, 1, 0, 0, 1]
    assert found["window_ms"] == 4333
    assert found["ignoring_clients"] == [{"user_agent": "plain/1", "connections": 1}]
    assert found["unacknowledged"] == {"messages": 1, "users": 1}
    rows = found["connections"]
    assert [(row["user_id"], row["follows_hint"], row["unacknowledged"]) for row in rows] == [
        ("u1", True, 1),
        ("u2", False, 0),
        ("u3", True, 0),
    ]
    page = (await server.get(f"{path}?limit=2")).json()
    last = (await server.get(f"{path}?limit=2&cursor={page['next_cursor']}")).json()
    assert [*page["connections"], *last["connections"]] == rows
    assert last["next_cursor"] is None
    assert not server.system.manager.is_draining
    assert (await server.get("/stats")).json()["total_connections"] == 3


@pytest.mark.gen_test
async def test_the_forecast_is_not_for_who_is_confined_to_an_organization(server: Server) -> None:
    manager = token("boss", "manager", organization_id="o1")
    own = server.context.nodes.own
    assert (await server.get(f"/nodes/{own}/drain", bearer=manager)).status == 403
    assert (await server.get("/nodes/n9/drain")).status == 404
