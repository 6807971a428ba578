"""Fixtures: a real server for all tests of a module, and what signs tokens for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.running_server import RunningServer
from tests.support.tokens import SECRET
from wsserver.sdk import Client, TokenSigner


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server process; its log is checked."""
    made = RunningServer(tmp_path_factory.mktemp("server"))
    try:
        yield made
        made.stop()
    finally:
        made.kill()


@pytest.fixture(scope="session")
def signer() -> TokenSigner:
    """Signs as the server expects it."""
    return TokenSigner(SECRET)


@pytest.fixture
def client(server: RunningServer, signer: TokenSigner) -> Iterator[Client]:
    """A client of the server, with the role ``service``."""
    with Client(server.url, signer.service("shop")) as made:
        yield made
