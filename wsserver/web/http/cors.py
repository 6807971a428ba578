"""CORS headers, for browser pages of allowed origins (WHATWG Fetch §3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

EXPOSED = (
    "X-Request-ID, Idempotency-Replayed, Retry-After, Allow, Location, Content-Disposition, "
    "Content-Range, ETag, Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size, "
    "Tus-Checksum-Algorithm, Upload-Offset, Upload-Length, Upload-Metadata, Upload-Expires"
)
REQUEST_HEADERS = (
    "Authorization, Content-Type, Idempotency-Key, X-Request-ID, X-Wsserver-Channel, "
    "Last-Event-ID, Range, If-Range, If-None-Match, Tus-Resumable, Upload-Length, Upload-Offset, "
    "Upload-Metadata, Upload-Checksum, X-HTTP-Method-Override"
)
PREFLIGHT_AGE_S = 600


def answer_headers(
    origins: Sequence[str], is_allowed: Callable[[], bool]
) -> Iterator[tuple[str, str]]:
    """Headers that allow a page to read a response; none for a page of another origin.

    Credentials are never allowed: the only cookie is that of the console, on the server's own
    origin. Nor is the header that goes with it, see ``api.console_sessions``.
    """
    if len(origins) == 1 and is_allowed():
        yield "Access-Control-Allow-Origin", origins[0]
        yield "Access-Control-Expose-Headers", EXPOSED


def preflight_headers(methods: Sequence[str]) -> dict[str, str]:
    """Headers of a preflight response, which browsers need before a request with a token."""
    return {
        "Access-Control-Allow-Methods": ", ".join(methods),
        "Access-Control-Allow-Headers": REQUEST_HEADERS,
        "Access-Control-Max-Age": str(PREFLIGHT_AGE_S),
    }
