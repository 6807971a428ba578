"""``wsserver serve --workers N``: several processes on one port, restarted and replaced."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed

from scripts.backends.postgres import PostgresServer
from tests.support.server_process import refused
from tests.support.tokens import SECRET, token
from tests.support.waiting import poll
from tests.support.websocket_clients import open_client
from tests.support.worker_servers import (
    WorkerServer,
    await_end,
    children_of,
    connects_in_a_loop,
)


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[str]:
    """An empty database."""
    made = postgres.create_database(is_empty=True)
    yield made
    postgres.drop_database(made)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[WorkerServer]:
    """A server of two workers that survives its tests."""
    folder = tmp_path_factory.mktemp("workers")
    (folder / "secret").write_text(SECRET)
    server = WorkerServer(
        folder,
        database_url=database,
        drain_timeout_s=5,
        jwt_secret=None,
        jwt_secret_file=folder / "secret",
    )
    server.expects_faults = True
    try:
        yield server
        assert server.stop() == 0
    finally:
        server.kill()


def metrics_of(server: WorkerServer) -> str:
    return server.request("GET", "/metrics").body.decode()


def values(text: str, name: str) -> dict[str, float]:
    """The values of a metric by worker."""
    return {
        sample.labels["worker"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def test_all_workers_get_connections_and_the_metrics_of_one_speak_for_all(
    shared: WorkerServer,
) -> None:
    def requests_of_workers() -> dict[str, float]:
        shared.health()
        return values(metrics_of(shared), "wsserver_http_request_duration_seconds_count")

    found = poll(requests_of_workers, lambda by: len(by) == 2 and min(by.values()) >= 5)
    assert set(found) == {"1", "2"}
    text = metrics_of(shared)
    assert values(text, "wsserver_worker_up") == {"1": 1.0, "2": 1.0}
    helps = re.findall(r"^# HELP (\S+)", text, re.MULTILINE)
    assert len(helps) == len(set(helps))
    nodes = re.findall(r'^wsserver_info\{node="([^"]+)",worker="(\d)"\} 1.0$', text, re.MULTILINE)
    assert sorted(nodes) == [("box/1", "1"), ("box/2", "2")]


def test_there_is_one_line_that_it_listens_and_no_secret_in_the_list_of_processes(
    shared: WorkerServer,
) -> None:
    assert len([line for line in shared.lines if line.startswith("listening on")]) == 1
    children = children_of(shared.process.pid)
    assert len(children) == 3  # two workers, Valkey
    for pid, _ in children:
        assert SECRET not in Path(f"/proc/{pid}/cmdline").read_text()


def test_a_killed_worker_is_started_again_and_no_connection_is_refused(
    shared: WorkerServer,
) -> None:
    clients = [open_client(shared, bearer=token(f"k{number}")) for number in range(24)]
    before, accepted = shared.pids(), shared.accepted()
    with connects_in_a_loop(shared) as statuses:
        poll(lambda: len(statuses), lambda count: count > 10)
        os.kill(before[2], signal.SIGKILL)
        poll(shared.accepted, lambda count: count == accepted + 1)
        after = len(statuses)
        poll(lambda: len(statuses), lambda count: count > after + 10)
    assert set(statuses) <= {200, 0}, set(statuses)
    assert shared.pids()[1] == before[1]
    assert shared.pids()[2] != before[2]
    living = 0
    for client in clients:
        try:
            living += client.call("ping")["type"] == "pong"
        except ConnectionClosed:
            pass
        client.close()
    assert 0 < living < 24


def test_a_worker_that_stands_still_is_killed_and_started_again(
    tmp_path: Path, database: str
) -> None:
    server = WorkerServer(tmp_path, database_url=database, worker_timeout_s=1)
    server.expects_faults = True
    try:
        before = server.pids()
        os.kill(before[2], signal.SIGSTOP)
        server.wait_for('"event": "worker is killed".*"worker": 2.*does not answer')
        poll(server.accepted, lambda count: count == 3)
        assert server.pids()[1] == before[1]
        assert server.pids()[2] != before[2]
        with connects_in_a_loop(server) as statuses:
            poll(lambda: len(statuses), lambda count: count > 20)
        assert set(statuses) == {200}
        assert server.stop() == 0
    finally:
        server.kill()


def test_a_rolling_restart_refuses_no_connection_and_loses_no_kept_message(
    shared: WorkerServer,
) -> None:
    received: dict[str, int] = {}
    stop = threading.Event()

    def read() -> None:
        """A client that comes back whenever it is asked to, and acknowledges its inbox."""
        while not stop.is_set():
            client = open_client(shared, bearer=token("reader"))
            try:
                while not stop.is_set():
                    push = client.await_push("new_message")
                    content = push["message"]["content"]
                    received[content] = received.get(content, 0) + 1
                    client.send("ack", ids=[push["message"]["id"]])
            except (ConnectionClosed, TimeoutError):
                client.close()

    reader = threading.Thread(target=read)
    reader.start()
    before, accepted = shared.pids(), shared.accepted()
    sent = 0
    try:
        with connects_in_a_loop(shared) as statuses:
            shared.send_signal(signal.SIGHUP)
            while shared.accepted() < accepted + 2:
                body = {
                    "target": {"type": "user", "id": "reader"},
                    "type": "new_message",
                    "session_id": "s1",
                    "content": f"m{sent}",
                    "keep": True,
                }
                try:
                    answer = shared.post("/messages", body)
                except OSError:
                    continue  # its worker has just closed the connection
                sent += answer.status == 200
        # 503 only for a request that came late, on a connection from before the hand-over.
        assert set(statuses) <= {200, 503}, set(statuses)
        assert statuses.count(200) > 0.95 * len(statuses)
        shared.wait_for('"event": "rolling restart done"')
        assert all(pid != before[number] for number, pid in shared.pids().items())
        wanted = {f"m{number}" for number in range(sent)}
        poll(lambda: wanted - set(received), lambda missing: not missing)
    finally:
        stop.set()
        shared.post(
            "/messages",
            {
                "target": {"type": "user", "id": "reader"},
                "type": "new_message",
                "session_id": "s1",
                "content": "end",
            },
        )
        reader.join(30)


def test_settings_with_faults_leave_the_workers_as_they_are(shared: WorkerServer) -> None:
    before = shared.pids()
    secret = shared.folder / "secret"
    secret.rename(shared.folder / "away")
    shared.send_signal(signal.SIGHUP)
    shared.wait_for("settings not read again.*jwt_secret_file.*does not exist")
    (shared.folder / "away").rename(secret)
    assert shared.pids() == before
    assert shared.health()["status"] == "ok"


def test_a_killed_valkey_comes_back_and_the_server_is_degraded_meanwhile(
    shared: WorkerServer,
) -> None:
    pid = shared.valkey_pid()
    os.kill(pid, signal.SIGSTOP)
    poll(shared.health, lambda health: health["status"] == "degraded")
    os.kill(pid, signal.SIGKILL)
    poll(shared.valkey_pid, lambda new: new not in (0, pid))
    poll(
        lambda: [shared.health()["status"] for _ in range(4)],
        lambda states: states == ["ok"] * 4,
    )


def test_a_supervisor_that_is_killed_leaves_no_process(tmp_path: Path, database: str) -> None:
    server = WorkerServer(tmp_path, database_url=database)
    pids = [pid for pid, _ in children_of(server.process.pid)]
    assert len(pids) == 3
    server.kill()
    await_end(pids)


def test_sigterm_drains_all_workers(tmp_path: Path, database: str) -> None:
    server = WorkerServer(tmp_path, database_url=database)
    try:
        clients = [open_client(server, bearer=token(f"u{number}")) for number in range(6)]
        pids = [pid for pid, _ in children_of(server.process.pid)]
        server.send_signal(signal.SIGTERM)
        assert {client.closed()[0] for client in clients} == {1012}
        assert server.wait() == 0
        await_end(pids)
        assert not (tmp_path / "valkey").exists()
        server.check_log()
    finally:
        server.kill()


def test_bad_settings_are_named_once_and_end_with_78(tmp_path: Path, database: str) -> None:
    done = refused(
        *("serve", "--workers", "3", "--plugin", "no_such_module:start", "--port", "0"),
        folder=tmp_path,
        WSSERVER_JWT_SECRET=SECRET,
        WSSERVER_DATABASE_URL=database,
    )
    assert done.returncode == 78, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("wsserver: config")]
    assert len(lines) == 1
    assert "no_such_module" in lines[0]


def test_a_port_in_use_is_named_with_the_other_faults(
    shared: WorkerServer, tmp_path: Path, database: str
) -> None:
    done = refused(
        *("serve", "--workers", "2", "--plugin", "no_such_module:start"),
        *("--port", str(shared.port)),
        folder=tmp_path,
        WSSERVER_JWT_SECRET=SECRET,
        WSSERVER_DATABASE_URL=database,
    )
    assert done.returncode == 78, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("wsserver: config")]
    assert len(lines) == 2, done.stderr
    assert "no_such_module" in lines[0]
    assert "port" in lines[1]
