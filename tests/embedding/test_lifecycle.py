"""``Server`` inside a program: start and stop, settings, handlers, plugins."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.embedded_server import SECRET, Make, client_of
from tests.support.waiting import PATIENCE_S, until
from wsserver import ConfigFaults, Server, StorageUnavailable, load_settings, tasks, users

pytestmark = pytest.mark.gen_test


def open_things() -> tuple[int, int]:
    """Descriptors and tasks."""
    return len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())


def storage_threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("storage")]


# Start and stop


async def test_the_whole_in_a_few_lines(make: Make) -> None:
    async with make() as server:

        async def greet(event: dict[str, Any]) -> None:
            await server.send_to_user(event["user_id"], "note", keep=True, data={"n": 1})

        server.on("user_connected", greet)
        async with client_of(server) as client:
            note = await client.push("note")
            assert (note["data"], note["stream"], note["offset"]) == ({"n": 1}, "user:u1", 1)
            accepted = await server.notifications.send_notification(
                users("u1"), title="Hello", message="World"
            )
            assert accepted is not None
            push = await client.push("notification")
            assert push["notification"]["id"] == accepted.notification_id
        server.off("user_connected", greet)
        async with client_of(server) as client:
            await server.send_to_user("u1", "second", data=None)
            assert [(await client.push(kind))["type"] for kind in ("note", "notification")]
            await client.push("second")


async def test_a_server_starts_again_and_leaves_nothing_between(make: Make) -> None:
    server = make()
    await asyncio.sleep(0)
    before = open_things()
    for offset in (1, 2, 3):
        async with server:
            assert server.is_running
            assert server.url == f"http://127.0.0.1:{server.port}"
            sent = await server.send_to_session("s1", "note", keep=True, data=offset)
            assert sent.offset == offset
        assert not server.is_running
        assert open_things() == before
        await until(lambda: not storage_threads())


async def test_two_servers_on_one_loop(make: Make, tmp_path: Path) -> None:
    async with (
        make() as one,
        make(data_dir=tmp_path / "other") as other,
        client_of(one) as of_one,
        client_of(other) as of_other,
    ):
        await one.broadcast("from_one")
        await other.broadcast("from_other")
        await of_one.push("from_one")
        await of_other.push("from_other")


async def test_before_the_start_and_after_the_stop_calls_raise(make: Make) -> None:
    server = make()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="does not run"):
            _ = server.url
        with pytest.raises(RuntimeError, match="does not run"):
            await server.send_to_user("u1", "note")
        with pytest.raises(RuntimeError, match="does not run"):
            await server.stop()
        async with server:
            with pytest.raises(RuntimeError, match="runs already"):
                await server.start()
            assert server.is_running


@pytest.fixture
def occupied() -> Iterator[int]:
    """A port that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


async def test_a_start_names_all_faults_and_leaves_nothing(
    make: Make, tmp_path: Path, occupied: int
) -> None:
    await asyncio.sleep(0)
    before = open_things()
    wrong: list[tuple[dict[str, Any], set[str]]] = [
        ({"port": 70_000, "jwt_secret": "short", "host": "a b"}, {"port", "jwt_secret", "host"}),
        ({"jwt_secret": None}, {"jwt_secret"}),
        ({"port": occupied, "plugins": ("nowhere:f",)}, {"port", "plugins"}),
        ({"database": tmp_path / "text.db"}, {"database"}),
    ]
    (tmp_path / "text.db").write_text("not a database, but a text of more than a few bytes")
    for settings, keys in wrong:
        server = make(**settings)
        with pytest.raises(ConfigFaults) as caught:
            await server.start()
        assert {fault.key for fault in caught.value.faults} == keys
        assert not server.is_running
        assert open_things() == before
    async with make() as server:
        with pytest.raises(ConfigFaults, match="another server is using it"):
            await make().start()
        assert server.is_running
    assert open_things() == before
    await until(lambda: not storage_threads())


