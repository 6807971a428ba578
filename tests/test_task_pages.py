"""The pages for operators: the output of their commands is as printed there."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.example_shell import ExampleShell, make_example_shell, serve
from tests.support.rst_blocks import blocks
from tests.support.waiting import PATIENCE_S

PAGES = ["checking", "tracing", "stopping", "auditing", "servers"]

_ID = re.compile(r"\b(msg|conn|notify|req|epoch|jti)_[0-9a-z]+\b")
_UNIT = r"(?: ?(?:ms|min|s|h|d|B|KiB|MiB))?\b"
_NUMBER = re.compile(rf"(?<![\w.])\d[\d,.]*{_UNIT}(?: \d+ (?:min|s|h|d)\b)?")
_FOLD = re.compile(r"\n {16,}(?=\S)")
"""A table cell that continues in the next line, depending on its content."""
_VARYING = [
    (re.compile(r"last commit [\d.]+ ms, "), ""),  # once there was one
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?"), "<time>"),
    (re.compile(r"\b\d\d-\d\d \d\d:\d\d:\d\d"), "<time>"),
    (re.compile(r"\b\d\d:\d\d:\d\d"), "<time>"),
    (re.compile(r"http://127\.0\.0\.1:\d+"), "<server>"),
    (re.compile(r"\b[0-9a-f]{16}\b"), "<id>"),
    (_ID, r"<\1>"),
    (_NUMBER, "<n>"),
    (re.compile(r"\s+"), " "),
]


class Client:
    """A user who has joined s1: answers pings; acknowledges messages, if asked to."""

    def __init__(self, shell: ExampleShell, user: str, name: str, *, acknowledges: bool) -> None:
        token = shell.run(f"wsctl token create --user {user} --username {name} --sessions s1")
        url = f"{shell.url.replace('http', 'ws')}/ws/chat/session/s1"
        protocols: Any = ["wsserver.v1", f"bearer.{token.strip()}"]
        self._whole = ExitStack()
        self._socket: ClientConnection = self._whole.enter_context(
            connect(url, subprotocols=protocols)
        )
        self._acknowledges = acknowledges
        self._open: set[str] = set()
        self._changed = threading.Condition()
        self._settled = 0
        self._asked = 0
        self._has_joined = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        assert self._has_joined.wait(PATIENCE_S)

    def _listen(self) -> None:
        with suppress(ConnectionClosed):
            for text in self._socket:
                message = json.loads(text)
                kind, ref = message["type"], message.get("ref")
                if kind == "session_joined":
                    self._has_joined.set()
                elif kind == "ping":
                    self._send(type="pong", id=message["id"])
                elif self._acknowledges and "offset" in message and ref is None:
                    self._open.add(message["id"])
                    self._send(type="ack", ids=[message["id"]], ref=message["id"])
                elif ref is not None:
                    with self._changed:
                        self._open.discard(ref)
                        self._settled = max(self._settled, ref if isinstance(ref, int) else 0)
                        self._changed.notify_all()
        with self._changed:
            self._settled = 2**31
            self._open.clear()
            self._changed.notify_all()

    def _send(self, **message: Any) -> None:
        self._socket.send(json.dumps(message))

    def settle(self) -> None:
        """Wait until all that was sent to the user is acknowledged, or the connection is closed."""
        self._asked += 1
        with suppress(ConnectionClosed):
            self._send(type="ping", ref=self._asked)
        with self._changed:
            assert self._changed.wait_for(
                lambda: self._settled >= self._asked and not self._open, PATIENCE_S
            )

    def leave(self) -> None:
        """Be gone."""
        self._whole.close()
        self._thread.join()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[ExampleShell]:
    """A folder with a development server running in it."""
    yield from serve(make_example_shell(tmp_path), "./scripts/serve")


def outputs(
    shell: ExampleShell, text: str, known: dict[str, str]
) -> Iterator[tuple[str, str, str]]:
    """Each command of a console block with what is printed and what it really says.

    ``known``: ids on the page → real ones; those at the same position are added.
    """
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        real_command = _ID.sub(lambda match: known.get(match[0], match[0]), command)
        done = subprocess.run(
            ["sh", "-c", shell.here(real_command)],
            cwd=shell.folder,
            env=shell.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
        )
        ids = zip(_ID.finditer(shown), _ID.finditer(done.stdout), strict=False)
        known.update({page[0]: real[0] for page, real in ids})
        yield command, shown, done.stdout.replace(str(shell.folder), "…")


def without_what_varies(text: str) -> list[str]:
    """The lines with times, numbers, ids, widths and folds taken out."""
    lines = []
    for line in _FOLD.sub(" ", text.strip()).splitlines():
        for pattern, instead in _VARYING:
            line = pattern.sub(instead, line.strip())
        lines.append(line)
    return lines


def work_through(shell: ExampleShell, page: str) -> Iterator[tuple[str, str, str]]:
    """Every command of a page in turn, while alice and bob are there."""
    known: dict[str, str] = {}
    with ExitStack() as stack:
        clients = []
        for user, name in (("alice", "张三"), ("bob", "Bob")):
            client = Client(shell, user, name, acknowledges=user == "alice")
            stack.callback(client.leave)
            clients.append(client)
        for example in blocks(f"docs/{page}.rst"):
            if example.language != "console":
                continue
            for each in outputs(shell, example.text, known):
                yield each
                for client in clients:
                    client.settle()


@pytest.mark.parametrize(
    "page",
    [PAGES[0], *(pytest.param(page, marks=pytest.mark.long) for page in PAGES[1:])],
)
def test_its_commands_say_what_is_printed(shell: ExampleShell, page: str) -> None:
    ran = 0
    for command, shown, real in work_through(shell, page):
        assert without_what_varies(shown) == without_what_varies(real), f"{command}\n{real}"
        ran += 1
    assert ran >= 4


@pytest.mark.parametrize("page", PAGES)
def test_it_is_listed_in_the_index(page: str) -> None:
    assert f"{page}.rst" in Path("docs/index.rst").read_text("utf-8")
