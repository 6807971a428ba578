"""``TracedHttp``: outgoing requests as spans, with the trace context in their headers."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from wsserver.notifications.http import HttpAnswer, HttpRequest, HttpSend
from wsserver.telemetry.spans import Telemetry
from wsserver.telemetry.trace_context import present_trace


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
        span = self.telemetry.begin(
            self.name,
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
        try:
            answer = await self.http(request)
        except BaseException as error:
            span.end({}, type(error).__name__)
            raise
        status = answer.status
        span.end({"http.response.status_code": status}, f"HTTP {status}" if status >= 400 else "")
        return answer
