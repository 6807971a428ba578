"""wsctl as a process: start-up, pipes, Ctrl-C, terminals."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.sync.server import ServerConnection

from tests.support.fake_server import ADMIN, FakeServer, connection
from tests.support.terminal import Terminal, on_terminal
from tests.support.waiting import PATIENCE_S

WSCTL = [sys.executable, "-m", "wsctl"]


def start(*args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*WSCTL, *args], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def imported(server: FakeServer, *args: str) -> set[str]:
    """The packages that are imported; ``wsserver`` for more of it than commands of extensions."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "wsctl",
         "--url", server.url, "--token", ADMIN, *args],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    own = re.compile(r"wsserver(\.version|\.extensions(\.\w+(\.wsctl)?)?)?")
    return {name.split(".")[0] for name in names if own.fullmatch(name) is None}


def test_start_up_imports_only_what_is_needed(server: FakeServer) -> None:
    heavy = {"tornado", "sqlite_utils", "sqlite3", "wsserver", "websockets", "jwt", "cryptography",
             "msgspec", "asyncio"}  # fmt: skip
    assert not imported(server, "--help") & heavy
    assert not imported(server, "stats") & heavy
    assert not imported(server, "stats", "-o", "json") & (heavy | {"rich"})


@pytest.mark.parametrize("args", [("connections",), ("connections", "-o", "json"), ("stats",)])
def test_a_reader_that_has_seen_enough_is_no_failure(
    server: FakeServer, args: tuple[str, ...]
) -> None:
    server.connections = [connection(number) for number in range(3000)]
    done = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$@" | head -1', "-", *WSCTL,
         "--url", server.url, "--token", ADMIN, *args],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)


def test_a_watch_ends_with_its_reader(server: FakeServer) -> None:
    process = start(
        "--url", server.url, "--token", ADMIN, "stats", "--watch", "--interval", "10ms"
    )  # fmt: skip
    assert process.stdout is not None
    assert "total_connections=12" in process.stdout.readline()
    process.stdout.close()
    assert process.wait(PATIENCE_S) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


def test_ctrl_c_is_130_without_a_traceback(server: FakeServer) -> None:
    process = start("--url", server.url, "--token", ADMIN, "stats", "--watch", "-o", "json")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, "Traceback" in errors) == (130, False)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("-c", "0"), "rtt min/avg/max/mdev = 1.500/1.500/1.500/0.000 ms"),
        (("-o", "json", "-c", "0"), '"loss_percent": 0.0'),
        (("-o", "json", "-c", "99"), '"loss_percent": 0.0'),
    ],
    ids=["people", "lines", "document"],
)
def test_ctrl_c_ends_ping_with_its_summary(
    server: FakeServer, flags: tuple[str, ...], words: str
) -> None:
    process = start("--url", server.url, "--token", ADMIN, "ping", "u1", "-i", "10ms", *flags)
    while len(server.asked) < 3:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    shown, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors.strip()) == (130, "")
    assert words in shown


def test_a_silent_server_is_3_in_time() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = subprocess.run(
            [*WSCTL, "--url", url, "--token", ADMIN, "stats"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert time.monotonic() - began < 6


def test_output_that_cannot_be_written_is_1(server: FakeServer) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*WSCTL, "--url", server.url, "--token", ADMIN, "stats"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_live_view_gives_the_cursor_back(
    server: FakeServer, number: int, expected: int
) -> None:
    code, shown = on_terminal(
        "--url", server.url, "--token", ADMIN, "stats", "--watch", "--interval", "10ms",
        until=b"34,567", signal_number=number,
    )  # fmt: skip
    assert code == expected
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")
    assert b"Traceback" not in shown


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_plain_where_no_colour_is_wanted(server: FakeServer, env: dict[str, str]) -> None:
    target = ("--url", server.url, "--token", ADMIN)
    assert b"\x1b" in on_terminal(*target, "online", env={"NO_COLOR": ""})[1]
    assert b"\x1b" not in on_terminal(*target, "online", env=env)[1]


def test_tables_and_help_fit_80_columns(server: FakeServer) -> None:
    from rich.cells import cell_len

    shown = on_terminal(
        "--url", server.url, "--token", ADMIN, "connections", env={"NO_COLOR": "1"}
    )[1]
    assert max(map(cell_len, shown.decode().splitlines())) <= 80
    assert "conn_0000" in "".join(shown.decode().split())


@pytest.mark.parametrize(
    ("typed", "args", "code", "asked"),
    [(b"n\n", (), 1, 0), (b"y\n", (), 0, 1), (b"", ("--yes",), 0, 1)],
)
def test_disconnect_asks_on_a_terminal(
    server: FakeServer, typed: bytes, args: tuple[str, ...], code: int, asked: int
) -> None:
    target = ("--url", server.url, "--token", ADMIN)
    result, shown = on_terminal(*target, "disconnect", "u1", *args, typed=typed)
    assert (result, len(server.asked)) == (code, asked), shown
    assert (b"Close all connections of u1?" in shown) == bool(typed)


def silent_monitor(socket: ServerConnection) -> None:
    """Confirm the subscription, send one event, then nothing."""
    socket.recv()
    socket.send(json.dumps({"type": "result", "ref": 1, "result": {}}))
    socket.send(json.dumps({"type": "event", "event": {"name": "user_connected"}}))
    socket.recv()


def test_a_silent_monitor_ends_with_its_reader(monitor_server: Callable[..., str]) -> None:
    process = start("--url", monitor_server(silent_monitor), "--token", ADMIN, "monitor", "-q")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["type"] == "event"
    process.stdout.close()
    assert process.wait(PATIENCE_S) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


def test_ctrl_c_ends_a_monitor_with_130(monitor_server: Callable[..., str]) -> None:
    code, shown = on_terminal(
        "--url", monitor_server(silent_monitor), "--token", ADMIN, "monitor",
        until=b"user_connected",
    )  # fmt: skip
    assert (code, b"Traceback" in shown) == (130, False)
    assert b"\x1b[32m" in shown


@pytest.mark.parametrize(
    ("args", "seen"),
    [(("ping", "u1"), "n=1"), (("stats", "--watch"), "uptime")],
    ids=["ping", "watch"],
)
def test_after_ctrl_c_the_prompt_is_on_a_new_line(
    server: FakeServer, args: tuple[str, ...], seen: str
) -> None:
    with Terminal("--url", server.url, "--token", ADMIN, *args) as terminal:
        terminal.until(seen)
        terminal.type("\x03")
        assert terminal.end() == 130
        assert terminal.screen.cursor.x == 0
        assert not any("^C-" in line for line in terminal.screen.display)


def test_a_ctrl_c_that_comes_in_a_destructor_is_not_lost() -> None:
    code = """
import signal, time
from wsctl.__main__ import install_signal_handlers

class Gone:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        time.sleep(0)

install_signal_handlers()
try:
    Gone()
    time.sleep(60)
except KeyboardInterrupt:
    print("heard")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.stderr) == ("heard\n", "")
