"""Metrics: well-formed, true, and only for those who may see them."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.web.web_server import Server, token


async def scrape(server: Server) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    answer = await server.request("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


@pytest.mark.gen_test
async def test_the_figures_are_the_statistics(server: Server) -> None:
    await server.connect("u1", sessions=["s1"])
    await server.post("/broadcast", type="hint", data=1)
    refused = await server.knock(bearer="nonsense")
    await refused.closed()
    figures = await scrape(server)
    stats = (await server.get("/stats")).json()
    assert figures["wsserver_connections", ()] == stats["total_connections"] == 1
    assert figures["wsserver_messages_sent_total", ()] == stats["messages_sent"] > 0
    assert figures["wsserver_handshakes_refused_total", (("code", "token_invalid"),)] == 1
    route = "/api/v1/websocket/broadcast"
    labels = (("method", "POST"), ("route", route), ("status", "200"))
    assert figures["wsserver_http_requests_total", labels] == 1
    assert figures["wsserver_http_request_duration_seconds_count", ()] == 3
    assert figures["wsserver_health", (("status", "ok"),)] == 1
    assert figures["wsserver_info", (("node", "test"),)] == 1
    assert figures["wsserver_wire_bytes_in_total", ()] >= 0


@pytest.mark.gen_test
async def test_unknown_paths_and_methods_make_no_new_series(server: Server) -> None:
    for number in range(5):
        await server.request("GET", f"/nowhere/{number}")
        await server.request(f"ODD{number}", "/nowhere")
    routes = {
        dict(labels)["route"]
        for name, labels in await scrape(server)
        if name == "wsserver_http_requests_total"
    }
    assert routes == {"*"}


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Host"]
)
@pytest.mark.gen_test
async def test_whoever_comes_through_a_proxy_needs_the_permission(
    server: Server, header: str
) -> None:
    headers = {header: "127.0.0.1"}
    refused = await server.request("GET", "/metrics", headers=headers)
    assert (refused.status, refused.code) == (401, "token_missing")
    user = await server.request("GET", "/metrics", headers=headers, bearer=token("u", "user"))
    assert user.code == "forbidden"
    admin = await server.request("GET", "/metrics", headers=headers, bearer=token())
    assert admin.status == 200