async def test_a_locked_database_leaves_nothing_either(make: Make, tmp_path: Path) -> None:
    import sqlite3

    server = make()
    async with server:
        pass
    before = open_things()
    other = sqlite3.connect(tmp_path / "wsserver.sqlite3", isolation_level=None)
    try:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageUnavailable):
            await server.start()
    finally:
        other.close()
    assert open_things() == before
    async with server:  # now it is free
        assert server.is_running


async def test_a_start_that_is_cancelled_leaves_nothing(make: Make, shop: ModuleType) -> None:
    server = make(plugins=("shop_plugin:wait",))
    await asyncio.sleep(0)
    before = open_things()
    starting = asyncio.ensure_future(server.start())
    await asyncio.wait_for(shop.called.wait(), PATIENCE_S)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert open_things() == before


async def test_a_stop_that_is_cancelled_waits_for_no_client(make: Make) -> None:
    await asyncio.sleep(0)
    before = open_things()
    server = make(drain_timeout_s=300.0)
    await server.start()
    deaf = socket.create_connection(("127.0.0.1", server.port))
    ticket = server.ticket("u1")
    deaf.sendall(
        f"GET /ws/chat?ticket={ticket} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    await until(lambda: server.is_online("u1"))
    stopping = asyncio.ensure_future(server.stop())
    await asyncio.sleep(0.05)
    assert not stopping.done()
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    deaf.close()
    assert not server.is_running
    assert open_things() == before


async def test_a_handler_may_stop_the_server(make: Make) -> None:
    await asyncio.sleep(0)
    before = open_things()
    stopped: list[bool] = []

    async with make() as server:

        async def stop(event: dict[str, Any]) -> None:
            await server.stop()
            stopped.append(server.is_running)

        server.on("enough", stop)
        await server.send_to_user("u1", "note", keep=True, data=1)
        server.emit("enough")
        await until(lambda: stopped)
        assert stopped == [False]
    await asyncio.sleep(0)
    assert open_things() == before


async def test_a_second_stop_waits_for_the_first(make: Make) -> None:
    server = make()
    await server.start()
    for _ in range(2):
        first = asyncio.ensure_future(server.stop())
        second = asyncio.ensure_future(server.stop())
        await first
        await server.start()
        await second
        assert server.is_running, "the second one stops nothing that was started later"
    stopping = asyncio.ensure_future(server.stop())
    await asyncio.sleep(0)
    await server.stop()
    assert not server.is_running
    await stopping


async def test_clients_are_notified_of_a_stop(make: Make) -> None:
    server = make()
    await server.start()
    async with client_of(server) as client:
        stopping = asyncio.ensure_future(server.stop())
        await client.push("server_draining")
        assert await client.close_code() == 1012
        await stopping


# Settings


async def test_settings_are_checked_as_those_of_a_file(make: Make, tmp_path: Path) -> None:
    server = make(data_dir=str(tmp_path), allowed_origins=["https://App.Example.com:443"])
    async with server:
        assert server.settings.database == tmp_path / "wsserver.sqlite3"
        assert server.settings.jwt_algorithm == ("HS256",)
        assert server.settings.allowed_origins == ("https://app.example.com",)


async def test_settings_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "wsserver.toml"
    file.write_text(f'jwt_secret = "{SECRET}"\nport = 0\n')
    settings = load_settings(file, {"WSSERVER_DATA_DIR": str(tmp_path)})
    async with Server(settings) as server:
        assert replace(server.settings, extension_settings={}) == settings
        assert server.settings.extension_settings["tasks"] == {"retention_days": 365.0}
        assert (tmp_path / "wsserver.sqlite3").exists()


# Handlers


async def test_handlers_of_before_the_start_are_there_at_every_start(make: Make) -> None:
    server, seen = make(), []

    @server.on("user_*")
    def note(event: dict[str, Any]) -> None:
        seen.append((event["name"], event["user_id"]))

    for user_id in ("u1", "u2"):
        async with server:
            server.on("user_disconnected", lambda event: seen.append(("of this run", "")))
            async with client_of(server, user_id):
                pass
            await until(lambda: len(seen) == 3)
        first, *rest = seen
        assert first == ("user_connected", user_id)
        assert set(rest) == {("user_disconnected", user_id), ("of this run", "")}
        seen.clear()
    server.off("user_*", note)
    with pytest.raises(ValueError, match="no such handler"):
        server.off("user_*", note)
    async with server:
        server.emit("user_invented", user_id="u3")
    assert seen == []


async def test_a_handler_that_fails_is_logged_and_breaks_nothing(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    server = make()
    seen: list[dict[str, Any]] = []

    @server.on("news")
    async def fail_later(event: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        raise RuntimeError("later")

    @server.on("news")
    def fail(event: dict[str, Any]) -> None:
        raise RuntimeError("now")

    server.on("news", seen.append)
    with pytest.raises(TypeError, match="callable"):
        server.on("news", "not a function")  # type: ignore[call-overload]
    async with server:
        with caplog.at_level(logging.ERROR):
            server.emit("news", n=1)
            await until(lambda: len(caplog.records) == 2)
        assert [event["n"] for event in seen] == [1]
        assert server.stats()["handler_failures"] == 2
        assert server.health()["status"] == "ok"
    assert {str(each.exc_info[1]) for each in caplog.records if each.exc_info} == {"now", "later"}


# Plugins

SHOP = """
import asyncio

called = asyncio.Event()
given = []
cancelled = []

def old(manager):
    given.append(manager)
    manager.add_event_handler("news", given.append)

async def new(server):
    given.append(server)
    server.on("news", given.append)
    server.spawn(forever(), name="forever")

async def forever():
    try:
        await asyncio.Event().wait()
    finally:
        cancelled.append(True)

async def wait(server):
    server.spawn(forever(), name="forever")
    called.set()
    await asyncio.Event().wait()

def stopping(server):
    called.set()
    raise RuntimeError("closed on Mondays")
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module with plugins."""
    (tmp_path / "shop_plugin.py").write_text(SHOP)
    monkeypatch.syspath_prepend(str(tmp_path))
    import importlib

    yield importlib.import_module("shop_plugin")
    del sys.modules["shop_plugin"]


async def test_plugins_get_the_server_or_the_manager_by_the_name_of_the_parameter(
    make: Make, shop: Any
) -> None:
    server = make(plugins=("shop_plugin:old", "shop_plugin:new"))
    for _ in range(2):
        async with server:
            assert shop.given == [server.manager, server]
            server.emit("news")
            assert len(shop.given) == 4, "also after a second start one call for each"
            assert not shop.cancelled
            shop.given.clear()
        assert shop.cancelled == [True]
        shop.cancelled.clear()


async def test_a_plugin_that_fails_is_a_fault(make: Make, shop: Any) -> None:
    await asyncio.sleep(0)
    before = open_things()
    server = make(plugins=("shop_plugin:new", "shop_plugin:stopping"))
    with pytest.raises(ConfigFaults, match="closed on Mondays"):
        await server.start()
    assert shop.cancelled == [True]
    assert open_things() == before


# Programs that delay the stop


async def test_a_handler_that_ignores_its_end_is_left_behind(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tasks, "CANCEL_PATIENCE_S", 0.05)
    server = make()
    over = asyncio.Event()

    @server.on("begin")
    async def hang(event: dict[str, Any]) -> None:
        while not over.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await over.wait()

    async with server:
        server.emit("begin")
        await asyncio.sleep(0)
    assert not server.is_running
    assert "tasks ignore their cancellation count=1 names=event begin" in caplog.text
    over.set()
    await asyncio.sleep(0)


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_a_program_that_goes_on_sending_cannot_delay_the_stop(
    make: Make, is_cancelled: bool
) -> None:
    server = make()
    await server.start()
    count = 0

    async def send() -> None:
        nonlocal count
        while True:
            await server.send_to_session("s1", "new_message", content="x")
            count += 1

    senders = [asyncio.ensure_future(send()) for _ in range(3)]
    await until(lambda: count > 10)
    stopping = asyncio.ensure_future(server.stop())
    if is_cancelled:
        await asyncio.sleep(0)
        stopping.cancel()
    await asyncio.wait([stopping, *senders], timeout=10)
    assert {type(each.exception()) for each in senders} <= {StorageUnavailable, RuntimeError}
    assert not server.is_running
