"""``wsserver serve`` as a process: refused settings, start, stop."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.support.server_process import (
    LOOPS,
    LOOPS_ONE_LONG,
    ServerProcess,
    executed,
    files,
    refused,
)
from tests.support.tokens import SECRET
from tests.support.waiting import PATIENCE_S, poll
from tests.support.websocket_clients import silent_client
from wsserver.config import ConfigFaults
from wsserver.event_loop import fastest_loop
from wsserver.plugins import load_plugins

CONFIG = 78
FAULT = "wsserver: config: "


@pytest.fixture
def occupied() -> Iterator[int]:
    """A port that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def health(url: str) -> tuple[int, str]:
    try:
        with urlopen(f"{url}/api/v1/websocket/health") as answer:  # loopback
            return answer.status, json.load(answer)["status"]
    except HTTPError as error:
        with error:
            return error.code, json.load(error)["status"]


def snapshots(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM snapshots").fetchone()
        return int(count)


# Refused


def test_a_port_in_use_is_78(tmp_path: Path, occupied: int) -> None:
    done = executed("serve", "--dev", "--port", str(occupied), folder=tmp_path)
    assert done.returncode == CONFIG
    assert done.stderr == (
        f"{FAULT}port (start): cannot listen on 127.0.0.1 port {occupied}: Address already in use\n"
    )


@pytest.mark.parametrize("host", ["192.0.2.1", "nobody.invalid"])
def test_a_host_of_another_machine_exits_with_78(tmp_path: Path, host: str) -> None:
    env = {"WSSERVER_JWT_SECRET": SECRET, "WSSERVER_HOST": host}
    done = refused("serve", "--port", "0", folder=tmp_path, **env)
    assert done.returncode == CONFIG
    assert done.stderr.startswith(f"{FAULT}host (start): cannot listen on {host} port 0: ")


def other_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (id INTEGER)")


def newer(path: Path) -> None:
    with ServerProcess(path.parent, "--dev", "--database", path.name, is_preloaded=True) as server:
        assert server.stop() == 0
    with closing(sqlite3.connect(path)) as connection:
        (table,) = connection.execute(
            "SELECT name FROM sqlite_master WHERE name LIKE '%migrations%'"
        ).fetchone()
        connection.execute(
            f"INSERT INTO {table} (migration_set, name, applied_at) "
            "SELECT migration_set, '9999_from_the_future', applied_at "
            f"FROM {table} LIMIT 1"
        )
        connection.commit()


def damaged(path: Path) -> None:
    with ServerProcess(path.parent, "--dev", "--database", path.name, is_preloaded=True) as server:
        assert server.stop() == 0
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * 4096 + content[8192:])


def no_database(path: Path) -> None:
    path.write_text("a letter to my bank, of great importance")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (no_database, "is not a SQLite database"),
        (other_program, "belongs to another program"),
        (damaged, "is damaged"),
        (newer, "was written by a newer version"),
    ],
)
def test_a_database_that_cannot_be_used_is_78_and_untouched(
    tmp_path: Path, make: object, words: str
) -> None:
    assert callable(make)
    make(tmp_path / "x.db")
    before = (tmp_path / "x.db").read_bytes()
    done = refused("serve", "--dev", "--port", "0", "--database", "x.db", folder=tmp_path)
    assert done.returncode == CONFIG
    assert done.stderr.startswith(f"{FAULT}database (start): x.db: {words}")
    assert "nothing was changed" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "x.db").read_bytes() == before
    assert [path.name for path in tmp_path.glob("x.db*")] == ["x.db"]


def test_a_database_that_is_a_folder_is_78(tmp_path: Path) -> None:
    (tmp_path / "x.db").mkdir()
    done = refused("serve", "--dev", "--database", "x.db", folder=tmp_path)
    assert done.returncode == CONFIG
    assert done.stderr == f"{FAULT}database (flag --database): is a folder: x.db\n"


