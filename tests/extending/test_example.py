"""The example of ``docs/extending.rst``, loaded as its text says."""

from __future__ import annotations

import asyncio
import http.client
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.support.http_response import Response
from tests.support.rst_blocks import block
from tests.support.waiting import PATIENCE_S
from wsserver import Server
from wsserver.config import load_settings
from wsserver.extension_registry import find_extensions

DOCS = "docs/extending.rst"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder, with the files of the page."""
    monkeypatch.chdir(tmp_path)
    for name in ("polls.py", "polls.toml"):
        (tmp_path / name).write_text(block(DOCS, name).text, encoding="utf-8")
    yield tmp_path
    sys.modules.pop("polls", None)
    sys.path[:] = [each for each in sys.path if each != str(tmp_path)]


@asynccontextmanager
async def serving(folder: Path, **environ: str) -> AsyncIterator[Server]:
    variables = {
        "WSSERVER_JWT_SECRET": "s" * 32,
        "WSSERVER_PORT": "0",
        "WSSERVER_DATA_DIR": str(folder / "var"),
        **environ,
    }
    settings = load_settings(Path("polls.toml"), variables, {}, False, find_extensions)
    async with Server(settings) as server:
        yield server


async def until(socket: ClientConnection, type_: str) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            message = json.loads(await socket.recv())
            if message["type"] == type_:
                return message


async def post(server: Server, role: str, **body: Any) -> Response:
    return await ask(server, "POST", "polls", role, json.dumps(body))


async def ask(
    server: Server, method: str, path: str, role: str = "admin", body: str | None = None
) -> Response:
    token = server.token("crm", role=role)
    return await asyncio.to_thread(_ask, server, token, method, path, body)


def _ask(server: Server, token: str, method: str, path: str, body: str | None) -> Response:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        connection.request(method, f"/api/v1/websocket/{path}", body, headers)
        answer = connection.getresponse()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Response(answer.status, named, answer.read())
    finally:
        connection.close()


def run(check: Any) -> None:
    asyncio.run(check)


def test_the_example_does_what_the_page_says(folder: Path) -> None:
    async def check() -> None:
        async with serving(folder) as server:
            poll = {"poll_id": "p1", "session_id": "s1", "options": ["tea", "milk"]}
            assert (await post(server, "user", **poll)).status == 403
            assert (await post(server, "service", **{**poll, "options": []})).status == 422
            token = server.token("u1", sessions="*")
            offers = [Subprotocol("wsserver.v1"), Subprotocol(f"bearer.{token}")]
            url = server.websocket_url("/ws/chat/session/s1")
            async with connect(url, subprotocols=offers) as socket:
                opened = (await post(server, "service", **poll)).json()
                assert opened == {
                    **{name: poll[name] for name in ("poll_id", "session_id")},
                    "is_open": True,
                    "votes": {"tea": 0, "milk": 0},
                }
                assert (await until(socket, "poll_update"))["poll"] == opened
                vote = {"type": "vote", "ref": 1, "poll_id": "p1", "choice": 1}
                await socket.send(json.dumps(vote))
                voted = await until(socket, "voted")
                assert voted["poll"]["votes"] == {"tea": 0, "milk": 1}
                await socket.send(json.dumps({**vote, "poll_id": "p2"}))
                assert (await until(socket, "error"))["error"]["code"] == "poll_closed"
            exported = (await ask(server, "GET", "users/u1/data")).body.splitlines()
            rows = [json.loads(line) for line in exported]
            votes = [each["row"] for each in rows if each["table"] == "poll_votes"]
            assert votes == [{"poll_id": "p1", "choice": 1}]
            erased = (await ask(server, "DELETE", "users/u1/data")).json()["erased"]
            assert erased["poll_votes"] == 1
            assert b"poll_votes" not in (await ask(server, "GET", "users/u1/data")).body
            document = (await server._context.documents.get()).openapi
            assert document["x-problem-codes"]["poll_closed"]["status"] == 409
            assert "/api/v1/websocket/polls" in document["paths"]

    run(check())


def test_a_poll_closes_by_itself_also_after_a_restart(folder: Path) -> None:
    async def check() -> None:
        async with serving(folder) as server:
            poll = {"poll_id": "p1", "session_id": "s1", "options": ["tea", "milk"]}
            assert (await post(server, "service", **poll)).status == 200
        async with serving(folder, WSSERVER_POLLS__OPEN_S="0.001") as server:
            closed: asyncio.Queue[Any] = asyncio.Queue()
            server.on("poll_closed", closed.put_nowait)
            poll["poll_id"] = "p2"
            assert (await post(server, "service", **poll)).status == 200
            async with asyncio.timeout(PATIENCE_S):
                event = await closed.get()
            assert (event["poll_id"], event["votes"]) == ("p2", {"tea": 0, "milk": 0})
        async with serving(folder, WSSERVER_DISABLED_EXTENSIONS="tasks") as server:
            assert (await post(server, "service", **poll)).json()["is_open"] is False

    run(check())
