"""``AnswerWriter``: an answer that grows, written by a program that waits for each step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

from wsserver.sdk.answers import AnswerProgress, AnswerState, reason_of
from wsserver.sdk.errors import AnswerEnded, ApiError, Conflict
from wsserver.sdk.exchange import Call

Run = Callable[[Call[Any]], Any]


class AnswerWriter(AnswerState):
    """An answer, from ``with client.answer(…) as answer`` to the end of the block.

    At the end of the block it is ``completed``; ``failed`` if the block raised. If somebody has
    stopped it, ``write`` stops reading, the block is left, and ``state`` says so.
    """

    def __init__(self, run: Run, progress: AnswerProgress, texts: Iterable[str]) -> None:
        self._run = run
        self._progress = progress
        self._texts = texts

    def write(self, texts: str | Iterable[str]) -> None:
        """Append a text, or each of several as it comes, such as the stream of a model.

        Raises ``AnswerEnded``, which the block may let pass; the iterator is closed then.
        """
        if isinstance(texts, str):
            self._append(texts)
            return
        try:
            for text in texts:
                self._append(text)
        finally:
            close = getattr(texts, "close", None)  # of a generator: the model need not go on
            if close is not None:
                close()

    def note_usage(self, **usage: Any) -> None:
        """What the answer has cost, such as ``total_tokens``; sent at its end."""
        self._progress.usage.update(usage)

    def finish(self, *, content: str | None = None) -> None:
        """End it before the block ends; ``content`` replaces the whole text."""
        self._finish("completed", content, None)

    def fail(self, reason: str) -> None:
        """End it as ``failed``."""
        self._finish("failed", None, reason)

    def __enter__(self) -> Self:
        self._progress.started(self._run(self._progress.start()))
        try:
            self.write(self._texts)
        except AnswerEnded:
            pass  # known from ``state``
        except BaseException as error:
            self._give_up(error)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None:
            with contextlib.suppress(AnswerEnded):
                self.finish()
            return False
        if isinstance(error, AnswerEnded):
            return True
        self._give_up(error)
        return False

    def _append(self, text: str) -> None:
        if not text:
            return
        self._progress.add(text)
        self._send()

    def _send(self) -> None:
        for call in self._progress.appends():
            try:
                self._run(call)
            except AnswerEnded as error:
                self._progress.ended(error)
                raise
            except Conflict as error:
                self._progress.refused(error)
            else:
                self._progress.appended()

    def _finish(self, state: str, content: str | None, reason: str | None) -> None:
        while self._progress.state == "growing":
            try:
                self._run(self._progress.finish(state, content, reason))
            except AnswerEnded as error:
                self._progress.ended(error)
                raise
            except Conflict as error:
                self._progress.refused(error)
                self._send()

    def _give_up(self, error: BaseException) -> None:
        with contextlib.suppress(ApiError):
            self.fail(reason_of(error))