def test_a_second_server_on_a_database_is_78_and_leaves_the_first_alone(tmp_path: Path) -> None:
    names = ["var/dev-server.json", "var/dev-admin-token", "var/dev-jwt-secret"]
    with ServerProcess(tmp_path, "--dev", is_preloaded=True) as first:
        first.wait_for("websocket")
        before = files(tmp_path, names)
        done = refused("serve", "--dev", "--port", "0", folder=tmp_path)
        assert done.returncode == CONFIG
        assert done.stderr == (
            f"{FAULT}database (start): var/wsserver.sqlite3: another server is using it; "
            "stop that one first, or name another file\n"
        )
        assert files(tmp_path, names) == before
        assert health(first.url) == (200, "ok")
        assert first.stop() == 0


def test_a_database_that_is_locked_may_be_free_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with ServerProcess(tmp_path, "--dev", "--database", "x.db", is_preloaded=True) as server:
        assert server.stop() == 0
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        done = refused("serve", "--dev", "--port", "0", "--database", "x.db", folder=tmp_path)
    assert done.returncode == 1
    assert "not started" in done.stderr
    assert "locked" in done.stderr
    assert "Traceback" not in done.stderr


def test_all_wrong_settings_are_reported_together(tmp_path: Path, occupied: int) -> None:
    (tmp_path / "c.toml").write_text(
        'prot = 1\njwt_secret = "canary"\nheartbeat_interval_s = 0\nmax_connections = "many"\n'
    )
    done = refused("serve", "--config", "c.toml", folder=tmp_path, WSSERVER_PORT="70000")
    assert done.returncode == CONFIG
    assert "canary" not in done.stderr
    lines = done.stderr.splitlines()
    for key in ("prot", "jwt_secret", "heartbeat_interval_s", "max_connections", "port"):
        assert sum(line.startswith(f"{FAULT}{key} (") for line in lines) == 1, key
    # What only shows when it is tried comes together, too.
    no_database(tmp_path / "x.db")
    args = ["--port", str(occupied), "--database", "x.db", "--plugin", "nowhere:f"]
    done = refused("serve", "--dev", *args, folder=tmp_path)
    faults = [line for line in done.stderr.splitlines() if line.startswith(FAULT)]
    assert done.returncode == CONFIG
    assert [fault.removeprefix(FAULT).split()[0] for fault in faults] == [
        "plugins", "port", "database",
    ]  # fmt: skip


def test_a_configuration_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b"a = \xff")
    done = refused("config", "check", "--config", "c.toml", folder=tmp_path)
    assert done.returncode == CONFIG
    assert f"{FAULT}config (file c.toml): is not UTF-8 text" in done.stderr
    (tmp_path / "c.toml").write_text("port = = 1")
    done = refused("config", "check", "--config", "c.toml", folder=tmp_path)
    assert done.returncode == CONFIG
    assert "is not valid TOML" in done.stderr
    assert refused("serve", "--config", "none.toml", folder=tmp_path).returncode == 2


def test_a_configuration_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("port = 1")
    path.chmod(0)
    if os.access(path, os.R_OK):  # root may read everything but this
        path = Path("/proc/self/mem")
    done = refused("config", "check", "--config", str(path), folder=tmp_path)
    assert done.returncode == CONFIG
    assert f"{FAULT}config (file {path}): cannot be read: " in done.stderr
    assert "Traceback" not in done.stderr


def test_show_masks_secrets(tmp_path: Path) -> None:
    done = refused("config", "show", folder=tmp_path, WSSERVER_JWT_SECRET=SECRET)
    assert done.returncode == 0
    assert SECRET not in done.stdout
    assert 'jwt_secret = "********"' in done.stdout


# Plugins

PLUGINS = """
import sys

def greet(manager):
    manager.add_event_handler("user_connected", lambda event: print("greeted", file=sys.stderr))

async def wait(manager):
    print("awaited", type(manager).__name__, file=sys.stderr)

def fail(manager):
    raise RuntimeError("no shop today")

number = 3
"""


