"""FastGPT: the request, and the decoder of its streamed answer, with and without ``detail``."""

from __future__ import annotations

import re
from typing import Any

from msgspec import DecodeError
from msgspec.json import decode, encode

from wsserver.extensions.responders.openai import DONE
from wsserver.extensions.responders.pieces import (
    Failure,
    Piece,
    Text,
    Usage,
    member,
    text_at,
)
from wsserver.extensions.responders.sse import SseEvent

PATH = "/api/v1/chat/completions"
CHAT_ID_LIMIT = 250
"""FastGPT takes shorter ones only."""
_TEMPORARY = {409, 429}
"""Codes of errors that pass: a chat that still generates, a team's limit."""
_NUMBER = re.compile("[0-9]{1,4}")
"""Of an option."""
_TEXTS = {"message", "answer", "fastAnswer"}
_NODES = {"flowResponses", "flowNodeResponse"}


def request_body(
    chat_id: str, answer_id: str, text: str, user_id: str, variables: dict[str, Any]
) -> dict[str, Any]:
    """The body of a request: one message, as FastGPT has the history of the chat.

    ``answer_id``: a repeated request cannot be answered twice in the chat.
    """
    return {
        "chatId": chat_id,
        "responseChatItemId": answer_id,
        "customUid": user_id,
        "variables": variables,
        "stream": True,
        "detail": True,
        "messages": [{"role": "user", "content": text}],
    }


class FastGptDecoder:
    """Implements ``Decoder``: ``[DONE]`` or an interactive node ends the text, not the stream."""

    def __init__(self) -> None:
        self.is_complete = False
        self.question: bytes | None = None
        self._points = 0.0

    def decode(self, event: SseEvent) -> list[Piece]:
        """The pieces of an event; unknown ones are a sign of life."""
        if event.data.strip() == DONE:
            self.is_complete = True
            return []
        try:
            data = decode(event.data)
        except (DecodeError, RecursionError):
            return []
        if event.name == "error" or is_error(data):
            return [failure_of(data)]
        if event.name in _TEXTS:
            if member(data, "choices", 0, "finish_reason") == "stop":
                self.is_complete = True
            return [Text(text_at(data, "choices", 0, "delta", "content"))]
        if event.name == "interactive":
            self.is_complete = True
            self.question = encode(member(data, "interactive"))
            return [Text(question_of(member(data, "interactive")))]
        if event.name in _NODES:
            return self._usage(data if isinstance(data, list) else [data])
        return [Text("")]

    def decode_whole(self, body: Any) -> list[Piece]:
        """The pieces of an answer that was not streamed."""
        if is_error(body):
            return [failure_of(body)]
        content = member(body, "choices", 0, "message", "content")
        if isinstance(content, list):
            text = "".join(text_at(part, "text", "content") for part in content)
        else:
            text = content if isinstance(content, str) else ""
        self.is_complete = content is not None
        nodes = member(body, "responseData")
        return [Text(text), *self._usage(nodes if isinstance(nodes, list) else [])]

    def _usage(self, nodes: list[Any]) -> list[Piece]:
        points = [member(node, "totalPoints") for node in nodes]
        self._points += sum(each for each in points if _is_amount(each))
        return [Usage({"points": self._points})] if self._points else []


def is_error(data: Any) -> bool:
    """Whether a body is FastGPT's envelope of an error, whatever the status of the answer."""
    code = member(data, "code")
    return isinstance(code, int) and code != 200 and "statusText" in data


def failure_of(data: Any) -> Failure:
    """An error: ``{"code", "statusText", "message"}``, or only a message."""
    code = member(data, "code")
    reason = text_at(data, "message") or text_at(data, "statusText")
    is_temporary = isinstance(code, int) and code in _TEMPORARY
    return Failure(reason or "the provider reports an error", is_temporary)


def question_of(interactive: Any) -> str:
    """An interactive node as text: its description, and the options or fields that it asks for."""
    parameters = member(interactive, "params")
    lines = [text_at(parameters, "description")]
    options = member(parameters, "userSelectOptions")
    for number, option in enumerate(options if isinstance(options, list) else [], start=1):
        lines.append(f"{number}. {text_at(option, 'value')}")
    form = member(parameters, "inputForm")
    for field in form if isinstance(form, list) else []:
        lines.append(f"- {text_at(field, 'label') or text_at(field, 'key')}")
    return "\n".join(line for line in lines if line)


def choice_in(text: str, interactive: Any) -> str:
    """What to send for a user's reply to an interactive node.

    The number of an option means its value; a form with one field gets the text as that field.
    """
    parameters = member(interactive, "params")
    options = member(parameters, "userSelectOptions")
    if isinstance(options, list) and _NUMBER.fullmatch(text.strip()):
        number = int(text)
        return (text_at(options, number - 1, "value") if number else "") or text
    form = member(parameters, "inputForm")
    if isinstance(form, list) and len(form) == 1 and (key := text_at(form, 0, "key")):
        return encode({key: text}).decode()
    return text


def _is_amount(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
