"""``Provider``: sends a prompt to an AI service and passes on what its answer consists of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple, Protocol

from msgspec import DecodeError
from msgspec.json import decode, encode

from wsserver.clock import Clock
from wsserver.config.masking import SHORTEST_WORD
from wsserver.config.tables import is_secret, leaves
from wsserver.errors import UrlForbidden
from wsserver.extending.context import HttpExchange, HttpStreaming
from wsserver.extensions.responders import fastgpt, openai
from wsserver.extensions.responders.fastgpt import FastGptDecoder
from wsserver.extensions.responders.openai import OpenAiDecoder
from wsserver.extensions.responders.options import ResponderOptions
from wsserver.extensions.responders.pieces import Decoder, Failure, Piece
from wsserver.extensions.responders.sse import SseParser, StreamTooLong
from wsserver.notifications.http import (
    PASSING,
    HttpRequest,
    NoAnswer,
    excerpt,
    retry_after_s,
)
from wsserver.redaction import Redactor

BODY_LIMIT_BYTES = 1024 * 1024
"""Of an answer that is not streamed."""
ERROR_LIMIT_BYTES = 64 * 1024
LONGEST_ANSWER_S = 1800.0
"""A provider that has not ended its answer by then never will, whatever signs of life it gives."""

OnPiece = Callable[[Piece], Awaitable[None]]


class Turn(NamedTuple):
    """A message of the conversation as the service gets it."""

    is_answer: bool
    """Whether the AI has written it."""
    text: str


class Prompt(NamedTuple):
    """What an answer is asked for."""

    session_id: str
    answer_id: str
    """Differs from answer to answer, and is the same when a request is repeated."""
    user_id: str
    """Who wrote the latest message."""
    turns: tuple[Turn, ...]
    """Ascending; the latest is to be answered."""
    news: str
    """What was written since the AI was asked last."""
    question: bytes | None = None
    """The interactive node that ``news`` replies to, as JSON."""


class Outcome(NamedTuple):
    """How an answer has ended."""

    failure: Failure | None = None
    retry_after_s: float | None = None
    question: bytes | None = None
    """An interactive node that asks for a reply, as JSON."""


class Kind(Protocol):
    """A kind of service: its path, its requests, and a decoder for each answer."""

    path: str

    def body(self, prompt: Prompt, options: ResponderOptions) -> dict[str, Any]:
        """The body of a request."""
        ...

    def decoder(self) -> Decoder:
        """A decoder for one answer."""
        ...


class OpenAiKind:
    """OpenAI-compatible services."""

    path = openai.PATH

    def body(self, prompt: Prompt, options: ResponderOptions) -> dict[str, Any]:
        """All messages, with the instructions at their head."""
        head = [] if options.system is None else [{"role": "system", "content": options.system}]
        turns = [
            {"role": "assistant" if turn.is_answer else "user", "content": turn.text}
            for turn in prompt.turns
        ]
        return openai.request_body([*head, *turns], options.model, options.variables)

    def decoder(self) -> Decoder:
        """A decoder for one answer."""
        return OpenAiDecoder()


class FastGptKind:
    """FastGPT."""

    path = fastgpt.PATH

    def body(self, prompt: Prompt, options: ResponderOptions) -> dict[str, Any]:
        """One message; the history is that of the chat, which has the id of the session."""
        question = None if prompt.question is None else decode(prompt.question)
        variables = dict(options.variables)
        if options.system is not None:
            variables.setdefault("system", options.system)
        return fastgpt.request_body(
            prompt.session_id[: fastgpt.CHAT_ID_LIMIT - 1],
            prompt.answer_id,
            fastgpt.choice_in(prompt.news, question),
            prompt.user_id,
            variables,
        )

    def decoder(self) -> Decoder:
        """A decoder for one answer."""
        return FastGptDecoder()


KINDS: dict[str, Kind] = {"openai": OpenAiKind(), "fastgpt": FastGptKind()}


class Provider:
    """One AI service. Key and variables are only in its requests, never in a text."""

    def __init__(
        self, options: ResponderOptions, key: str, http: HttpExchange, clock: Clock
    ) -> None:
        self._options = options
        self._kind = KINDS[options.kind]
        self._url = options.url.rstrip("/") + self._kind.path
        self._key = key
        self._redact = Redactor([key, *_secrets_in(options.variables)])
        self._http = http
        self._clock = clock

    async def answer(self, prompt: Prompt, on_piece: OnPiece) -> Outcome:
        """Ask for an answer, calling ``on_piece`` with each piece of it but a failure.

        Cancelled, or left by an exception of ``on_piece``, it closes the connection at once.
        """
        body = encode(self._kind.body(prompt, self._options))
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Content-Type": "application/json",
            "Accept": "text/event-stream, application/json",
        }
        request = HttpRequest("POST", self._url, headers, body)
        try:
            async with asyncio.timeout(LONGEST_ANSWER_S), self._http.stream(request) as stream:
                if stream.status != 200:
                    return await self._refused(stream)
                kind = stream.headers.get("content-type", "").partition(";")[0].strip().lower()
                decoder = self._kind.decoder()
                if kind == "text/event-stream":
                    failure = await self._streamed(stream, decoder, on_piece)
                else:
                    failure = await self._whole(stream, decoder, on_piece)
                if failure is None and not decoder.is_complete:
                    failure = Failure("the answer broke off", is_temporary=True)
                return Outcome(failure, question=decoder.question)
        except TimeoutError:
            return Outcome(Failure(f"no end within {LONGEST_ANSWER_S:g} s", is_temporary=False))
        except NoAnswer as error:
            return Outcome(Failure(str(error), is_temporary=True))
        except UrlForbidden as error:
            return Outcome(Failure(error.message, is_temporary=False))

    async def _streamed(
        self, stream: HttpStreaming, decoder: Decoder, on_piece: OnPiece
    ) -> Failure | None:
        parser = SseParser()
        while chunk := await stream.read():
            try:
                events = parser.feed(chunk)
            except StreamTooLong:
                return Failure("an event of the answer is too long", is_temporary=False)
            for event in events:
                for piece in decoder.decode(event):
                    if isinstance(piece, Failure):
                        return self._shown(piece)
                    await on_piece(piece)
        return None

    async def _whole(
        self, stream: HttpStreaming, decoder: Decoder, on_piece: OnPiece
    ) -> Failure | None:
        body = await _read(stream, BODY_LIMIT_BYTES)
        try:
            content = decode(body)
        except (DecodeError, UnicodeDecodeError, RecursionError):
            return Failure("the answer is neither an event stream nor JSON", is_temporary=False)
        for piece in decoder.decode_whole(content):
            if isinstance(piece, Failure):
                return self._shown(piece)
            await on_piece(piece)
        return None

    async def _refused(self, stream: HttpStreaming) -> Outcome:
        """An answer with another status than 200: its own word for the error, if it has one."""
        is_temporary = stream.status >= 500 or stream.status in PASSING
        try:
            body = await _read(stream, ERROR_LIMIT_BYTES)
        except NoAnswer:
            body = b""
        try:
            pieces = self._kind.decoder().decode_whole(decode(body))
        except (DecodeError, UnicodeDecodeError, RecursionError):
            pieces = []
        reason = next((each.reason for each in pieces if isinstance(each, Failure)), "")
        if self._options.kind == "fastgpt" and reason:  # the status is 500, whatever is wrong
            is_temporary = any(isinstance(each, Failure) and each.is_temporary for each in pieces)
        text = f"{stream.status}: {reason}" if reason else f"status {stream.status}"
        wait = retry_after_s(stream.headers.get("retry-after"), self._clock.wall())
        return Outcome(self._shown(Failure(text, is_temporary)), wait)

    def _shown(self, failure: Failure) -> Failure:
        """The failure with a reason on one line, without what may be secret in the request."""
        return failure._replace(reason=excerpt(failure.reason, self._redact))


def _secrets_in(variables: dict[str, Any]) -> Iterator[str]:
    """The texts in variables that may be secret: of secret names, or not short."""
    for path, value in leaves(variables, ""):
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, dict):
                if text:  # without members it is a leaf of itself
                    yield from _secrets_in(text)
            elif isinstance(text, str) and (is_secret(path) or len(text) >= SHORTEST_WORD):
                yield text


async def _read(stream: HttpStreaming, limit_bytes: int) -> bytes:
    """The body as far as the limit; the rest is not read."""
    body = bytearray()
    while len(body) < limit_bytes and (chunk := await stream.read()):
        body += chunk
    return bytes(body[:limit_bytes])
