"""Prometheus metrics: format, values, access."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from tests.support.http_response import Response
from tests.support.web_server import Server, token
from wsserver.web.resources.metrics import wants_openmetrics


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
    refused = await server.upgrade(bearer="nonsense")
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
async def test_a_request_through_a_proxy_needs_the_permission(server: Server, header: str) -> None:
    headers = {header: "127.0.0.1"}
    refused = await server.request("GET", "/metrics", headers=headers)
    assert (refused.status, refused.code) == (401, "token_missing")
    user = await server.request("GET", "/metrics", headers=headers, bearer=token("u", "user"))
    assert user.code == "forbidden"
    admin = await server.request("GET", "/metrics", headers=headers, bearer=token())
    assert admin.status == 200


# Formats

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;"
    "q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "is_openmetrics"),
    [
        (PROMETHEUS, True),
        ("application/openmetrics-text", True),
        ('Application/OpenMetrics-Text; Version="1.0.0"; charset=utf-8', True),
        ("application/openmetrics-text, text/plain", True),
        ("application/openmetrics-text;q=0.5, text/plain;q=0.6", False),
        ("application/openmetrics-text;q=0.5, */*", False),
        ("application/openmetrics-text;q=0.5, text/plain;q=0.3, */*", True),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=nonsense", False),
        ("application/openmetrics-text;version=0.0.1", False),
        ("application/openmetrics-text;version=99.0.0", False),
        ("application/vnd.google.protobuf;proto=x;q=0.6,text/plain;version=0.0.4;q=0.5", False),
        ("text/plain", False),
        ("*/*", False),
        ("text/html,*/*;q=0.8", False),
        ("", False),
        (";;,=,", False),
    ],
)
def test_the_format_is_negotiated(accept: str, is_openmetrics: bool) -> None:
    assert wants_openmetrics(accept) is is_openmetrics


async def exposition(server: Server, accept: str) -> Response:
    """The metrics of a server with a user, a round trip, a notification and a refusal."""
    client = await server.connect("u1", sessions=["s1"])
    await server.post("/ping/u1", timeout_s=0.01)
    await server.post("/notify", user_ids=["u1"], title="t", message="m")
    await server.post("/broadcast", type="hint", data=1)
    await (await server.upgrade(bearer="nonsense")).closed()
    answer = await server.request("GET", "/metrics", headers={"Accept": accept})
    assert answer.status == 200
    assert answer.headers["vary"] == "Origin, Accept"
    client.writer.close()
    return answer


@pytest.mark.gen_test
async def test_both_formats_say_the_same(server: Server) -> None:
    text = await exposition(server, "text/plain")
    assert text.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    answer = await server.request("GET", "/metrics", headers={"Accept": PROMETHEUS})
    assert answer.headers["content-type"] == (
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    )
    assert answer.body.endswith(b"# EOF\n")
    ours = {each.name: each for each in text_string_to_metric_families(text.body.decode())}
    theirs = {each.name: each for each in openmetrics_families(answer.body.decode())}
    assert {name.removesuffix("_info") for name in ours} == theirs.keys()
    assert theirs["wsserver"].type == "info"
    for name in ("wsserver_deliver_seconds", "wsserver_rtt_seconds"):
        assert theirs[name].type == ours[name].type == "summary"


def lint(text: str) -> list[str]:
    """What ``promtool check metrics`` complains of, of the text format 0.0.4."""
    found = []
    for family in text_string_to_metric_families(text):
        name, labels = family.name, {label for each in family.samples for label in each.labels}
        words = name.split("_")
        if not family.documentation:
            found.append(f"{name} no help text")
        if family.type == "counter" and not all(
            each.name.endswith("_total") for each in family.samples
        ):
            found.append(f'{name} counter metrics should have "_total" suffix')
        if family.type != "counter" and name.endswith("_total"):
            found.append(f'{name} non-counter metrics should not have "_total" suffix')
        if family.type not in ("histogram", "summary"):
            for suffix in ("bucket", "count", "sum"):
                if name.endswith(f"_{suffix}"):
                    found.append(f'{name} should not have "_{suffix}" suffix')
        if family.type != "histogram" and "le" in labels:
            found.append(f'{name} non-histogram metrics should not have "le" label')
        if family.type != "summary" and "quantile" in labels:
            found.append(f'{name} non-summary metrics should not have "quantile" label')
        if {"gauge", "counter", "summary", "histogram"} & {*words}:
            found.append(f"{name} metric name should not include type")
        for word in {"s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "m", "h", "d"} & {*words}:
            found.append(f"{name} metric names should not contain abbreviated units: {word}")
        for word in {"milliseconds", "microseconds", "minutes", "hours", "kilobytes", "percent"}:
            if word in words:
                found.append(f"{name} use base unit instead of {word}")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            found.append(f"{name} metric names should be written in snake_case")
    return found


@pytest.mark.gen_test
async def test_promtool_has_no_complaint(server: Server) -> None:
    answer = await exposition(server, "text/plain")
    assert lint(answer.body.decode()) == []
    wrong = b'# HELP x_ms x\n# TYPE x_ms gauge\nx_ms{quantile="1"} 1\n'
    assert len(lint(wrong.decode())) == 2
    promtool = shutil.which("promtool")
    if promtool is not None:
        for text, expected in ((answer.body, b""), (wrong, b"x_ms")):
            done = subprocess.run(
                [promtool, "check", "metrics"], input=text, capture_output=True, timeout=30
            )
            assert expected in done.stderr
            assert (done.returncode == 0) is (expected == b""), done.stderr
