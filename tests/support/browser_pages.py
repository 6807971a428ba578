"""Chromium pages, and other clients beside them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator
from typing import Any, Protocol

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect
from websockets.asyncio.client import ClientConnection, connect

from tests.support.waiting import PATIENCE_S
from tests.support.web_server import Server, token
from wsserver.identity.claim_parser import parse_claims
from wsserver.realtime.connections.connection import ConnectionInfo

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
NEEDS_CHROMIUM = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH (apt-get install chromium)"),
    # The browser's own process is started and watched by playwright.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
]
FAKE_MEDIA = [
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--allow-loopback-in-peer-connection",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
]
"""Arguments for a camera and a microphone that Chromium makes itself, without being asked for."""
WATCH_POLICY = """
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) =>
        violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""
# Makes a client of its own in the page, and notes what happens to it.
OPEN_CLIENT = """
    async ({tokens, session}) => {
        const { WsClient } = await import("/static/client.js");
        window.seen = [];
        window.client = new WsClient({ tokenProvider: () => tokens.shift(), minDelayMs: 10 });
        for (const name of ["ws:state", "ws:close", "ws:rejoined", "ws:error", "ws:lost"]) {
            client.addEventListener(name, ({ detail }) => seen.push([name, detail]));
        }
        window.sight = (name) => new Promise((resolve) => {
            const found = seen.find((entry) => entry[0] === name);
            if (found) resolve(found[1]);
            else client.addEventListener(name, ({ detail }) => resolve(detail), { once: true });
        });
        await client.connect();
        if (session) await client.join(session);
    }
"""


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A Chromium of one's own; most tests use the one of their module (fixture ``chromium``)."""
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        try:
            yield chromium
        finally:
            await chromium.close()


@contextlib.asynccontextmanager
async def page_of(chromium: Browser, server: Server, **options: Any) -> AsyncIterator[Page]:
    """The chat tester of the server, on which nothing may go wrong."""
    async with faultless_page(chromium, **options) as page:
        await page.goto(f"{url_of(server)}/console/chat")
        yield page


@contextlib.asynccontextmanager
async def faultless_page(
    chromium: Browser, *, requests_fail: bool = False, **options: Any
) -> AsyncIterator[Page]:
    """A page in a context of its own; fails for errors, failed requests and policy violations.

    ``requests_fail``: requests that fail or are refused are expected.
    """
    context = await chromium.new_context(**{"locale": "en-US", **options})
    try:
        page = await context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        if not requests_fail:
            page.on(
                "requestfailed",
                lambda request: (
                    faults.append(request.url) if request.failure != "net::ERR_ABORTED" else None
                ),
            )
            page.on(
                "console",
                lambda message: faults.append(message.text) if message.type == "error" else None,
            )
        page.set_default_timeout(PATIENCE_S * 1000)
        await page.add_init_script(WATCH_POLICY)
        yield page
        assert await page.evaluate("violations") == []
        assert faults == []
    finally:
        await context.close()


class Listening(Protocol):
    """A server in this process or in another one."""

    @property
    def port(self) -> int: ...


def url_of(server: Listening) -> str:
    return f"http://127.0.0.1:{server.port}"


async def use_ticket(page: Page, server: Server, more: str = "") -> None:
    """Open the chat tester with a ticket in the address."""
    payload = {"sub": "dev-admin", "role": "admin", "exp": 4e9, "sessions": "*"}
    ticket, _ = server.system.tickets.issue(parse_claims(payload))
    await page.goto("about:blank")
    await page.goto(f"{url_of(server)}/console/chat#ticket={ticket}{more}")
    await expect(page.locator("#state")).to_have_attribute("data-state", "open")


@contextlib.asynccontextmanager
async def program(
    server: Server, session: str, sub: str = "zhang", role: str = "user", **claims: Any
) -> AsyncIterator[ClientConnection]:
    """A client of another kind, in the session."""
    url = f"ws://127.0.0.1:{server.port}/ws/chat/session/{session}"
    bearer = token(sub, role, username="张三", sessions=[session], **claims)
    async with connect(url, subprotocols=["wsserver.v1", f"bearer.{bearer}"]) as socket:  # type: ignore[list-item]
        await hear(socket, "session_joined")
        yield socket


async def hear(socket: ClientConnection, type_: str) -> dict[str, Any]:
    """The next push of a type."""
    while True:
        push: dict[str, Any] = json.loads(await socket.recv())
        if push["type"] == type_:
            return push


def only_connection(server: Server, user_id: str) -> ConnectionInfo:
    (connection,) = server.system.manager.hub.of_user(user_id)
    return connection
