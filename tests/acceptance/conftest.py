"""Fixtures: servers for a module, clients for a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.running_server import RunningServer, Start
from tests.support.tokens import token
from tests.support.websocket_clients import V1, Client, RawClient, open_client

Connect = Callable[..., Client]
OpenRaw = Callable[..., RawClient]
Clients = list[tuple[RunningServer, Client | RawClient]]


@pytest.fixture(scope="module")
def servers() -> Iterator[list[RunningServer]]:
    """Every server of the module; those that still run are stopped, which must go well."""
    started: list[RunningServer] = []
    try:
        yield started
        for server in started:
            server.stop()
    finally:
        for server in started:
            server.kill()


@pytest.fixture(scope="module")
def start(servers: list[RunningServer], tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Start a server with settings; ``folder`` to start it where another one was."""

    def start(**settings: Any) -> RunningServer:
        folder = settings.pop("folder", None) or tmp_path_factory.mktemp("server")
        server = RunningServer(folder, **settings)
        servers.append(server)
        return server

    return start


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, start: Start) -> RunningServer:
    """The module's server, with the module's ``SETTINGS``."""
    return start(**getattr(request.module, "SETTINGS", {}))


@pytest.fixture(autouse=True)
def clean_logs(servers: list[RunningServer]) -> Iterator[None]:
    yield
    for server in servers:
        server.check_log()


@pytest.fixture
def clients() -> Iterator[Clients]:
    """Every client of the test; all are closed after it, and their servers see them go."""
    opened: Clients = []
    yield opened
    for _, client in opened:
        client.close()
    for server in {server for server, _ in opened}:
        if server.process.poll() is None:
            server.until_empty()


@pytest.fixture
def connect(request: pytest.FixtureRequest, clients: Clients) -> Connect:
    """Connect to the module's server, past the greeting."""

    def connect(
        sub: str = "u1",
        path: str = "/ws/chat",
        *,
        to: RunningServer | None = None,
        v1: bool = True,
        **claims: Any,
    ) -> Client:
        server = to or request.getfixturevalue("server")
        bearer = claims.pop("bearer", None) or token(sub, **claims)
        client = open_client(server, path, bearer=bearer, offers=(V1,) if v1 else ())
        clients.append((server, client))
        client.established = client.push("connection_established")
        return client

    return connect


@pytest.fixture
def monitor(connect: Connect) -> Connect:
    """Connect an administrator's monitor."""

    def monitor(sub: str = "watcher", role: str = "admin", **claims: Any) -> Client:
        return connect(sub, "/ws/admin/monitor", role=role, **claims)

    return monitor


@pytest.fixture
def raw(request: pytest.FixtureRequest, clients: Clients) -> OpenRaw:
    """Open a bare socket to the module's server."""

    def raw(to: RunningServer | None = None, **options: Any) -> RawClient:
        server = to or request.getfixturevalue("server")
        client = RawClient(server, **options)
        clients.append((server, client))
        return client

    return raw
