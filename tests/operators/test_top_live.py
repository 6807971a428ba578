"""The whole screen against a real server, in a real pseudo-terminal that is read back."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.support.server_process import ServerProcess, environment
from tests.support.terminal import WSCTL, Terminal, column_of

NAMES = {"u1": "王五", "u2": "👩‍💻 Ada", "u3": "❤️ Eve", "u4": "Bob"}


@pytest.fixture
def clients(server: ServerProcess) -> Iterator[dict[str, ClientConnection]]:
    """Four users in two sessions."""
    with ExitStack() as stack:
        found = {}
        for number, (user, name) in enumerate(NAMES.items()):
            session = f"s{number % 2}"
            token = server.token(user, "user", sessions=[session], username=name)
            address = server.websocket(f"/ws/chat/session/{session}", token)
            # These clients do not read, and with a full queue closing would have to wait.
            found[user] = stack.enter_context(connect(address, max_queue=None))
        yield found


@contextmanager
def on_top(server: ServerProcess, *args: str, columns: int = 80, lines: int = 24,
           **env: str) -> Iterator[Terminal]:  # fmt: skip
    with Terminal(
        "top", "--interval", "250ms", *args,
        columns=columns, lines=lines, env=env, cwd=server.folder,
    ) as terminal:  # fmt: skip
        yield terminal


def say(client: ClientConnection, session: str, count: int = 20) -> None:
    for number in range(count):
        message = {"type": "send_message", "session_id": session, "content": str(number)}
        client.send(json.dumps(message))


def is_charted(terminal: Terminal, name: str, *, rows: int) -> bool:
    """Is anything above nothing drawn in a chart? A burst need not reach its uppermost row."""
    display = terminal.screen.display
    first = next((number for number, line in enumerate(display) if name in line), None)
    if first is None:
        return False
    return any(mark in line for line in display[first : first + rows] for mark in "▂▃▄▅▆▇█")


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 50)])
def test_a_live_server_fills_the_screen(
    server: ServerProcess, clients: dict[str, ClientConnection], columns: int, lines: int
) -> None:
    with on_top(server, columns=columns, lines=lines) as terminal:
        say(clients["u1"], "s0")
        terminal.until("live", "connections 5 (5 active)", "users 5", "· n1 ·", "王五, ❤")
        say(clients["u1"], "s0")
        terminal.wait(lambda: is_charted(terminal, "messages in", rows=1 if lines == 24 else 6))
        terminal.until("deliver p50/p95/p99/max", "queued to clients", "loop lag", "u1", "q quit")
        assert terminal.screen.display[0].startswith(" wsctl top  http://127.0.0.1:")
        shown = [line for line in terminal.screen.display if any(u in line for u in NAMES)]
        # Wide characters take two cells of the screen; text after them stays in its column.
        rules = {line.index("│") + wide for line in shown if "│" in line
                 for wide in [sum(ord(c) > 0x2FFF for c in line[: line.index("│")])]}  # fmt: skip
        assert len(rules) == 1, terminal.text
        clients["u4"].close()
        terminal.until("user_disconnected", "connections 4 (4 active)")
        terminal.type("q")
        assert terminal.end() == 0
        assert terminal.is_as_it_was


def test_keys_change_what_is_shown(
    server: ServerProcess, clients: dict[str, ClientConnection]
) -> None:
    with on_top(server) as terminal:
        terminal.until("▶sessions", "王五", "Bob")
        terminal.type("?")
        terminal.until("Keys", "PgUp", without=("▶sessions",))
        terminal.type("x\t")
        terminal.until("▶users", without=("Keys",))
        terminal.type("/王")
        terminal.until("filter: 王", "u1", without=("Bob", "u4"))
        terminal.type("\r\x1b[D")
        terminal.until("▶sessions", "/ filter: 王")
        terminal.type("\x1b")
        terminal.until("Bob")
        terminal.type("ss")
        terminal.until("sort: name")
        terminal.type("z")
        terminal.until("▶sessions", without=("users", "events"))
        terminal.type("zp")
        terminal.until("PAUSED", "connections 5")
        clients["u4"].close()
        terminal.type("p")
        terminal.until("live", "connections 4 (4 active)", without=("PAUSED",))


def test_the_screen_follows_the_size_of_the_terminal(server: ServerProcess) -> None:
    with on_top(server) as terminal:
        terminal.until("live")
        terminal.resize(200, 50)
        terminal.wait(
            lambda: (
                "q quit" in terminal.screen.display[49]
                and "users" in terminal.line("▶sessions")
                and column_of(terminal.line("live"), "live") > 150
            )
        )
        terminal.resize(80, 24)
        terminal.wait(lambda: "q quit" in terminal.screen.display[23])
        terminal.resize(30, 8)
        terminal.until("too small: 40 x 12 needed")
        terminal.type("q")
        assert terminal.end() == 0


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "term"]
)
def test_signals_leave_the_terminal_as_it_was(
    server: ServerProcess, number: int, status: int
) -> None:
    with on_top(server) as terminal:
        terminal.until("live")
        assert not terminal.is_as_it_was
        if number == signal.SIGINT:
            terminal.type("\x03")
            number = 0
        assert terminal.end(number or None) == status
        assert terminal.is_as_it_was
        assert "Traceback" not in terminal.raw.decode()


def test_ctrl_z_gives_the_terminal_back_until_fg(server: ServerProcess) -> None:
    shell = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
    with Terminal(command=shell, cwd=server.folder) as terminal:
        terminal.type(f"{shlex.join(WSCTL)} top --interval 250ms\n")
        terminal.until("live", "q quit")
        terminal.type("\x1a")
        terminal.wait(lambda: b"Stopped" in terminal.raw)
        assert terminal.is_as_it_was
        frames = terminal.raw.count(b"wsctl top ")
        terminal.type("fg\n")
        terminal.wait(lambda: terminal.raw.count(b"wsctl top ") > frames + 1)
        terminal.until("live", "q quit")
        assert not terminal.is_as_it_was
        terminal.type("q")
        terminal.wait(lambda: terminal.is_as_it_was)
        terminal.type("exit\n")
        assert terminal.end() == 0


def test_an_exception_leaves_the_terminal_as_it_was(server: ServerProcess) -> None:
    code = (
        "import sys; import wsctl.top.run as run; from wsctl.__main__ import main;"
        "old = run.frame; calls = []\n"
        "def frame(*args):\n"
        "    calls.append(1)\n"
        "    if len(calls) > 3: raise ZeroDivisionError('in the middle')\n"
        "    return old(*args)\n"
        "run.frame = frame; sys.argv = ['wsctl', 'top', '--interval', '250ms']; main()"
    )
    with Terminal(command=[WSCTL[0], "-c", code], cwd=server.folder) as terminal:
        assert terminal.end() == 1
        assert terminal.is_as_it_was
        assert "in the middle" in terminal.text


@pytest.mark.long
def test_it_outlives_a_restart_and_says_so(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, "--dev", is_preloaded=True) as server:
        port = server.url.rpartition(":")[2]
        with on_top(server) as terminal:
            terminal.until("live")
            assert server.stop() == 0
            terminal.until("NOT CONNECTED", "no connection for", "next attempt in")
            with ServerProcess(tmp_path, "--dev", "--port", port, is_preloaded=True) as again:
                terminal.until("live", "reconnected", "server_restarted")
                terminal.type("q")
                assert terminal.end() == 0
                assert again.stop() == 0


def test_no_colour_where_none_is_wanted(server: ServerProcess) -> None:
    colour = re.compile(rb"[\[;](3[0-7]|4[0-7]|9[0-7])[;m]")
    environments: list[tuple[dict[str, Any], bool]] = [({}, True), ({"NO_COLOR": "1"}, False)]
    for env, wanted in environments:
        with on_top(server, **env) as terminal:
            terminal.until("live", "· ok", "connections")
            assert bool(colour.search(terminal.raw)) == wanted


def test_without_a_screen_it_names_what_works_there(server: ServerProcess) -> None:
    with on_top(server, TERM="dumb") as terminal:
        assert terminal.end() == 2
        assert "use: wsctl stats --watch" in " ".join(terminal.text.split())
        assert b"\x1b" not in terminal.raw
    for args in (["top"], ["top", "-o", "json"]):
        done = subprocess.run(
            [*WSCTL, *args], cwd=server.folder, env=environment(), capture_output=True, text=True,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (lambda s: ["--url", "http://127.0.0.1:9", "--token", s.token()], 3, "Connection refused"),
        (lambda s: ["--url", s.url, "--token", s.token("u1", "user")], 4, "the permission monitor"),
    ],
    ids=["nobody", "forbidden"],
)
def test_a_monitor_error_is_shown_on_the_normal_screen(
    server: ServerProcess, args: Callable[[ServerProcess], list[str]], status: int, words: str
) -> None:
    with Terminal(*args(server), "top", cwd=server.folder) as terminal:
        assert terminal.end() == status
        assert words in terminal.text
        assert b"\x1b[?1049h" not in terminal.raw
