"""Answers that documentation shows, compared with real ones; a page that gets the pushes."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.support.example_shell import ExampleShell
from tests.support.waiting import PATIENCE_S

_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
_ID = re.compile(r"(msg|epoch|req)_\w+")


class SessionPage:
    """The user ``sales``, who is in s1: sends the commands, and gets the pushes."""

    def __init__(self, shell: ExampleShell, opened: ExitStack) -> None:
        token = shell.run(
            "wsctl token create --user sales --role manager --organization o1 --sessions s1"
        ).strip()
        url = shell.url.replace("http", "ws") + "/ws/chat"
        protocols: Any = ["wsserver.v1", f"bearer.{token}"]
        self._socket: ClientConnection = opened.enter_context(connect(url, subprotocols=protocols))
        self._pushes: list[Any] = []
        self.ask({"type": "join_session", "ref": 0, "session_id": "s1"})

    def ask(self, command: dict[str, Any]) -> Any:
        self._socket.send(json.dumps(command))
        while "ref" not in (message := self._next()):
            self._pushes.append(message)
        return message

    def await_like(self, shown: Any) -> None:
        """Wait for a push as it is shown; pushes before it are dropped."""
        while True:
            while self._pushes:
                if fits(shown, self._pushes.pop(0)):
                    return
            self._pushes.append(self._next())

    def push(self, type_: str) -> Any:
        """The first push of a type that was not asked for yet."""
        while True:
            for push in self._pushes:
                if push["type"] == type_:
                    self._pushes.remove(push)
                    return push
            self._pushes.append(self._next())

    def _next(self) -> Any:
        return json.loads(self._socket.recv(timeout=PATIENCE_S))


def fits(shown: Any, real: Any) -> bool:
    """Has the real one all that is shown? Times and ids differ each time."""
    if isinstance(shown, dict):
        return isinstance(real, dict) and all(
            name in real and fits(member, real[name]) for name, member in shown.items()
        )
    if isinstance(shown, list):
        return isinstance(real, list) and len(shown) == len(real) and all(map(fits, shown, real))
    for pattern in (_TIME, _ID):
        if isinstance(shown, str) and pattern.fullmatch(shown):
            return isinstance(real, str) and pattern.fullmatch(real) is not None
    return bool(shown == real)
