"""``client.js`` where no WebSocket gets through: event streams, and the way back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.support.browser_pages import (
    NEEDS_CHROMIUM,
    faultless_page,
    only_connection,
    url_of,
)
from tests.support.faulty_proxy import FaultyProxy, without_upgrade
from tests.support.waiting import PATIENCE_S, until
from tests.support.web_server import Server, StartServer, token
from wsserver.protocol.close_codes import CloseCode

pytestmark = NEEDS_CHROMIUM

# A client in the page that notes what it gets.
OPEN = """
    async ({token, renewed, tickets, options, isAwaited = true}) => {
        const { WsClient } = await import("/static/client.js");
        window.seen = [];
        window.states = [];
        const credentials = tickets
            ? { ticketProvider: () => tickets.shift() ?? null }
            : { tokenProvider: () => (renewed && client.state === "open" ? renewed : token) };
        window.client = new WsClient({ ...credentials, minDelayMs: 10, ...options });
        client.addEventListener("new_message", ({ detail }) => seen.push(detail.message.content));
        client.addEventListener("ws:state", ({ detail }) => states.push(detail.state));
        client.addEventListener("ws:close", ({ detail }) => states.push(detail.code));
        const opened = client.connect().then(() => "open", (error) => error.code);
        return isAwaited ? await opened : "";
    }
