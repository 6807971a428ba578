"""``AsyncClient``: the API from a program with asyncio."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from wsserver.sdk import calls
from wsserver.sdk.answers import AnswerProgress
from wsserver.sdk.async_answer_writer import AsyncAnswerWriter, Texts
from wsserver.sdk.client import TIMEOUT_S
from wsserver.sdk.errors import Refused, Unreachable
from wsserver.sdk.exchange import Call, Renew, Reply, Send, exchange
from wsserver.sdk.results import Message, Notified, Published, Target, Ticket
from wsserver.sdk.retrying import RetryPolicy
from wsserver.sdk.tokens import Source, TokenCache

T = TypeVar("T")


class AsyncClient:
    """As ``Client``, with coroutines; any number of calls at a time, in one event loop.

    A provider of tokens may be asynchronous.
    """

    def __init__(
        self,
        url: str,
        token: Source,
        *,
        timeout_s: float = TIMEOUT_S,
        retry: RetryPolicy | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """``http``: a client of your own, as with a proxy or a private certificate authority."""
        self._url = url.rstrip("/")
        self._tokens = TokenCache(token)
        self._retry = retry or RetryPolicy()
        self._http = http or httpx.AsyncClient(timeout=timeout_s, follow_redirects=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def publish(
        self, target: Target, type: str, *, key: str | None = None, **fields: Any
    ) -> Published:
        """As ``Client.publish``."""
        return await self._run(calls.publish(target, type, fields, key))

    async def batch(
        self, messages: Iterable[Message], *, key: str | None = None
    ) -> list[Published | Refused]:
        """As ``Client.batch``."""
        return [each for call in calls.batches(messages, key) for each in await self._run(call)]

    async def notify(self, *, key: str | None = None, **fields: Any) -> Notified:
        """As ``Client.notify``."""
        return await self._run(calls.notify(fields, key))

    async def ticket(self) -> Ticket:
        """As ``Client.ticket``."""
        return await self._run(calls.ticket())

    def answer(self, session_id: str, texts: Texts = (), **fields: Any) -> AsyncAnswerWriter:
        """As ``Client.answer``: ``async with client.answer("s1") as answer: …``."""
        return AsyncAnswerWriter(self._run, AnswerProgress(session_id, fields), texts)

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        **query: Any,
    ) -> Any:
        """As ``Client.request``."""
        return await self._run(calls.any_call(method, path, body, query, key))

    async def _run(self, call: Call[T]) -> T:
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
                given = step.provider()
                outcome = await given if inspect.isawaitable(given) else given
            elif isinstance(step, Send):
                try:
                    outcome = await self._send(step)
                except httpx.HTTPError as error:
                    failure = Unreachable(f"{self._url}: {error or type(error).__name__}")
            else:
                await asyncio.sleep(step.delay_s)

    async def _send(self, step: Send) -> Reply:
        request = step.request
        answer = await self._http.request(
            request.method,
            self._url + request.target,
            headers=dict(request.headers),
            content=request.body,
        )
        return Reply(answer.status_code, answer.content, answer.headers.get("Retry-After"))
