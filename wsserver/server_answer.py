"""``ServerAnswer``: an answer that a Python program streams into a session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from wsserver.protocol.answers import (
    AnswerAppendRequest,
    AnswerCancelRequest,
    AnswerFinishRequest,
    finish_faults,
)
from wsserver.protocol.requests import read_request
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.operations.answers import Answers


class ServerAnswer:
    """A message whose text grows: append to it, then finish or cancel it.

    Its methods raise ``WsServerError``: with the code ``answer_ended`` once somebody else has
    ended it, ``answer_too_long``, ``node_unreachable``, ``not_found`` once its message is gone;
    ``StorageUnavailable`` and ``StorageFull``. Calls are made one after the other.
    """

    def __init__(self, answers: Answers, actor: Actor, started: Mapping[str, Any]) -> None:
        self._answers = answers
        self._actor = actor
        self.message_id: str = started["message_id"]
        self.stream: str = started["stream"]
        self.epoch: str = started["epoch"]
        self.offset: int = started["offset"]
        self.term: int = started["term"]
        """Of the session. A new holder ends the answer."""
        self.seq: int = started["seq"]
        """Number of appends so far."""

    async def append(self, text: str) -> int:
        """Append text; returns the length so far, in code points.

        An append that failed with ``node_unreachable`` may be repeated with the same text.
        """
        body = {"seq": self.seq + 1, "text": text}
        outcome = self._answers.append(
            self._actor, self.message_id, read_request(body, AnswerAppendRequest)
        )
        appended = outcome if isinstance(outcome, dict) else await outcome
        self.seq = appended["seq"]
        return int(appended["length"])

    async def finish(self, **fields: Any) -> dict[str, Any]:
        """Finish it; the text is stored then. Returns ``state``, ``length`` and ``offset``.

        Raises ``out_of_order`` if the server has not all that was appended, as after it has taken
        the answer over from a lost one; ``content`` ends it in any case.

        ``state``: ``completed`` (as a rule) or ``failed``; ``content`` replaces the text;
        ``reason``; ``usage``: any object, at most 4 KiB as JSON.
        """
        body = {"seq": self.seq, **fields}
        request = read_request(body, AnswerFinishRequest, finish_faults)
        return await self._answers.finish(self._actor, self.message_id, request)

    async def cancel(self, reason: str | None = None) -> dict[str, Any]:
        """End it as ``cancelled``; the text so far stays."""
        body = {} if reason is None else {"reason": reason}
        request = read_request(body, AnswerCancelRequest)
        return await self._answers.cancel(self._actor, self.message_id, request)

    async def view(self) -> dict[str, Any]:
        """Its text, state, pauses and watchers, as ``GET /answers/{id}``."""
        view = await self._answers.get(self._actor, self.message_id)
        decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(view))
        return decoded
