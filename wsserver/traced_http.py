"""Outgoing requests as spans, with the trace context in their headers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from wsserver.addresses.reach import Reach
from wsserver.http_client import HttpClient, HttpStream
from wsserver.notifications.http import KEPT_BYTES, HttpAnswer, HttpRequest, HttpSend
from wsserver.telemetry.spans import Telemetry
from wsserver.telemetry.trace_context import present_trace


class _Traced:
    """A request that is being sent; ``status``: of its answer, 0 before there is one."""

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.status = 0


@dataclass(frozen=True)
class TracedHttp:
    """Wraps an ``HttpSend``, for receivers of one's own: others must not see trace ids.

    ``name``: of the spans, such as ``webhook``. Of the URL only the host is noted.
    """

    http: HttpSend
    telemetry: Telemetry
    name: str

    async def __call__(self, request: HttpRequest) -> HttpAnswer:
        """Send a request; raises what ``http`` raises."""
        with _span(self.telemetry, self.name, request) as traced:
            answer = await self.http(traced.request)
            traced.status = answer.status
        return answer


@dataclass(frozen=True)
class TracedExchange:
    """The same of an ``HttpClient`` whose answers may be read while they arrive.

    The span of such an answer ends with the block that reads it.
    """

    http: HttpClient
    telemetry: Telemetry
    name: str

    async def __call__(self, request: HttpRequest) -> HttpAnswer:
        """Send a request; raises as ``HttpClient``."""
        return await TracedHttp(self.http, self.telemetry, self.name)(request)

    @asynccontextmanager
    async def stream(self, request: HttpRequest) -> AsyncIterator[HttpStream]:
        """Send a request and read the answer; see ``HttpClient.stream``."""
        with _span(self.telemetry, self.name, request) as traced:
            async with self.http.stream(traced.request) as stream:
                traced.status = stream.status
                yield stream


@dataclass(frozen=True)
class HttpClients:
    """Makes clients for outgoing requests: ``MakeHttpClient`` of extensions."""

    telemetry: Telemetry

    def __call__(
        self,
        reach: Reach | None,
        *,
        timeout_s: float = 10.0,
        trace: str | None = None,
        kept_bytes: int = KEPT_BYTES,
    ) -> HttpClient | TracedExchange:
        """``trace``: name of the spans, for receivers of one's own; None: requests have none."""
        client = HttpClient(reach, timeout_s=timeout_s, kept_bytes=kept_bytes)
        return client if trace is None else TracedExchange(client, self.telemetry, trace)


@contextmanager
def _span(telemetry: Telemetry, name: str, request: HttpRequest) -> Iterator[_Traced]:
    """A span of a request, which gets the context in its headers."""
    span = telemetry.begin(
        name,
        "client",
        present_trace(),
        {
            "http.request.method": request.method,
            "server.address": urlsplit(request.url).hostname or "",
        },
    )
    context = span.context
    if context is not None:
        request = request._replace(headers={**request.headers, **context.headers()})
    traced = _Traced(request)
    try:
        yield traced
    except BaseException as error:
        span.end({}, type(error).__name__)
        raise
    status = traced.status
    span.end({"http.response.status_code": status}, f"HTTP {status}" if status >= 400 else "")
