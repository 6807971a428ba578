"""``Client``: the API from a program that waits for each answer."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from wsserver.sdk import calls
from wsserver.sdk.answer_writer import AnswerWriter
from wsserver.sdk.answers import AnswerProgress
from wsserver.sdk.errors import Refused, Unreachable
from wsserver.sdk.exchange import Call, Renew, Reply, Send, exchange
from wsserver.sdk.results import Message, Notified, Published, Target, Ticket
from wsserver.sdk.retrying import RetryPolicy
from wsserver.sdk.tokens import Source, TokenCache

T = TypeVar("T")

TIMEOUT_S = 10.0
"""Of one attempt."""


class Client:
    """Calls the server's API; for one thread at a time, except for ``close``.

    ``token``: a token of your backend, or what provides one (``TokenSigner.service``). All calls
    raise an ``ApiError``; what passes is retried first (``retry``), without being carried out
    twice. Connections are kept open: make one client, and close it in the end.
    """

    def __init__(
        self,
        url: str,
        token: Source,
        *,
        timeout_s: float = TIMEOUT_S,
        retry: RetryPolicy | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        """``http``: a client of your own, as with a proxy or a private certificate authority."""
        self._url = url.rstrip("/")
        self._tokens = TokenCache(token)
        self._retry = retry or RetryPolicy()
        self._http = http or httpx.Client(timeout=timeout_s, follow_redirects=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def publish(
        self, target: Target, type: str, *, key: str | None = None, **fields: Any
    ) -> Published:
        """Publish a message: ``publish(to_session("s1"), "new_message", content="Hello")``.

        ``fields`` are those of its type, ``data`` of a type of your own, and ``keep``, ``ttl_s``,
        ``exclude_users``, ``organization_id``, ``role``, ``term``. ``key``: an idempotency key, if
        the message may be published again after this program has ended in between.
        """
        return self._run(calls.publish(target, type, fields, key))

    def batch(
        self, messages: Iterable[Message], *, key: str | None = None
    ) -> list[Published | Refused]:
        """Publish any number of messages, 1000 in a request; a result, or refusal, for each."""
        return [each for call in calls.batches(messages, key) for each in self._run(call)]

    def notify(self, *, key: str | None = None, **fields: Any) -> Notified:
        """Send a notification: ``notify(user_ids=["u1"], title="Ready", message="…")``.

        Recipients are ``user_ids``, ``session_id``, ``organization_id``, ``role`` or ``broadcast``;
        the rest as in ``POST /notify``.
        """
        return self._run(calls.notify(fields, key))

    def ticket(self) -> Ticket:
        """A one-use ticket with the claims of this client's token."""
        return self._run(calls.ticket())

    def answer(self, session_id: str, texts: Iterable[str] = (), **fields: Any) -> AnswerWriter:
        """An answer that grows: ``with client.answer("s1") as answer: answer.write(stream)``.

        ``texts`` are written when the block is entered. ``fields`` are ``sender``, ``content`` (a
        first text), ``content_type``, ``reply_to``, ``term``, ``metadata``.
        """
        return AnswerWriter(self._run, AnswerProgress(session_id, fields), texts)

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        **query: Any,
    ) -> Any:
        """Any other route: ``request("GET", "/connections", user_id="u1")``; decoded JSON."""
        return self._run(calls.any_call(method, path, body, query, key))

    def _run(self, call: Call[T]) -> T:
        steps = exchange(call, self._tokens, self._retry)
        outcome: Any = None
        failure: Unreachable | None = None
        while True:
            try:
                step = steps.send(outcome) if failure is None else steps.throw(failure)
            except StopIteration as finished:
                result: T = finished.value
                return result
            outcome, failure = None, None
            if isinstance(step, Renew):
                outcome = step.provider()
                if inspect.isawaitable(outcome):
                    raise TypeError("the provider of tokens is asynchronous: use AsyncClient")
            elif isinstance(step, Send):
                try:
                    outcome = self._send(step)
                except httpx.HTTPError as error:
                    failure = Unreachable(f"{self._url}: {error or type(error).__name__}")
            else:
                time.sleep(step.delay_s)

    def _send(self, step: Send) -> Reply:
        request = step.request
        answer = self._http.request(
            request.method,
            self._url + request.target,
            headers=dict(request.headers),
            content=request.body,
        )
        return Reply(answer.status_code, answer.content, answer.headers.get("Retry-After"))
