"""Requests that publish a message."""

from __future__ import annotations

from typing import Any

from wsserver.protocol.requests import BroadcastRequest, PublishRequest, read_request


def publish(target: str, id_: str | None = None, type_: str = "x", **body: Any) -> PublishRequest:
    to = {"type": target} if id_ is None else {"type": target, "id": id_}
    return read_request({"type": type_, "target": to, **body}, PublishRequest)


def broadcast(**body: Any) -> BroadcastRequest:
    return read_request({"type": "x", **body}, BroadcastRequest)
