"""HTTP client of the REST API; every failure is an exception with one line and an exit code."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from wsctl.config.target import Target
from wsctl.errors import BadUsage, Failed, NotFound, NotPermitted, Unreachable
from wsctl.http.connection import (
    MAX_ANSWER_BYTES,
    AnswerTooLarge,
    Connection,
    address_of,
    open_connection,
    reason_of,
)

API = "/api/v1/websocket"
PATIENCE_S = 4.5
"""From the call to the whole answer, so that a dead server is reported within 5 s."""
PART_PATIENCE_S = 60.0
"""For each part of a long body."""
NDJSON_TYPE = "application/x-ndjson"
PROBLEM_BYTES = 64 * 1024
"""Read of an answer that is a problem."""
PART_BYTES = 64 * 1024
PAGE = 1000
"""Largest page of the API."""
MAX_ROWS = 1_000_000
"""Maximum of one list, which is held in memory."""


def path_part(text: str) -> str:
    """An id as one segment of a path."""
    if text in (".", ".."):  # proxies drop these segments: another route would be asked
        raise BadUsage(f"{text!r} is no id: no URL can hold it")
    # Arguments that are not UTF-8 are passed on unchanged, for the server to refuse.
    return quote(text, safe="", errors="surrogateescape")


def _encoded(query: Mapping[str, Any]) -> str:
    return urlencode(query, errors="surrogateescape")


class Client:
    """Talks to one server over one kept-alive connection.

    ``limit_bytes``: an answer with more is refused; None: ``MAX_ANSWER_BYTES``.
    """

    def __init__(self, target: Target, *, limit_bytes: int | None = None) -> None:
        self._target = target
        self._limit_bytes = MAX_ANSWER_BYTES if limit_bytes is None else limit_bytes
        self._address = address_of(target.url)
        self._prefix = urlsplit(target.url).path
        self._connection: Connection | None = None
        self._was_sent = False
        self.silent_nodes: set[str] = set()
        """Nodes of the server that did not take part in its answers."""

    def get(self, path: str, query: Mapping[str, Any] | None = None, **kwargs: Any) -> Any:
        """GET under the API's root; ``query`` values of None are left out."""
        wanted = {key: value for key, value in (query or {}).items() if value is not None}
        return self.request("GET", path + (f"?{_encoded(wanted)}" if wanted else ""), **kwargs)

    def post(self, path: str, body: Mapping[str, Any], **kwargs: Any) -> Any:
        """POST a JSON object under the API's root."""
        return self.request("POST", path, body=body, **kwargs)

    def put(self, path: str, body: Mapping[str, Any], **kwargs: Any) -> Any:
        """PUT a JSON object under the API's root."""
        return self.request("PUT", path, body=body, **kwargs)

    def patch(self, path: str, body: Mapping[str, Any], **kwargs: Any) -> Any:
        """PATCH a JSON object under the API's root."""
        return self.request("PATCH", path, body=body, **kwargs)

    def pages(
        self, path: str, key: str, query: Mapping[str, Any], limit: int | None = None
    ) -> Iterator[Any]:
        """The rows of a list, over all its pages, at most ``limit``."""
        for page in self.whole_pages(path, key, query, limit):
            yield from page[key]

    def whole_pages(
        self,
        path: str,
        key: str,
        query: Mapping[str, Any],
        limit: int | None = None,
        page_rows: int = PAGE,
    ) -> Iterator[dict[str, Any]]:
        """The pages of a list with all their members, at most ``limit`` rows together.

        ``page_rows``: the most that this list allows.
        """
        left, cursor, seen = limit, None, 0
        while True:
            size = page_rows if left is None else min(page_rows, left)
            page = self.get(path, {**query, "limit": size, "cursor": cursor})
            rows = member(page, key, list)[:left]
            yield {**page, key: rows}
            seen += max(1, len(rows))  # empty pages count, so that the loop ends
            if seen > MAX_ROWS:
                raise Failed(f"the server's list of {key} has more than {MAX_ROWS:,} rows")
            left = None if left is None else left - len(rows)
            previous, cursor = cursor, page.get("next_cursor")
            if not cursor or left == 0:
                return
            if cursor == previous:
                raise Failed(f"the server's list of {key} does not advance")

    def lines(self, path: str) -> Iterator[Any]:
        """The objects of a body of any length, one on each line; over a connection of its own.

        Raises as ``request`` does, also in the middle of a body that is not completed.
        """
        headers = {"User-Agent": "wsctl", "Authorization": f"Bearer {self._target.token()}"}
        try:
            connection = open_connection(*self._address, time.monotonic() + PATIENCE_S)
            with contextlib.closing(connection):
                url = f"{self._prefix}{API}{path}"
                response = connection.stream(url, headers=headers, patience_s=PART_PATIENCE_S)
                if response.status != 200 or response.headers.get_content_type() != NDJSON_TYPE:
                    self._understand(response, response.read(PROBLEM_BYTES), ())
                yield from _objects(response)
        except (OSError, http.client.HTTPException) as error:
            raise self._no_answer(error) from None

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        patience_s: float = PATIENCE_S,
        anonymous: bool = False,
        changes: bool | None = None,
        accept: tuple[int, ...] = (200, 201, 202),
    ) -> Any:
        """The answer's JSON.

        ``patience_s`` bounds connecting and the whole answer. ``anonymous`` sends no token.
        ``changes``: whether the request changes anything; a failure after sending then says that it
        may have done so. None: all but GET.
        Raises ``Unreachable``, ``NotPermitted`` (401, 403), ``NotFound`` (404) or ``Failed`` (other
        than ``accept``; an answer over the limit).
        """
        deadline = time.monotonic() + patience_s
        headers = {"Accept": "application/json", "User-Agent": "wsctl"}
        if not anonymous:
            headers["Authorization"] = f"Bearer {self._target.token()}"
        data = None
        if body is not None:
            data = json.dumps(body, ensure_ascii=False).encode("utf-8", "backslashreplace")
            headers["Content-Type"] = "application/json"
        url = f"{self._prefix}{API}{path}"
        # The server may have closed an idle connection; only a read may be repeated.
        reused = self._connection is not None and method == "GET"
        changes = method != "GET" if changes is None else changes
        try:
            return self._exchange(method, url, data, headers, deadline, accept)
        except ConnectionError as error:
            if not reused:
                raise self._no_answer(error, may_be_done=changes and self._was_sent) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._no_answer(error, may_be_done=changes and self._was_sent) from None
        try:
            return self._exchange(method, url, data, headers, deadline, accept)
        except (OSError, http.client.HTTPException) as error:
            raise self._no_answer(error) from None

    def _exchange(
        self,
        method: str,
        url: str,
        data: bytes | None,
        headers: Mapping[str, str],
        deadline: float,
        accept: tuple[int, ...],
    ) -> Any:
        if method != "GET":
            self.close()
        self._was_sent = False
        try:
            connection = self._connection or open_connection(*self._address, deadline)
            self._connection = connection
            self._was_sent = True
            response, content = connection.exchange(
                method,
                url,
                body=data,
                headers=headers,
                deadline_at=deadline,
                limit_bytes=self._limit_bytes,
            )
        except BaseException:
            self.close()
            raise
        if response.will_close:  # from some proxies, and from a stopping server
            self.close()
        return self._understand(response, content, accept)

    def _understand(
        self, response: http.client.HTTPResponse, content: bytes, accept: tuple[int, ...]
    ) -> Any:
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            answer = None
        if response.status == 204 and 204 in accept:  # without a body
            return {}
        is_problem = response.status >= 400 and isinstance(answer, dict) and "code" in answer
        if response.status in accept and isinstance(answer, dict) and not is_problem:
            silent = answer.get("unreachable")
            if isinstance(silent, list):
                self.silent_nodes.update(name for name in silent if isinstance(name, str))
            return answer
        raise _refusal(response, answer, self._target.url)

    def _no_answer(self, error: Exception, *, may_be_done: bool = False) -> Failed:
        # Sent and not answered: repeating the request may do it twice.
        unknown = "; the request may have been carried out" * may_be_done
        if isinstance(error, AnswerTooLarge):
            return Failed(f"{self._target.url}: {error}: is it a wsserver?{unknown}")
        return Unreachable(f"cannot reach {self._target.url}: {reason_of(error)}{unknown}")

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _objects(response: http.client.HTTPResponse) -> Iterator[Any]:
    """The objects on the lines of a body."""
    rest = b""
    while part := response.read(PART_BYTES):
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:
                raise Failed("the server's answer has a line that is no JSON") from None


def member(answer: Any, key: str, kind: type) -> Any:
    """``answer[key]``, which must be a ``kind``; raises ``Failed`` otherwise."""
    value = answer.get(key)
    if not isinstance(value, kind):
        raise Failed(f"the server's answer has no {key}: is it a wsserver?")
    return value


def _refusal(response: http.client.HTTPResponse, answer: Any, url: str) -> Failed:
    """The problem document (RFC 9457) as one line: what, code, status and request id."""
    problem = answer if isinstance(answer, dict) else {}
    if response.status < 400 or "code" not in problem:
        what = f"{url} answered {response.status} {response.reason}: is it a wsserver?"
    else:
        what = str(problem.get("detail") or problem.get("title") or response.reason)
    marks = [str(problem[key]) for key in ("code",) if key in problem]
    marks.append(str(response.status))
    request_id = problem.get("request_id") or response.headers.get("X-Request-ID")
    if request_id:
        marks.append(f"request {request_id}")
    kinds = {401: NotPermitted, 403: NotPermitted, 404: NotFound}
    return kinds.get(response.status, Failed)(f"{what} ({', '.join(marks)})")
