"""Tells a plain API request from the first bytes of a connection, or of what comes next on it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Endpoint, Paths
from wsserver.web.api.pipeline import RequestInfo, identify
from wsserver.web.http.http_head import END, Head, read_head

HEAD_LIMIT_BYTES = 8192
BODY_LIMIT_BYTES = 64 * 1024
"""Larger bodies are the full server's, which can refuse them while they are being sent."""

_LENGTH = re.compile(r"[0-9]{1,8}")
_USUAL_CONNECTION = frozenset({"", "keep-alive", "close"})


@dataclass(slots=True)
class Request:
    """A request whose head has been read."""

    endpoint: Endpoint
    asked: RequestInfo
    body_at: int
    """Where its body begins in what has been received."""
    end: int
    """Where it ends."""
    started: float
    """Monotonic seconds."""
    is_last: bool
    """Does the client want the connection closed behind the answer?"""


class RequestReader:
    """Reads the heads of plain requests; it refuses none, and decides nothing."""

    def __init__(self, context: WebContext, paths: Paths) -> None:
        self._context = context
        self._paths = paths

    def read(self, received: bytearray, peer: str) -> Request | None:
        """The request that ``received`` begins with; None if it is for the full server."""
        length = received.find(END, 0, HEAD_LIMIT_BYTES)
        head = read_head(bytes(received[:length])) if length >= 0 else None
        if head is None or not self._is_usual(head, peer):
            return None
        found = self._paths.find(head.method, head.path)
        size = _size(head.get("Content-Length", "0"))
        if found is None or size is None:
            return None
        request_id, remote_ip = identify(self._context, head, peer)
        asked = RequestInfo(
            method=head.method,
            path=head.path,
            query=head.query,
            headers=head,
            peer=peer,
            request_id=request_id,
            remote_ip=remote_ip,
            parts=found.parts,
        )
        body_at = length + len(END)
        return Request(
            endpoint=found.endpoint,
            asked=asked,
            body_at=body_at,
            end=body_at + size,
            started=self._context.clock.monotonic(),
            is_last=head.get("Connection").lower() == "close",
        )

    def _is_usual(self, head: Head, peer: str) -> bool:
        """Does a head have nothing that would have to be judged before the endpoint is asked?"""
        return (
            "%" not in head.path
            and "Origin" not in head
            and "Upgrade" not in head
            and head.get("Connection").lower() in _USUAL_CONNECTION
            and self._context.allows_host(head.get("Host"), peer, head)
        )


def _size(content_length: str) -> int | None:
    """The number of bytes, None if it is too large or no number."""
    if _LENGTH.fullmatch(content_length) is None:
        return None
    size = int(content_length)
    return size if size <= BODY_LIMIT_BYTES else None
