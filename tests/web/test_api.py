"""REST API end to end: permissions, bodies, errors, lists."""

from __future__ import annotations

import pytest

from tests.support.web_server import API, Server, StartServer, token


@pytest.mark.gen_test
async def test_stats_have_the_ten_fields_and_more(server: Server) -> None:
    answer = await server.get("/stats")
    assert answer.status == 200, answer
    assert answer.json()["total_connections"] == 0
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers


@pytest.mark.gen_test
async def test_a_connection_is_listed_and_closed(server: Server) -> None:
    socket = await server.connect("u1", sessions=["s1"])
    listed = (await server.get("/connections?user_id=u1")).json()
    assert listed["total"] == 1
    connection_id = listed["connections"][0]["connection_id"]
    assert (await server.get(f"/connections/{connection_id}")).json()["user_id"] == "u1"
    closed = await server.request("DELETE", f"{API}/connections/{connection_id}", bearer=token())
    assert closed.json() == {"disconnected": 1}
    assert (await socket.closed())[0] == 4502


@pytest.mark.gen_test
async def test_a_full_server_wants_no_traffic_and_says_why(start_server: StartServer) -> None:
    server = await start_server(max_connections=1)
    assert (await server.get("/health", bearer=None)).status == 200
    socket = await server.connect("u1")
    full = await server.get("/health", bearer=None)
    assert (full.status, full.json()["status"]) == (503, "degraded")
    checks = full.json()["checks"]
    assert [name for name, check in checks.items() if not check["ok"]] == ["connections"]
    refused = await server.upgrade(bearer=token("u2", "user"), protocols="")
    assert (refused.response.status, refused.response.code) == (503, "server_full")
    await server.post("/users/disconnect", user_id="u1")
    await socket.closed()
    assert (await server.get("/health", bearer=None)).status == 200


@pytest.mark.gen_test
async def test_a_server_that_only_wants_to_be_looked_at_gets_traffic(server: Server) -> None:
    server.system.service.lag.note(60.0)
    answer = await server.get("/health", bearer=None)
    assert (answer.status, answer.json()["status"]) == (200, "degraded")


@pytest.mark.gen_test
async def test_a_page_of_history_ends_at_4_mib(server: Server) -> None:
    for number in range(12):
        content = f"{number}:" + "x" * 800_000
        answer = await server.post("/sessions/s1/messages", type="new_message", content=content)
        assert answer.status == 200
    seen: list[str] = []
    after, has_more = 0, True
    while has_more:
        page = await server.get(f"/sessions/s1/history?limit=1000&after={after}")
        assert len(page.body) < 4.1 * 1024 * 1024
        answer = page.json()
        assert len(answer["messages"]) in (5, 2)
        seen += [each["message"]["content"].partition(":")[0] for each in answer["messages"]]
        after, has_more = answer["messages"][-1]["offset"], answer["has_more"]
    assert seen == [str(number) for number in range(12)]
    latest = (await server.get("/sessions/s1/history?limit=1000")).json()
    assert [each["offset"] for each in latest["messages"]] == [8, 9, 10, 11, 12]
    assert latest["has_more"] is True
