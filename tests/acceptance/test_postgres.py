"""A server on PostgreSQL: nothing acknowledged is lost or stored twice, whatever is killed."""

from __future__ import annotations

import http.client
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from scripts.backends.postgres import PASSWORD, PostgresServer
from tests.support.server_process import ServerProcess, refused

pytestmark = pytest.mark.slow

STREAMS = ("session:s1", "session:s2", "user:u1")
PUBLISHERS = 4


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    made = postgres.create_database(is_empty=True)
    yield made
    postgres.drop_database(made)


class Publishers:
    """Threads that publish kept messages, each until it is acknowledged, with one key each."""

    def __init__(self) -> None:
        self.server: ServerProcess | None = None
        self.acknowledged: dict[str, tuple[str, int]] = {}
        """By key: stream and offset."""
        self.gives_up = False
        self._ends = threading.Event()
        self._threads = [
            threading.Thread(target=self._publish, args=(number,)) for number in range(PUBLISHERS)
        ]

    def start(self, server: ServerProcess) -> None:
        self.server = server
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, once what was begun is acknowledged."""
        self._ends.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def wait_for(self, count: int) -> None:
        """Wait until so many more are acknowledged."""
        goal, until = len(self.acknowledged) + count, time.monotonic() + 30
        while len(self.acknowledged) < goal:
            assert time.monotonic() < until
            time.sleep(0.02)

    def _publish(self, publisher: int) -> None:
        number = 0
        while not (self._ends.is_set() or self.gives_up):
            number += 1
            key, stream = f"{publisher}-{number}", STREAMS[number % len(STREAMS)]
            while (answer := self._try(key, stream)) is None:
                if self.gives_up:
                    return
                time.sleep(0.02)
            self.acknowledged[key] = (stream, answer["offset"])

    def _try(self, key: str, stream: str) -> dict[str, Any] | None:
        """The position; None: refused, or no answer."""
        assert self.server is not None
        kind, name = stream.split(":")
        path = f"/{kind}s/{name}/messages"
        body = {"type": "news", "data": {"key": key}, "keep": True}
        try:
            answer = call(self.server, "POST", path, body, {"Idempotency-Key": key})
        except (OSError, URLError, http.client.HTTPException):
            return None
        return answer if "offset" in answer else None


def call(
    server: ServerProcess,
    method: str,
    path: str,
    body: object = None,
    headers: dict[str, str] | None = None,
) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"{server.url}/api/v1/websocket{path}", data, method=method)
    for name, value in {
        "Authorization": f"Bearer {server.token()}",
        "Content-Type": "application/json",
        **(headers or {}),
    }.items():
        request.add_header(name, value)
    with urlopen(request, timeout=15) as answer:
        return json.loads(answer.read())


def database_check(server: ServerProcess) -> Any:
    with urlopen(f"{server.url}/api/v1/websocket/health", timeout=15) as answer:
        return json.loads(answer.read())["checks"]["database"]


def wait_until_ok(server: ServerProcess) -> None:
    """The next probe, each second, finds that reading succeeds again, too."""
    until = time.monotonic() + 10
    while not database_check(server)["ok"]:
        assert time.monotonic() < until
        time.sleep(0.1)


def stored(postgres: PostgresServer, url: str) -> dict[str, list[tuple[str, int]]]:
    """Where each key is in the database."""
    found: dict[str, list[tuple[str, int]]] = {}
    for stream, offset, payload in postgres.execute(
        f"SELECT s.name, m.key & {(1 << 38) - 1}, m.payload"
        " FROM messages m JOIN streams s ON s.id = m.key >> 38 ORDER BY m.key",
        url.rpartition("/")[2],
    ):
        key = json.loads(payload)["data"]["key"]
        found.setdefault(key, []).append((stream, offset))
    return found


def test_nothing_acknowledged_is_lost_or_stored_twice(
    postgres: PostgresServer, url: str, tmp_path: Path
) -> None:
    publishers = Publishers()
    env = {"WSSERVER_DATABASE_URL": url, "WSSERVER_STREAM_LIMIT": "1000000"}
    try:
        with ServerProcess(tmp_path, "--dev", env=env, is_preloaded=True) as server:
            publishers.start(server)
            publishers.wait_for(50)
            assert database_check(server)["kind"] == "postgresql"
            for end in (postgres.stop, postgres.crash):
                end()
                time.sleep(0.3)
                assert not database_check(server)["ok"]
                postgres.start()
                publishers.wait_for(50)
                wait_until_ok(server)
            server.stop(signal.SIGKILL)
            assert PASSWORD not in "\n".join(server.lines)
        with ServerProcess(tmp_path, "--dev", env=env, is_preloaded=True) as again:
            publishers.server = again
            publishers.wait_for(50)
            publishers.stop()
            history = call(again, "GET", "/sessions/s1/history?limit=1000")
            assert again.stop() == 0
    finally:
        publishers.gives_up = True
    places = stored(postgres, url)
    assert all(len(place) == 1 for place in places.values())
    assert {key: place[0] for key, place in places.items()} == publishers.acknowledged
    for stream in STREAMS:
        offsets = sorted(
            offset for each, offset in publishers.acknowledged.values() if each == stream
        )
        assert offsets == list(range(1, len(offsets) + 1))
    assert history["messages"][-1]["offset"] == max(
        offset for stream, offset in publishers.acknowledged.values() if stream == "session:s1"
    )
    assert not (tmp_path / "var" / "wsserver.sqlite3").exists()


def start(url: str, folder: Path, **more: str) -> tuple[int, str]:
    env = {"WSSERVER_JWT_SECRET": "x" * 32, "WSSERVER_DATABASE_URL": url, **more}
    ended = refused("serve", "--port", "0", folder=folder, **env)
    assert PASSWORD not in ended.stderr
    return ended.returncode, ended.stderr


@pytest.mark.long
def test_what_is_wrong_with_the_url_is_said_with_its_key(
    postgres: PostgresServer, url: str, tmp_path: Path
) -> None:
    status, text = start(url.replace(PASSWORD, "wrong-password"), tmp_path)
    assert (status, "wrong-password" in text) == (78, False)
    assert "database_url (start): postgresql://127.0.0.1" in text
    status, text = start("postgresql://u:secret-word@127.0.0.1:1/x", tmp_path)
    assert (status, "secret-word" in text) == (75, False)
    assert '"key": "database_url", "error": "cannot connect to postgresql://127.0.0.1:1/x' in text
    status, text = start("mysql://u:secret-word@h/x", tmp_path)
    assert (status, "secret-word" in text) == (78, False)
    assert "database_url (env WSSERVER_DATABASE_URL): must begin with postgresql://" in text
    status, text = start("postgresql://u:secret-word@h/x?nonsense=1", tmp_path)
    assert (status, "secret-word" in text) == (78, False)
    status, text = start(url, tmp_path, WSSERVER_DATABASE="x.sqlite3")
    assert status == 78
    assert "is a second database: database_url is set too" in text


@pytest.mark.long
def test_a_second_server_is_refused_and_the_first_one_goes_on(
    url: str, tmp_path: Path, postgres: PostgresServer
) -> None:
    env = {"WSSERVER_DATABASE_URL": url}
    with ServerProcess(tmp_path, "--dev", env=env, is_preloaded=True) as server:
        status, text = start(url, tmp_path)
        assert status == 78
        assert "another server is using it" in text
        assert database_check(server)["ok"]
        for command in (["prune"], ["copy", "--to", url, "--database", "none.sqlite3"]):
            assert refused("db", *command, folder=tmp_path, **env).returncode in (1, 78)
        checked = refused("db", "check", "-o", "json", folder=tmp_path, **env)
        report = json.loads(checked.stdout)
        assert (checked.returncode, report["ok"], report["schema"]) == (0, True, "current")
        assert {"streams", "messages"} <= {table["name"] for table in report["tables"]}
        backup = refused("db", "backup", "copy.dump", folder=tmp_path, **env)
        assert backup.returncode == 1
        assert "pg_dump --format=custom --file=copy.dump postgresql://tests@127.0.0.1" in (
            backup.stderr
        )
        assert PASSWORD not in backup.stderr
        shown = refused("config", "show", folder=tmp_path, WSSERVER_JWT_SECRET="x" * 32, **env)
        assert PASSWORD not in shown.stdout + shown.stderr
    pruned = refused("db", "prune", "--vacuum", "-o", "json", folder=tmp_path, **env)
    assert pruned.returncode == 0, pruned.stderr
    assert json.loads(pruned.stdout)["deleted"]["messages"] == 0
