"""Clients that ask AI responders, each in a session of its own, and watch the answers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from picows import WSFrame, WSMsgType, WSTransport

from scripts.benchmark.producers import ANSWER_TIMEOUT_S, Connect, Watcher
from scripts.benchmark.tokens import make_token

_MESSAGE, _GROWING = b'{"type":"new_message"', b'"state":"growing"'
_ENDED = b'{"type":"answer_ended"'
_COMPLETED = b'"state":"completed"'


class Asker(Watcher):
    """A user of a session who asks, and takes the time of each word of the answer."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._transport: WSTransport | None = None
        self.ended = asyncio.Event()
        self.is_completed = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Join the session."""
        self._transport = transport
        super().on_ws_connected(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Note words, and the end of the answer."""
        super().on_ws_frame(transport, frame)
        if frame.msg_type != WSMsgType.TEXT:
            return
        payload = frame.get_payload_as_bytes()
        if payload.startswith(_MESSAGE) and _GROWING in payload:
            self._note(payload)  # an answer begins with its first word
        elif payload.startswith(_ENDED):
            self.is_completed = _COMPLETED in payload
            self.ended.set()

    def say(self, content: str) -> None:
        """Send a message."""
        self.micros = []
        self.ended.clear()
        self.is_completed = False
        command = {"type": "send_message", "session_id": self._session_id, "content": content}
        if self._transport is not None:
            self._transport.send(WSMsgType.TEXT, json.dumps(command).encode())


class Asking:
    """The askers of a client process."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._askers: list[Asker] = []

    async def open(self, url: str, sessions: list[str]) -> None:
        """Connect a user for each session, and join it."""
        for session_id in sessions:
            asker = Asker(session_id)
            headers = {"Authorization": f"Bearer {make_token(f'user-{session_id}')}"}
            await self._connect(asker, url, headers)
            await asyncio.wait_for(asker.joined, ANSWER_TIMEOUT_S)
            self._askers.append(asker)

    async def ask(self, content: str, timeout_s: float) -> dict[str, Any]:
        """Ask everywhere; return how many answers were completed, and times of words in µs."""
        for asker in self._askers:
            asker.say(content)
        try:
            async with asyncio.timeout(timeout_s):
                for asker in self._askers:
                    await asker.ended.wait()
        except TimeoutError:
            pass  # what has not come is missing in the figures
        return {
            "completed": sum(asker.is_completed for asker in self._askers),
            "micros": [micros for asker in self._askers for micros in asker.micros],
        }
