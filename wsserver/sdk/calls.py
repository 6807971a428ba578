"""The calls of both clients, as values: what is sent, and what its answer means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from wsserver.sdk import results
from wsserver.sdk.errors import Refused
from wsserver.sdk.exchange import Call
from wsserver.sdk.results import Message, Notified, Published, Target, Ticket

MAX_BATCH = 1000
"""Messages of one request."""


def publish(
    target: Target, type_: str, fields: Mapping[str, Any], key: str | None
) -> Call[Published]:
    """``POST /messages``."""
    body = Message(target, type_, fields).as_json()
    return Call("POST", "/messages", results.published, body, key=key)


def batches(
    messages: Iterable[Message], key: str | None
) -> Iterable[Call[list[Published | Refused]]]:
    """``POST /messages/batch``, as often as it takes; each with a key of its own."""
    everything = [message.as_json() for message in messages]
    for start in range(0, len(everything), MAX_BATCH):
        body = {"messages": everything[start : start + MAX_BATCH]}
        own = None if key is None else f"{key}-{start}"
        yield Call("POST", "/messages/batch", results.batch_results, body, key=own)


def notify(fields: Mapping[str, Any], key: str | None) -> Call[Notified]:
    """``POST /notify``."""
    return Call("POST", "/notify", results.notified, _present(fields), key=key)


def ticket() -> Call[Ticket]:
    """``POST /tickets``; a ticket is never stored, so a repeated request has another one."""
    return Call("POST", "/tickets", results.ticket, {}, key="")


def any_call(
    method: str,
    path: str,
    body: Mapping[str, Any] | None,
    query: Mapping[str, Any],
    key: str | None,
) -> Call[Any]:
    """Any route of the API."""
    if not path.startswith("/"):
        raise ValueError(f"path {path!r}: it begins with a slash, below /api/v1/websocket")
    return Call(method.upper(), path, _as_it_is, body, query, key)


def segment(text: str) -> str:
    """An id as part of a path."""
    if text in (".", ".."):  # proxies drop these segments: another route would be asked
        raise ValueError(f"{text!r} is no id: no URL can hold it")
    return quote(text, safe="")


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _as_it_is(answer: Any) -> Any:
    return answer