"""


class Blocking:
    """A proxy that lets no WebSocket through, until it is told to."""

    def __init__(self) -> None:
        self.is_on = True

    def __call__(self, head: bytes) -> bytes:
        return without_upgrade(head) if self.is_on else head


@asynccontextmanager
async def blocked(chromium: Browser, server: Server) -> AsyncIterator[tuple[Page, Blocking]]:
    """A page whose way to the server lets no WebSocket through."""
    blocking = Blocking()
    with FaultyProxy(url_of(server), rewrite=blocking) as proxy:
        async with faultless_page(chromium, requests_fail=True) as page:
            await page.goto(f"{proxy.url}/console/chat")
            yield page, blocking


async def until_true(page: Page, expression: str) -> None:
    """Wait in the page; its policy allows no texts to be run."""
    async with asyncio.timeout(PATIENCE_S):
        while not await page.evaluate(expression):
            await asyncio.sleep(0.01)


async def opened(page: Page, user: str = "u1", **options: Any) -> str:
    arguments = {"token": token(user, "user", sessions="*"), "options": options}
    return str(await page.evaluate(OPEN, arguments))


async def say(server: Server, *texts: str) -> None:
    for text in texts:
        await server.post("/sessions/s1/messages", type="new_message", content=text)


@pytest.mark.gen_test
async def test_it_chats_and_resumes(chromium: Browser, server: Server) -> None:
    async with blocked(chromium, server) as (page, _):
        await opened(page)
        assert only_connection(server, "u1").view()["transport"] == "sse"
        assert only_connection(server, "u1").protocol == "wsserver.v1"
        await page.evaluate("client.join('s1')")
        other = await server.connect("u2", sessions=["s1"])
        other.send(type="join_session", session_id="s1")
        await other.push("session_joined")
        sent = await page.evaluate("client.sendMessage('s1', 'from the page')")
        assert sent["offset"] == 1
        assert (await other.push("new_message"))["message"]["content"] == "from the page"
        await say(server, "to the page")
        await until_true(page, "seen.length === 2")

        # Cut without a word; what is said meanwhile comes once and in order.
        server.system.manager.is_draining = True  # nobody gets in for the moment
        only_connection(server, "u1").websocket._backend.drop(
            only_connection(server, "u1").websocket
        )
        await until(lambda: not server.system.manager.hub.of_user("u1"))
        server.system.manager.is_draining = False
        await say(server, "one", "two")
        await until_true(page, "seen.length === 4")
        await say(server, "three")
        await until_true(page, "seen.length === 5")
        said = ["from the page", "to the page", "one", "two", "three"]
        assert await page.evaluate("seen") == said
        assert only_connection(server, "u1").view()["transport"] == "sse"
        await page.evaluate("client.close()")
        await until(lambda: not server.system.manager.hub.of_user("u1"))


@pytest.mark.gen_test
async def test_two_failures_come_first(chromium: Browser, server: Server) -> None:
    async with blocked(chromium, server) as (page, _):
        await opened(page)
        states = await page.evaluate("states")
        assert states == [
            "connecting",
            "waiting",
            1006,
            "connecting",
            "waiting",
            1006,
            "connecting",
            "open",
        ]


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_client_that_had_a_websocket_stays_with_it(
    chromium: Browser, server: Server
) -> None:
    async with blocked(chromium, server) as (page, blocking):
        blocking.is_on = False
        await opened(page)
        assert only_connection(server, "u1").view()["transport"] == "websocket"
        blocking.is_on = True
        server.system.manager.close(only_connection(server, "u1"), CloseCode.GOING_AWAY, "")
        await until_true(page, "states.filter((each) => each === 1006).length >= 5")
        blocking.is_on = False
        await until_true(page, "client.state === 'open'")
        assert only_connection(server, "u1").view()["transport"] == "websocket"


@pytest.mark.gen_test
async def test_it_goes_back_to_a_websocket_once_one_gets_through(
    chromium: Browser, server: Server
) -> None:
    async with blocked(chromium, server) as (page, blocking):
        await opened(page, probeMs=50)
        await page.evaluate("client.join('s1')")
        assert only_connection(server, "u1").view()["transport"] == "sse"
        blocking.is_on = False
        await until(
            lambda: (
                [each.view()["transport"] for each in server.system.manager.hub.of_user("u1")]
                == ["websocket"]
            )
        )
        await say(server, "after")
        await until_true(page, "seen.length === 1")


@pytest.mark.gen_test
async def test_with_tickets(chromium: Browser, server: Server) -> None:
    tickets = [
        (await server.post("/tickets", bearer=token("u1", "user", sessions=["s1"]))).json()[
            "ticket"
        ]
        for _ in range(3)
    ]
    async with blocked(chromium, server) as (page, _):
        # The failed attempts have used none up: a proxy has cut them off.
        await page.evaluate(OPEN, {"tickets": tickets, "options": {}})
        await page.evaluate("client.join('s1')")
        await page.evaluate("client.sendMessage('s1', 'hello')")
        await until_true(page, "seen.length === 1")


@pytest.mark.gen_test
@pytest.mark.long
async def test_what_is_refused_is_known_by_its_code(
    chromium: Browser, start_server: StartServer
) -> None:
    server = await start_server(max_connections_per_user=1)
    async with blocked(chromium, server) as (page, _):
        arguments: dict[str, Any] = {"token": "x.y.z", "options": {}}
        assert await page.evaluate(OPEN, arguments) == "closed_4500"
        taken = await server.connect("u1", sessions="*")
        arguments = {"token": token("u1", "user"), "options": {}, "isAwaited": False}
        await page.evaluate(OPEN, arguments)
        await until_true(page, "states.includes(4504)")
        await taken.close()
        bad = token("u2", "user", sessions=["s2"])
        arguments = {"token": bad, "options": {"sessionId": "s1"}}
        assert await page.evaluate(OPEN, arguments) == "closed_4503"


@pytest.mark.gen_test
@pytest.mark.long
async def test_many_commands_at_once_and_one_that_no_json_takes(
    chromium: Browser, server: Server
) -> None:
    async with blocked(chromium, server) as (page, _):
        await opened(page)
        await page.evaluate("client.join('s1')")
        results = await page.evaluate(
            """async () => {
                const all = Array.from({ length: 30 }, (_, n) => client.sendMessage("s1", `${n}`));
                all.push(client.sendMessage("s1", "\\ud800"));
                all.push(client.sendMessage("s1", "last"));
                const settled = await Promise.allSettled(all);
                return settled.map(({ value, reason }) => value?.offset ?? reason.code);
            }"""
        )
        assert results == [*range(1, 31), "bad_unicode", 31]
        assert await page.evaluate("client.state") == "open"


@pytest.mark.gen_test
@pytest.mark.long
async def test_tokens_are_renewed(chromium: Browser, server: Server) -> None:
    short = token("u1", "user", sessions="*", exp=time.time() + 50)  # below the 60 s of the warning
    fresh = token("u1", "user", sessions="*")
    async with blocked(chromium, server) as (page, _):
        # However many attempts precede the event stream; then the renewal that the server asks for.
        await page.evaluate(OPEN, {"token": short, "renewed": fresh, "options": {}})
        expires_at = only_connection(server, "u1").claims.exp
        await until(lambda: only_connection(server, "u1").claims.exp > expires_at + 1000)
        await page.evaluate("client.join('s1')")


@pytest.mark.gen_test
async def test_tabs_share_one_event_stream(chromium: Browser, server: Server) -> None:
    blocking = Blocking()
    with FaultyProxy(url_of(server), rewrite=blocking) as proxy:
        async with faultless_page(chromium, requests_fail=True) as page:
            await page.goto(f"{proxy.url}/console/chat")
            second = await page.context.new_page()
            await second.goto(f"{proxy.url}/console/chat")
            await opened(page)
            await opened(second)
            for each in (page, second):
                await each.evaluate("client.join('s1')")
            await say(server, "to both")
            for each in (page, second):
                await until_true(each, "seen.length === 1")
            assert only_connection(server, "u1").view()["transport"] == "sse"


@pytest.mark.gen_test
@pytest.mark.long
async def test_it_can_be_switched_off(chromium: Browser, server: Server) -> None:
    async with blocked(chromium, server) as (page, blocking):
        options = {"fallback": False}
        arguments = {"token": token("u1", "user"), "options": options, "isAwaited": False}
        await page.evaluate(OPEN, arguments)
        await until_true(page, "states.filter((each) => each === 1006).length >= 5")
        blocking.is_on = False
        await until_true(page, "client.state === 'open'")
        assert only_connection(server, "u1").view()["transport"] == "websocket"
