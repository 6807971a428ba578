"""docs/conversations.rst: its commands are run, and answered as shown."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.support.example_shell import ExampleShell, make_example_shell, serve
from tests.support.rst_blocks import block, blocks
from tests.support.waiting import PATIENCE_S
from wsserver.protocol.commands import CHAT_COMMANDS

PAGE = "docs/conversations.rst"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
_ID = re.compile(r"(msg|epoch|req)_\w+")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[ExampleShell]:
    (command,) = block("README.rst", "serve").commands
    yield from serve(make_example_shell(tmp_path), command)


class Page:
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

    def _next(self) -> Any:
        return json.loads(self._socket.recv(timeout=PATIENCE_S))


def test_the_page_s_examples_are_answered_as_shown(shell: ExampleShell) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on PATH, which the examples use")
    variables = "\n".join(block(PAGE, "conversations-variables").commands)
    answer: Any = None
    with ExitStack() as opened:
        page = Page(shell, opened)
        for example in blocks(PAGE):
            if example.name == "conversations-variables":
                continue
            if example.language == "console":
                (command,) = example.commands
                answer = json.loads(shell.run(f"{variables}\n{command}"))
                continue
            shown = json.loads(example.text)
            if shown.get("type") in CHAT_COMMANDS and "ref" in shown:
                answer = page.ask(shown)
            elif "timestamp" in shown:
                page.await_like(shown)
            else:
                assert fits(shown, answer), (shown, answer)
        assert answer is not None


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
