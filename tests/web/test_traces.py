"""Traces of requests: from the caller through the server to its webhooks, and to a collector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tornado.ioloop import IOLoop

from tests.support.http_provider import HttpProvider, ReceivedRequest
from tests.support.waiting import until
from tests.support.web_server import API, Server, StartServer, token
from wsserver.telemetry.trace_context import trace_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=1"}


@pytest.fixture
def receiver(io_loop: IOLoop) -> Iterator[HttpProvider]:
    """Takes webhooks, the hook before publishing, and spans."""
    made = HttpProvider()

    async def begin() -> None:
        made.start()

    io_loop.run_sync(begin)
    yield made
    io_loop.run_sync(made.stop)


async def started(start: StartServer, receiver: HttpProvider, **settings: Any) -> Server:
    return await start(
        allow_loopback_urls=True,
        webhook_urls=(receiver.url("/hooks") + "#message_published|test.*",),
        webhook_secret="some-32-bytes-of-random-characters",
        **settings,
    )


def arrived(receiver: HttpProvider, path: str) -> list[ReceivedRequest]:
    return [each for each in receiver.requests if each.path == path]


async def publish(server: Server, headers: dict[str, str]) -> None:
    answer = await server.request(
        "POST",
        f"{API}/broadcast",
        bearer=token(),
        headers=headers,
        type="hint",
    )
    assert answer.status == 200, answer


def spans_of(receiver: HttpProvider) -> dict[str, Any]:
    found = {}
    for request in arrived(receiver, "/v1/traces"):
        message = ExportTraceServiceRequest.FromString(request.body)
        for resource in message.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    found[span.name] = span
    return found


def value_of(attribute: Any) -> Any:
    return getattr(attribute.value, attribute.value.WhichOneof("value"))


@pytest.mark.gen_test
async def test_without_opentelemetry_the_context_passes_through(
    start_server: StartServer, receiver: HttpProvider
) -> None:
    server = await started(start_server, receiver)
    await publish(server, CALLER)
    await until(lambda: arrived(receiver, "/hooks"))
    (hook,) = arrived(receiver, "/hooks")
    assert {name: hook.headers[name] for name in CALLER} == CALLER
    await publish(server, {})
    await until(lambda: len(arrived(receiver, "/hooks")) == 2)
    assert "traceparent" not in arrived(receiver, "/hooks")[1].headers


@pytest.mark.gen_test
async def test_spans_of_a_request_and_of_its_webhook(
    start_server: StartServer, receiver: HttpProvider
) -> None:
    server = await started(start_server, receiver, traces_url=receiver.url("/v1/traces"))
    await publish(server, CALLER)
    await until(lambda: arrived(receiver, "/hooks"))
    await server.request("GET", "/metrics")
    refused = await server.request("GET", f"{API}/stats", bearer="x")
    assert refused.status == 401
    await server.system.service.stop()  # sends what was measured
    await until(lambda: "webhook" in spans_of(receiver))
    spans = spans_of(receiver)
    assert set(spans) == {f"POST {API}/broadcast", "webhook", f"GET {API}/stats"}
    request, hook = spans[f"POST {API}/broadcast"], spans["webhook"]
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, SPAN)
    assert (hook.trace_id.hex(), hook.parent_span_id) == (TRACE, request.span_id)
    (sent,) = arrived(receiver, "/hooks")
    context = trace_of(sent.headers)
    assert context is not None
    assert (context.trace_id, context.span_id) == (TRACE, hook.span_id.hex())
    assert context.state == "vendor=1"
    attributes = {each.key: value_of(each) for each in request.attributes}
    assert attributes["http.response.status_code"] == 200
    assert attributes["http.route"] == f"{API}/broadcast"
    stats = spans[f"GET {API}/stats"]
    assert stats.parent_span_id == b""
    assert stats.trace_id.hex() != TRACE
    assert {each.key: value_of(each) for each in stats.attributes}[
        "http.response.status_code"
    ] == 401
    assert token() not in str(spans)


@pytest.mark.gen_test
async def test_only_a_share_is_measured_and_callers_decide_for_theirs(
    start_server: StartServer, receiver: HttpProvider
) -> None:
    server = await started(
        start_server, receiver, traces_url=receiver.url("/v1/traces"), traces_sample=0.0
    )
    await publish(server, {})
    await server.get("/stats", headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    await server.get("/nodes", headers={"traceparent": f"00-{TRACE}-{SPAN}-00"})
    await server.system.service.stop()
    await until(lambda: spans_of(receiver))
    assert set(spans_of(receiver)) == {f"GET {API}/stats"}


@pytest.mark.gen_test
async def test_the_hook_before_publishing_belongs_to_the_trace(
    start_server: StartServer, receiver: HttpProvider
) -> None:
    receiver.answer_with(200, b'{"allow": true}')
    server = await started(start_server, receiver, publish_hook_url=receiver.url("/hook"))
    stream = await server.connect("u1", sessions=["s1"])
    stream.send(type="join_session", session_id="s1")
    await stream.push("session_joined")
    stream.send(type="send_message", session_id="s1", content="x", ref=1)
    assert (await stream.push("ack"))["ref"] == 1
    (asked,) = arrived(receiver, "/hook")
    assert "traceparent" not in asked.headers  # a command of a socket belongs to no trace


@pytest.mark.gen_test
async def test_a_collector_that_is_away_delays_nothing(start_server: StartServer) -> None:
    server = await start_server(traces_url="http://127.0.0.1:9/v1/traces")
    assert (await server.get("/stats")).status == 200
