"""Answers that grow, on running servers: producers over REST, and clients that watch."""

from __future__ import annotations

from typing import Any

from tests.support.running_server import RunningServer
from tests.support.tokens import token
from tests.support.websocket_clients import Client, open_client


class Watcher:
    """A client that puts the text of the answers in a session together."""

    def __init__(self, node: RunningServer, user: str, session_id: str) -> None:
        self.client: Client = open_client(node, bearer=token(user, sessions=[session_id]))
        self.texts: dict[str, str] = {}
        self.states: dict[str, str] = {}
        joined = self.client.call("join_session", session_id=session_id)
        for push in joined["messages"]:
            self._show(push)

    def until(self, message_id: str, text: str) -> None:
        """Read pushes until the answer has this text."""
        while self.texts.get(message_id) != text:
            self._show(self.client.next_push())

    def until_ended(self, message_id: str) -> dict[str, Any]:
        while (push := self.client.next_push())["type"] != "answer_ended":
            self._show(push)
        self._show(push)
        assert push["message_id"] == message_id
        return push

    def _show(self, push: dict[str, Any]) -> None:
        if push["type"] == "new_message":
            self.texts[push["message"]["id"]] = push["message"]["content"]
        elif push["type"] == "answer_appended":
            before = self.texts[push["message_id"]]
            assert push["at"] <= len(before), (push, before)
            self.texts[push["message_id"]] = before[: push["at"]] + push["text"]
        elif push["type"] == "answer_ended":
            self.texts[push["message_id"]] = push["message"]["content"]
            self.states[push["message_id"]] = push["state"]


def start(node: RunningServer, session_id: str, **fields: Any) -> str:
    begun = node.post(f"/sessions/{session_id}/answers", fields)
    return str(begun.ok["message_id"])


def append(node: RunningServer, id_: str, seq: int, text: str) -> Any:
    return node.post(f"/answers/{id_}/append", {"seq": seq, "text": text})
