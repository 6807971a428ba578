"""HTTP/2 client of one push platform: one connection for many requests, bounded answers."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from wsserver.notifications.http import HttpAnswer, NoAnswer
from wsserver.version import __version__

TIMEOUT_S = 20.0
"""Of a whole request; shorter than that of an attempt of the channel."""
KEPT_BYTES = 16 * 1024
IDLE_S = 3600.0
"""How long a connection is kept: Apple takes many new ones for an attack."""
STREAMS = 100
"""Requests at the same time."""


class PlatformClient:
    """Sends requests to a push platform; redirects are not followed, proxies not used.

    Requires the packages of the extra ``mobile``, which the check of the options reports.
    """

    def __init__(self, url: str, ca_file: str = "") -> None:
        self._httpx: Any = import_module("httpx2")
        for name in ("httpx2", "httpcore2", "hpack"):  # whose records have the tokens of devices
            logging.getLogger(name).setLevel(logging.WARNING)
        verify = ssl.create_default_context(cafile=ca_file or None)
        self._client = self._httpx.AsyncClient(
            base_url=url,
            http2=True,
            verify=verify,
            trust_env=False,
            follow_redirects=False,
            timeout=self._httpx.Timeout(TIMEOUT_S),
            limits=self._httpx.Limits(
                max_connections=4, max_keepalive_connections=2, keepalive_expiry=IDLE_S
            ),
            headers={"user-agent": f"wsserver/{__version__}"},
        )
        self._streams = asyncio.Semaphore(STREAMS)

    async def post(self, path: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """The answer to a POST; raises ``NoAnswer``. ``path`` may be a whole URL."""
        try:
            async with self._streams, asyncio.timeout(TIMEOUT_S):
                return await self._post(path, headers, body)
        except TimeoutError:
            raise NoAnswer(f"no answer within {TIMEOUT_S:g} s") from None
        except self._httpx.HTTPError as error:
            raise NoAnswer(_reason(error)) from None

    async def _post(self, path: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        request = self._client.build_request("POST", path, headers=dict(headers), content=body)
        answer = await self._client.send(request, stream=True)
        kept = bytearray()
        try:
            async for chunk in answer.aiter_bytes():
                kept += chunk[: KEPT_BYTES - len(kept)]
                if len(kept) >= KEPT_BYTES:
                    break
        finally:
            await answer.aclose()
        named = {name.lower(): value for name, value in answer.headers.items()}
        return HttpAnswer(answer.status_code, named, bytes(kept))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _reason(error: Exception) -> str:
    """Text of a network error, without the URL."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return f"TLS: {cause.reason or type(cause).__name__}"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__
