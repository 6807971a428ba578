"""Spans of outgoing requests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.support.ai_provider import AiProvider
from tests.support.lifecycle import run
from wsserver.notifications.http import HttpRequest, NoAnswer
from wsserver.telemetry.spans import Attributes, Kind, Span
from wsserver.telemetry.trace_context import TraceContext, within
from wsserver.traced_http import HttpClients, TracedExchange

PARENT = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", 1)
OWN = PARENT._replace(span_id="1111111111111111")


class Recorded:
    """A span that notes how it has ended."""

    def __init__(self, name: str, parent: TraceContext | None, attributes: Attributes) -> None:
        self.name, self.parent, self.attributes = name, parent, dict(attributes)
        self.context = OWN
        self.ends: list[tuple[dict[str, Any], str]] = []

    def end(self, attributes: Attributes, fault: str = "") -> None:
        self.ends.append((dict(attributes), fault))


class Recording:
    """Telemetry that keeps all spans."""

    def __init__(self) -> None:
        self.spans: list[Recorded] = []

    def begin(
        self, name: str, kind: Kind, parent: TraceContext | None, attributes: Attributes
    ) -> Span:
        assert kind == "client"
        self.spans.append(Recorded(name, parent, attributes))
        return self.spans[-1]

    async def close(self) -> None:
        pass


@pytest.fixture
def provider(io_loop: IOLoop) -> Iterator[AiProvider]:
    made = AiProvider()
    run(io_loop, made.start)
    yield made
    io_loop.run_sync(made.stop)


@pytest.mark.gen_test
async def test_a_stream_is_one_span_until_it_was_read(provider: AiProvider) -> None:
    telemetry = Recording()
    client = HttpClients(telemetry)(None, trace="responder")
    assert isinstance(client, TracedExchange)
    request = HttpRequest("POST", f"{provider.url}/x?key=secret", {"A": "b"}, b"{}")

    async def read() -> bytes:
        with within(PARENT):
            async with client.stream(request) as stream:
                return await stream.read()

    reading = asyncio.ensure_future(read())
    asked = await provider.request()
    assert (asked.headers["traceparent"], asked.headers["a"]) == (OWN.parent, "b")
    (span,) = telemetry.spans
    assert span.attributes == {"http.request.method": "POST", "server.address": "127.0.0.1"}
    assert (span.name, span.parent, span.ends) == ("responder", PARENT, [])
    asked.head(429)
    asked.send(b"word")
    assert await reading == b"word"
    assert span.ends == [({"http.response.status_code": 429}, "HTTP 429")]


@pytest.mark.gen_test
async def test_a_stream_that_is_left_ends_its_span(provider: AiProvider) -> None:
    telemetry = Recording()
    client = HttpClients(telemetry)(None, trace="responder")
    request = HttpRequest("POST", f"{provider.url}/x", {}, b"{}")

    async def read() -> None:
        async with client.stream(request) as stream:
            await stream.read()

    reading = asyncio.ensure_future(read())
    await provider.request()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert telemetry.spans[0].ends == [({}, "CancelledError")]
    await provider.stop()
    with pytest.raises(NoAnswer):
        await client(HttpRequest("POST", "http://127.0.0.1:9/", {}, b"{}"))
    assert telemetry.spans[1].ends == [({}, "NoAnswer")]


def test_without_a_name_requests_have_no_span() -> None:
    assert not isinstance(HttpClients(Recording())(None), TracedExchange)
