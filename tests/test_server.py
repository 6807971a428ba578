"""``Server``: the server inside a Python program."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.request import Request, urlopen

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from tests.support.waiting import PATIENCE_S, until
from wsserver import (
    ConfigFaults,
    NotFound,
    Recipients,
    Sending,
    Server,
    Settings,
    StorageUnavailable,
    ValidationFailed,
    load_settings,
    tasks,
    users,
)

SECRET = "a secret of these tests with 32+ bytes"
Make = Callable[..., Server]
pytestmark = pytest.mark.gen_test


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A server on a free port that is not started."""

    def make(**settings: Any) -> Server:
        usual = {"port": 0, "data_dir": tmp_path, "jwt_secret": SECRET}
        return Server(Settings(**{**usual, **settings}))

    return make


class Client:
    """A WebSocket client past the greeting."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def push(self, type_: str) -> Any:
        """The next push, which must be of this type."""
        push = json.loads(await asyncio.wait_for(self._socket.recv(), PATIENCE_S))
        assert push["type"] == type_, push
        return push

    async def close_code(self) -> int:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await asyncio.wait_for(self._socket.recv(), PATIENCE_S)
        return int(self._socket.close_code or 0)


@asynccontextmanager
async def client_of(
    server: Server, user_id: str = "u1", path: str = "/ws/chat", **claims: Any
) -> AsyncIterator[Client]:
    bearer = f"bearer.{server.token(user_id, **claims)}"
    offers = [Subprotocol("wsserver.v1"), Subprotocol(bearer)]
    async with connect(server.websocket_url(path), subprotocols=offers) as socket:
        client = Client(socket)
        await client.push("connection_established")
        yield client


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
        assert server.settings == settings
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


# Sending


async def test_every_target(make: Make) -> None:
    async with make() as server:
        path = "/ws/chat/session/s1"
        claims = {"role": "manager", "organization_id": "org1", "sessions": ["s1"]}
        async with client_of(server, "u1", path, **claims) as client, client_of(server, "u2"):
            await client.push("session_joined")
            (connection,) = server.connections(user_id="u1", session_id="s1")
            for number, sending in enumerate(
                (
                    server.send_to_user("u1", "note", data=0),
                    server.send_to_session("s1", "note", data=1),
                    server.send_to_organization("org1", "note", data=2),
                    server.send_to_role("manager", "note", data=3),
                    server.send_to_connection(connection.connection_id, "note", data=4),
                    server.broadcast("note", exclude_users=("u2",), data=5),
                    server.broadcast("note", organization_id="org1", role="manager", data=6),
                )
            ):
                sent = await sending
                assert (sent.matched, sent.sent, sent.failed) == (1, 1, 0)
                assert (sent.stream, sent.offset) == (None, None)
                push = await client.push("note")
                assert (push["id"], push["data"]) == (sent.message_id, number)


async def test_the_types_of_the_contract_have_their_fields(make: Make) -> None:
    async with make() as server:
        sender = {"user_id": "bob", "username": "Bob"}
        sent = await server.send_to_session("s1", "new_message", content="Hi", sender=sender)
        assert (sent.stream, sent.offset) == ("session:s1", 1), "kept without asking for it"
        with pytest.raises(ValidationFailed) as caught:
            await server.send_to_session("s1", "typing", user_id="u 1", is_typing=True, keep=True)
        assert {each["field"] for each in caught.value.details["errors"]} == {"user_id"}
        with pytest.raises(ValidationFailed, match=r"target\.id"):
            await server.send_to_session("no session", "note")
        with pytest.raises(ValidationFailed, match="reserved"):
            await server.send_to_user("u1", "connection_established")
        with pytest.raises(ValidationFailed, match="are kept"):
            await server.send_to_role("admin", "note", keep=True)
        page = await server.history("session:s1")
        assert [each["message"]["content"] for each in page["messages"]] == ["Hi"]


async def test_the_same_key_is_the_same_message(make: Make) -> None:
    async with make() as server:
        one, again, other = [
            await server.send_to_user("u1", "note", keep=True, idempotency_key=key, data=key)
            for key in ("k1", "k1", "k2")
        ]
        assert (one.message_id, one.offset) == (again.message_id, again.offset)
        assert other.offset == 2
        with pytest.raises(ValidationFailed, match="idempotency_key: only for messages"):
            await server.send_to_user("u1", "note", idempotency_key="k3")


async def test_history_by_pages(make: Make) -> None:
    async with make() as server:
        for n in range(5):
            await server.send_to_organization("org1", "note", keep=True, data=n)
        stream = "organization:org1"
        last = await server.history(stream, limit=2)
        assert [each["offset"] for each in last["messages"]] == [4, 5]
        assert last["has_more"]
        before = await server.history(stream, before=4)
        assert [each["data"] for each in before["messages"]] == [0, 1, 2]
        after = await server.history(stream, after=3, limit=1)
        assert [each["offset"] for each in after["messages"]] == [4]
        assert (await server.history("broadcast"))["messages"] == []
        for unknown in ("org1", "session:", "sesion:s1", ""):
            with pytest.raises(ValueError, match="stream"):
                await server.history(unknown)


async def test_roles_of_the_configuration_do_not_limit_the_program(make: Make) -> None:
    nothing = {"service": (), "admin": ()}
    async with make(permissions=nothing) as server:
        assert (await server.send_to_user("u1", "note")).matched == 0
        assert await server.replace_members("s1", ["u1"]) == ["u1"]
        assert await server.disconnect_user("u1") == 0
        token = server.token("backend", role="service")
        request = Request(
            f"{server.url}/api/v1/websocket/stats", headers={"Authorization": f"Bearer {token}"}
        )
        with pytest.raises(Exception, match="403"):
            await asyncio.to_thread(urlopen, request)


# Connections, members, contacts


async def test_connections_and_their_end(make: Make) -> None:
    async with make() as server:
        async with client_of(server, "u1") as one, client_of(server, "u2") as two:
            assert server.online_users() == ["u1", "u2"]
            assert (server.is_online("u1"), server.is_online("u3")) == (True, False)
            assert len(server.connections()) == 2
            assert server.connections(session_id="s1") == []
            (connection,) = server.connections(user_id="u2")
            assert await server.disconnect(connection.connection_id, 4000, "bye")
            assert await two.close_code() == 4000
            assert not await server.disconnect("conn_none")
            assert await server.disconnect_user("u1", reason="off") == 1
            assert await one.close_code() == 4502
        assert server.stats()["disconnections"] == 2


async def test_revoked_tokens(make: Make) -> None:
    async with make() as server:
        async with client_of(server) as client:
            assert await server.revoke(user_id="u1") == 1
            assert await client.close_code() == 4505
        with pytest.raises(ValidationFailed, match="exactly one"):
            await server.revoke(user_id="u1", jti="x")


async def test_members_may_enter(make: Make) -> None:
    server = make()
    async with server:
        assert await server.members("s1") == []
        assert await server.replace_members("s1", ["u1", "u2"]) == ["u1", "u2"]
        async with client_of(server, "u1", "/ws/chat/session/s1") as client:
            await client.push("session_joined")
            assert await server.replace_members("s1", []) == []
            assert await client.close_code() == 4503
    async with server:
        assert await server.members("s1") == []


async def test_contacts(make: Make) -> None:
    async with make() as server:
        put = await server.replace_contacts("u1", email="u1@example.com", organization_id="org1")
        assert put == await server.contacts("u1")
        assert (put["email"], put["organization_id"]) == ("u1@example.com", "org1")
        with pytest.raises(ValidationFailed, match="phone"):
            await server.replace_contacts("u1", phone="nobody's")
        accepted = await server.notifications.send_notification(
            Recipients(organization_id="org1"), "T", "M"
        )
        assert accepted is not None
        assert sum(accepted.states.values()) == 1


# Credentials


async def test_tokens_and_tickets_fit_the_requirements_of_the_settings(make: Make) -> None:
    strict = {
        "jwt_algorithm": ("HS512",),
        "jwt_issuer": "https://login.example.com",
        "jwt_audience": "chat",
        "jwt_user_claim": "uid",
    }
    async with make(**strict) as server:
        async with client_of(server, "u1"):
            assert server.online_users() == ["u1"]
        url = server.websocket_url(ticket=server.ticket("u2", username="Two", sessions="*"))
        async with connect(url):
            (connection,) = server.connections()
            assert (connection.user_id, connection.metadata["username"]) == ("u2", "Two")
        with pytest.raises(InvalidStatus):
            async with connect(url):
                pass
        with pytest.raises(Exception, match="role"):
            server.token("u1", role="boss")


async def test_a_server_with_a_public_key_signs_nothing(make: Make, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = Ed25519PrivateKey.generate().public_key()
    file = tmp_path / "public.pem"
    file.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    async with make(jwt_secret=None, jwt_public_key_file=file) as server:
        with pytest.raises(ValueError, match="no secret"):
            server.token("u1")
        async with connect(server.websocket_url(ticket=server.ticket("u1"))):
            assert server.is_online("u1")


async def test_the_errors_are_those_of_the_rest_api(make: Make) -> None:
    async with make() as server:
        with pytest.raises(ValidationFailed) as caught:
            await server.replace_members("s1", ["a b"])
        assert caught.value.code == "validation_failed"
        assert NotFound.code == "not_found"


# What programs do wrong


@pytest.mark.parametrize("recipients", [users(), Recipients(), Recipients(user_ids=(), role="")])
async def test_a_notification_to_no_recipients_is_not_one_to_all(
    make: Make, recipients: Recipients
) -> None:
    async with make() as server:
        await server.replace_contacts("u1", email="u1@example.com")
        with pytest.raises(ValidationFailed, match="exactly one of user_ids"):
            await server.notifications.send_notification(recipients, title="t", message="m")


async def test_notifications_name_arguments_that_are_wrong(make: Make) -> None:
    async with make() as server:
        send = server.notifications.send_notification
        with pytest.raises(TypeError, match="not str"):
            await send("u1", title="t", message="m")  # type: ignore[arg-type]
        with pytest.raises(ValidationFailed, match="title: must be a string, not 5"):
            await send(users("u1"), title=5, message="m")  # type: ignore[arg-type]
        sending = Sending(channels="email")  # type: ignore[arg-type]
        with pytest.raises(ValidationFailed, match="channels: 'e' is not one of websocket, push"):
            await send(users("u1"), title="t", message="m", sending=sending)


async def test_one_string_is_not_a_list_of_users(make: Make) -> None:
    async with make() as server:
        await server.replace_members("s1", ["alice"])
        with pytest.raises(ValidationFailed, match="user_ids: Expected array, got str"):
            await server.replace_members("s1", "bob")
        assert await server.members("s1") == ["alice"]
        with pytest.raises(ValidationFailed, match="exclude_users: Expected array, got str"):
            await server.broadcast("news", data=1, exclude_users="bob")
        assert (await server.broadcast("news", data=1, exclude_users={"bob"})).matched == 0


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("value", [object(), "\ud800", {(1, 2): 3}])
async def test_data_that_json_does_not_have_are_a_fault_of_the_field(
    make: Make, value: object, keep: bool
) -> None:
    async with make() as server:
        with pytest.raises(ValidationFailed, match="data: is no JSON"):
            await server.send_to_user("u1", "news", data=value, keep=keep)


async def test_other_wrong_arguments_are_named(make: Make) -> None:
    with pytest.raises(TypeError, match="not Server\\(dict\\)"):
        Server({"port": 0})  # type: ignore[arg-type]
    async with make() as server:
        for key in (17, "", "a" * 256, "a\n"):
            with pytest.raises(ValidationFailed, match="idempotency_key: 1 to 255 printable"):
                await server.send_to_user(
                    "u1",
                    "news",
                    data=1,
                    keep=True,
                    idempotency_key=key,  # type: ignore[arg-type]
                )
        with pytest.raises(ValidationFailed, match="target: unknown field"):
            await server.send_to_user("u1", "news", data=1, target=2)  # type: ignore[call-arg]
        for limit in (0, -1, 1001):
            with pytest.raises(ValueError, match="limit: 1 to 1000"):
                await server.history("user:u1", limit=limit)
        with pytest.raises(ValueError, match="ttl_s"):
            server.ticket("u1", ttl_s=float("nan"))
        with pytest.raises(ValueError, match="begins with /"):
            server.websocket_url("ws/chat")
        with pytest.raises(TypeError, match="name of an event"):
            server.on(None, print)  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="no such handler of 'x' was added"):
            server.off("x", print)


async def test_a_call_from_another_event_loop_raises(make: Make) -> None:
    async with make() as server:
        with pytest.raises(RuntimeError, match="run_coroutine_threadsafe"):
            await asyncio.to_thread(lambda: asyncio.run(server.send_to_user("u1", "news", data=1)))


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
