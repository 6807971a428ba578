"""HTTP requests whose answers, errors included, are facts."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from wsctl.doctor.facts import Maybe, Missing, Reply
from wsctl.http.client import API
from wsctl.http.connection import AnswerTooLarge, address_of, open_connection, reason_of

_LONGEST_BODY = 4 * 1024 * 1024


class HttpProbe:
    """Sends requests to one server, each over a new connection, so that they run in parallel."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self.host, self.port, self.is_tls = address_of(url)
        self._prefix = urlsplit(url).path
        self._timeout_s = timeout_s

    def ask(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Maybe[Reply]:
        """The answer to a request under the API's root, whatever its status."""
        try:
            return self._ask(method, f"{self._prefix}{API}{path}", token, body)
        except AnswerTooLarge as error:
            return Missing(str(error))
        except (OSError, http.client.HTTPException) as error:
            return Missing(reason_of(error))

    def _ask(
        self, method: str, path: str, token: str | None, body: Mapping[str, Any] | None
    ) -> Reply:
        deadline = time.monotonic() + self._timeout_s
        connection = open_connection(self.host, self.port, self.is_tls, deadline)
        with contextlib.closing(connection):
            headers = {"Accept": "application/json", "User-Agent": "wsctl", "Connection": "close"}
            if token is not None:
                headers["Authorization"] = f"Bearer {token}"
            data = None
            if body is not None:
                data = json.dumps(body).encode()
                headers["Content-Type"] = "application/json"
            at, began = time.time(), time.monotonic()
            response, content = connection.exchange(
                method,
                path,
                body=data,
                headers=headers,
                deadline_at=deadline,
                limit_bytes=_LONGEST_BODY,
            )
            took = time.monotonic() - began
        return Reply(
            status=response.status,
            headers={name.lower(): value for name, value in response.getheaders()},
            document=_decoded(content),
            seconds=took,
            at=at + took / 2,
        )


def _decoded(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