def test_plugins_of_the_working_folder_are_called_with_the_manager(tmp_path: Path) -> None:
    (tmp_path / "shop_plugin.py").write_text(PLUGINS)
    flags = ["--plugin", "shop_plugin:greet", "--plugin", "shop_plugin:wait"]
    with ServerProcess(tmp_path, "--dev", *flags, is_preloaded=True) as server:
        server.wait_for("awaited WebSocketManager")
        with connect(server.websocket("/ws/chat", server.token("u1", "user"))) as client:
            client.recv(timeout=PATIENCE_S)
            server.wait_for("greeted")
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("shop_plugin:fail", "shop_plugin:fail failed: RuntimeError: no shop today"),
        ("shop_plugin:none", "shop_plugin:none cannot be imported: AttributeError"),
        ("no_plugin:f", "no_plugin:f cannot be imported: ModuleNotFoundError"),
        ("shop_plugin:number", "shop_plugin:number is not a function"),
    ],
)
def test_a_plugin_that_fails_is_78_in_one_line(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "shop_plugin.py").write_text(PLUGINS)
    done = refused("serve", "--dev", "--port", "0", "--plugin", name, folder=tmp_path)
    assert done.returncode == CONFIG
    assert done.stderr.startswith(f"{FAULT}plugins (start): {words}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "name", ["shop_plugin:fail", pytest.param("no_plugin:f", marks=pytest.mark.long)]
)
def test_where_a_plugin_failed_is_logged_at_debug(tmp_path: Path, name: str) -> None:
    (tmp_path / "shop_plugin.py").write_text(PLUGINS)
    flags = ("--dev", "--port", "0", "--plugin", name)
    done = refused("serve", *flags, folder=tmp_path, WSSERVER_LOG_LEVEL="debug")
    assert (done.returncode, "Traceback" in done.stderr) == (CONFIG, True)


def test_every_plugin_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(ConfigFaults) as caught:
        load_plugins(["no_plugin:a", "json:dumps", "no_plugin:b"])
    assert [fault.message.split()[0] for fault in caught.value.faults] == [
        "no_plugin:a", "no_plugin:b",
    ]  # fmt: skip


# Running


@pytest.mark.parametrize("loop", LOOPS)
def test_it_serves_and_ends_with_0_on_either_loop(tmp_path: Path, loop: str) -> None:
    with ServerProcess(tmp_path, "--dev", loop=loop) as server:
        assert health(server.url) == (200, "ok")
        with connect(server.websocket("/ws/chat", server.token("u1", "user"))) as client:
            assert json.loads(client.recv(timeout=PATIENCE_S))["type"] == "connection_established"
            client.send('{"type": "ping", "ref": 1}')
            assert json.loads(client.recv(timeout=PATIENCE_S))["type"] == "pong"
            server.send_signal(signal.SIGTERM)
            assert json.loads(client.recv(timeout=PATIENCE_S))["type"] == "server_draining"
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(timeout=PATIENCE_S)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        assert server.wait() == 0
    assert snapshots(tmp_path / "var/wsserver.sqlite3") == 1, "the last one, taken at the end"


def test_the_loop_follows_from_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    factory = fastest_loop()
    assert factory is not None
    loop = factory()
    loop.close()
    assert type(loop).__module__.startswith("uvloop")
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert fastest_loop() is None


def test_sigint_is_as_good_as_sigterm(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, "--dev", is_preloaded=True) as server:
        assert server.stop(signal.SIGINT) == 0
        assert "Traceback" not in "\n".join(server.lines)
        (closing_line,) = [line for line in server.lines if '"stopped"' in line]
        assert json.loads(closing_line)["logger"] == "wsserver.process"


@pytest.mark.parametrize("loop", LOOPS_ONE_LONG)
def test_health_reports_draining_and_a_second_signal_ends_it(tmp_path: Path, loop: str) -> None:
    env = {"WSSERVER_DRAIN_TIMEOUT_S": "300"}
    with ServerProcess(tmp_path, "--dev", loop=loop, env=env) as server, silent_client(server):
        server.send_signal(signal.SIGTERM)
        server.wait_for("stopping")
        assert health(server.url) == (503, "draining")
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 1
    assert any("second signal" in line for line in server.lines)
    assert "Traceback" not in "\n".join(server.lines)
    assert not (tmp_path / "var/dev-server.json").exists()


