"""``AsyncAnswerWriter``: an answer that grows, written by a program with asyncio."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Self

from wsserver.sdk.answers import TEXT_LIMIT, AnswerProgress, AnswerState, reason_of
from wsserver.sdk.errors import AnswerEnded, ApiError, Conflict
from wsserver.sdk.exchange import Call

Run = Callable[[Call[Any]], Awaitable[Any]]
Texts = Iterable[str] | AsyncIterable[str]


class AsyncAnswerWriter(AnswerState):
    """As ``AnswerWriter``, with ``async with`` and ``await``.

    While a request is under way, what comes from an asynchronous iterator is collected, and sent
    by the next one: so the text is never behind by more than one request.
    """

    def __init__(self, run: Run, progress: AnswerProgress, texts: Texts) -> None:
        self._run = run
        self._progress = progress
        self._texts = texts

    async def write(self, texts: str | Texts) -> None:
        """Append a text, or each of several as it comes, such as the stream of a model.

        Raises ``AnswerEnded``, which the block may let pass; the iterator is closed then.
        """
        if isinstance(texts, str):
            await self._append(texts)
        elif isinstance(texts, AsyncIterable):
            await self._write_all(texts)
        else:
            try:
                for text in texts:
                    await self._append(text)
            finally:
                close = getattr(texts, "close", None)  # of a generator: the model need not go on
                if close is not None:
                    close()

    def note_usage(self, **usage: Any) -> None:
        """What the answer has cost, such as ``total_tokens``; sent at its end."""
        self._progress.usage.update(usage)

    async def finish(self, *, content: str | None = None) -> None:
        """End it before the block ends; ``content`` replaces the whole text."""
        await self._finish("completed", content, None)

    async def fail(self, reason: str) -> None:
        """End it as ``failed``."""
        await self._finish("failed", None, reason)

    async def __aenter__(self) -> Self:
        self._progress.started(await self._run(self._progress.start()))
        try:
            await self.write(self._texts)
        except AnswerEnded:
            pass  # known from ``state``
        except BaseException as error:
            await self._give_up(error)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None:
            with contextlib.suppress(AnswerEnded):
                await self.finish()
            return False
        if isinstance(error, AnswerEnded):
            return True
        await self._give_up(error)
        return False

    async def _write_all(self, texts: AsyncIterable[str]) -> None:
        collected = _Collected()
        reading = asyncio.create_task(collected.read(texts))
        try:
            while text := await collected.take():
                await self._append(text)
            await reading  # raises what the iterator has raised
        finally:
            reading.cancel()
            await asyncio.wait({reading})
            if not reading.cancelled():
                reading.exception()  # reported already, or of no interest any more
            close = getattr(texts, "aclose", None)  # of a generator: the model need not go on
            if close is not None:
                await close()

    async def _append(self, text: str) -> None:
        if not text:
            return
        self._progress.add(text)
        await self._send()

    async def _send(self) -> None:
        for call in self._progress.appends():
            try:
                await self._run(call)
            except AnswerEnded as error:
                self._progress.ended(error)
                raise
            except Conflict as error:
                self._progress.refused(error)
            else:
                self._progress.appended()

    async def _finish(self, state: str, content: str | None, reason: str | None) -> None:
        while self._progress.state == "growing":
            try:
                await self._run(self._progress.finish(state, content, reason))
            except AnswerEnded as error:
                self._progress.ended(error)
                raise
            except Conflict as error:
                self._progress.refused(error)
                await self._send()

    async def _give_up(self, error: BaseException) -> None:
        with contextlib.suppress(ApiError):
            await self.fail(reason_of(error))


class _Collected:
    """Text that was read and not yet sent; reading waits while there is much of it."""

    def __init__(self) -> None:
        self._text = ""
        self._is_done = False
        self._changed = asyncio.Condition()

    async def read(self, texts: AsyncIterable[str]) -> None:
        """Read to the end."""
        try:
            async for text in texts:
                async with self._changed:
                    self._text += text
                    self._changed.notify_all()
                    await self._changed.wait_for(lambda: len(self._text) < TEXT_LIMIT)
        finally:
            async with self._changed:
                self._is_done = True
                self._changed.notify_all()

    async def take(self) -> str:
        """What was read, once there is any; empty at the end."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._text or self._is_done)
            text, self._text = self._text, ""
            self._changed.notify_all()
            return text
