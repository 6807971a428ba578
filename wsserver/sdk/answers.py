"""Answers that grow: what both writers share, without I/O.

The text of an answer is kept until its end: a server that was restarted, or lost, may have stored
less than it has confirmed, and then answers from which number on the texts are to be sent again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wsserver.sdk.calls import segment
from wsserver.sdk.errors import AnswerEnded, Conflict
from wsserver.sdk.exchange import Call

TEXT_LIMIT = 16_384
"""Characters of one append at most; a longer text is sent in several."""
SETBACKS = 20
"""How often in a row the server may ask for earlier texts."""


class AnswerProgress:
    """The texts of one answer, which of them is to be sent next, and its state."""

    def __init__(self, session_id: str, fields: Mapping[str, Any]) -> None:
        self.session_id = session_id
        self.fields = {name: value for name, value in fields.items() if value is not None}
        self.message_id = ""
        self.state = "new"
        """``new``, ``growing``, then as the server ends it: ``completed``, ``failed`` …"""
        self.reason: str | None = None
        self.length: int | None = None
        """Code points of the whole text, once it has ended."""
        self.usage: dict[str, Any] = {}
        self._texts: list[str] = []
        self._next = 1
        self._setbacks = 0

    def start(self) -> Call[str]:
        """The call that begins it."""
        path = f"/sessions/{segment(self.session_id)}/answers"
        return Call("POST", path, lambda answer: str(answer["message_id"]), self.fields)

    def started(self, message_id: str) -> None:
        """It has begun."""
        self.message_id = message_id
        self.state = "growing"

    def add(self, text: str) -> None:
        """Append a text; it is sent by the next ``appends``."""
        self._texts += [text[at : at + TEXT_LIMIT] for at in range(0, len(text), TEXT_LIMIT)]

    def appends(self) -> Iterator[Call[None]]:
        """The calls for what was not sent; ``refused`` may take it back in between."""
        while self._next <= len(self._texts):
            body = {"seq": self._next, "text": self._texts[self._next - 1]}
            self._next += 1
            yield Call("POST", f"/answers/{self.message_id}/append", _nothing, body, key="")

    def appended(self) -> None:
        """An append was confirmed."""
        self._setbacks = 0

    def refused(self, error: Conflict) -> None:
        """A call was refused: go on from where the server is, or raise the error."""
        expected = error.problem.get("expected")
        if error.code != "out_of_order" or not isinstance(expected, int):
            raise error
        self._setbacks += 1
        if self._setbacks > SETBACKS or not 1 <= expected <= len(self._texts) + 1:
            raise error
        self._next = expected

    def finish(self, state: str, content: str | None, reason: str | None) -> Call[None]:
        """The call that ends it; the same again has the same answer.

        One that completes it says how many texts there are: a server that has lost some of them
        refuses it, and says which are to be sent again.
        """
        is_whole = state == "completed" and content is None
        body = {
            "state": state,
            "content": content,
            "reason": reason,
            "usage": self.usage or None,
            "seq": len(self._texts) if is_whole else None,
        }
        given = {name: value for name, value in body.items() if value is not None}
        return Call("POST", f"/answers/{self.message_id}/finish", self._finished, given, key="")

    def ended(self, error: AnswerEnded) -> None:
        """The server has ended it, as when somebody stopped it."""
        self.state, self.reason = error.state, error.reason

    def _finished(self, answer: Mapping[str, Any]) -> None:
        self.state, self.length = answer["state"], answer["length"]


class AnswerState:
    """What both writers say about their answer."""

    _progress: AnswerProgress

    @property
    def message_id(self) -> str:
        """Id of the message."""
        return self._progress.message_id

    @property
    def state(self) -> str:
        """``growing``, then ``completed``, ``failed``, ``cancelled`` or ``interrupted``."""
        return self._progress.state

    @property
    def reason(self) -> str | None:
        """Why it was ended by others."""
        return self._progress.reason

    @property
    def length(self) -> int | None:
        """Code points of the whole text, once it was finished here."""
        return self._progress.length


def reason_of(error: BaseException) -> str:
    """Why an answer has failed, as everybody may read it: the kind of the error, not its text."""
    return type(error).__name__


def _nothing(_: Any) -> None:
    return None