def test_an_ipv6_address_is_printed_in_brackets(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, "--dev", "--host", "::1", is_preloaded=True) as server:
        assert server.url.startswith("http://[::1]:")
        assert health(server.url) == (200, "ok")


def test_all_addresses_without_allowed_hosts_is_warned_of(tmp_path: Path) -> None:
    env = {"WSSERVER_JWT_SECRET": SECRET}
    with ServerProcess(tmp_path, "--host", "0.0.0.0", env=env, is_preloaded=True) as server:
        line = server.wait_for("allowed_hosts").string
        assert json.loads(line)["level"] == "warning"
        assert server.stop() == 0
    env["WSSERVER_ALLOWED_HOSTS"] = "chat.example.com"
    with ServerProcess(tmp_path, "--host", "0.0.0.0", env=env, is_preloaded=True) as server:
        assert server.stop() == 0
        assert not any("allowed_hosts" in line for line in server.lines)


def test_requests_are_logged_once_and_those_of_machines_only_when_asked(tmp_path: Path) -> None:
    for level, count in (("info", 0), ("debug", 1)):
        env = {"WSSERVER_LOG_LEVEL": level}
        with ServerProcess(tmp_path, "--dev", env=env, is_preloaded=True) as server:
            health(server.url)
            with urlopen(f"{server.url}/api/v1/openapi.json"):  # loopback
                pass
            assert server.stop() == 0
        requests = [line for line in server.lines if '"event": "request"' in line]
        assert sum('"path": "/api/v1/websocket/health"' in line for line in requests) == count
        assert sum('"path": "/api/v1/openapi.json"' in line for line in requests) == 1


def test_the_log_is_text_on_a_terminal_and_json_elsewhere(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, "--dev", is_preloaded=True) as server:
        assert server.stop() == 0
    assert json.loads(server.lines[-1])["event"] == "stopped"

    terminal, side = pty.openpty()
    with ServerProcess(tmp_path, "--dev", stderr=side, terminal=terminal) as server:
        os.close(side)
        assert server.stop() == 0
    assert re.fullmatch(r"\S+Z INFO wsserver\.process: stopped", server.lines[-1])


def test_tokens_and_secrets_stay_out_of_the_log(tmp_path: Path) -> None:
    env = {"WSSERVER_JWT_SECRET": SECRET, "WSSERVER_LOG_LEVEL": "debug"}
    with ServerProcess(tmp_path, env=env, is_preloaded=True) as server:
        for path in ("/ws/chat?token=canary.canary.canary", "/nowhere?ticket=canary"):
            with pytest.raises(HTTPError) as refusal:
                urlopen(server.url + path)  # loopback
            refusal.value.close()
        assert server.stop() == 0
    text = "\n".join(server.lines)
    assert '"path": "/ws/chat"' in text
    assert "canary" not in text
    assert SECRET not in text


def test_a_server_that_was_killed_starts_again(tmp_path: Path) -> None:
    env = {"WSSERVER_SNAPSHOT_INTERVAL_S": "0.05"}
    with ServerProcess(tmp_path, "--dev", env=env, is_preloaded=True) as server:
        database = tmp_path / "var/wsserver.sqlite3"
        poll(lambda: snapshots(database), bool)
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    kept = snapshots(shutil.copytree(tmp_path / "var", tmp_path / "copy") / "wsserver.sqlite3")
    assert kept
    with ServerProcess(tmp_path, "--dev", is_preloaded=True) as server:
        assert health(server.url) == (200, "ok")
        assert server.stop() == 0
    assert snapshots(database) == kept + 1


def test_a_task_of_a_plugin_that_ignores_its_end_does_not_keep_the_process(tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    with ServerProcess(
        tmp_path, "--dev", "--plugin", "stubborn:setup", is_preloaded=True
    ) as server:
        assert server.stop() == 0
    said = "\n".join(server.lines)
    assert "tasks ignore their cancellation" in said
    assert '"stopped"' in said
    assert "Traceback" not in said


STUBBORN = """
import asyncio

async def stay():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

def setup(server):
    server.spawn(stay(), name="stay")
"""
