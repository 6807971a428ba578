"""Tables of 20,000 connections in 10,000 sessions: searched and turned over by the server."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Page, Request, expect
from tornado.ioloop import IOLoop

from tests.support.browser_pages import NEEDS_CHROMIUM
from tests.support.console_pages import Console
from tests.support.fake_connections import fake_connection
from tests.support.web_server import Server, StartServer

pytestmark = NEEDS_CHROMIUM

CONNECTIONS = 20_000
LISTS = ("/connections", "/online-users", "/sessions")


@pytest.fixture(scope="module")
def server(io_loop: IOLoop, start_server: StartServer) -> Iterator[Server]:
    """A server with many connections, which have no sockets."""

    async def start() -> Server:
        server: Server = await start_server()
        hub = server.system.manager.hub
        for number in range(CONNECTIONS):
            connection = fake_connection(
                f"user-{number:05}", username=f"Customer {number:05}", last_heard=1e12
            )
            hub.add(connection)
            hub.join(connection, f"order-{number // 2:05}")
        return server

    server: Server = io_loop.run_sync(start)
    hub = server.system.manager.hub
    fakes = [each for each in hub if each.user_agent == "test"]
    yield server
    for each in fakes:
        hub.remove(each)


def listed(page: Page) -> list[int]:
    """How many rows each request for a list asks for, as they are made."""
    limits: list[int] = []

    def note(request: Request) -> None:
        address = urlsplit(request.url)
        if address.path.startswith("/api/") and address.path.endswith(LISTS):
            limits.append(int(parse_qs(address.query)["limit"][0]))

    page.on("request", note)
    return limits


@pytest.mark.parametrize(
    ("path", "total", "search", "found"),
    [
        ("/connections", "20,000", "USER-1234 customer", 10),
        pytest.param("/users", "20,000", "USER-1234", 10, marks=pytest.mark.long),
        pytest.param("/sessions", "10,000", "order-012", 50, marks=pytest.mark.long),
    ],
)
@pytest.mark.gen_test
async def test_a_long_list_stays_on_the_server(
    console: Console, path: str, total: str, search: str, found: int
) -> None:
    async with console.page("/trace") as page:
        limits = listed(page)
        await console.open(page, path)
        note = page.locator(".toolbar [role=status]")
        rows = page.locator(".data tbody tr")
        await expect(note).to_contain_text(f"1–50 of {total} · in the order of ids")
        await expect(rows).to_have_count(50)
        first = await rows.first.inner_text()
        # A second click before the page is there counts once.
        twice = "(button) => { button.click(); button.click(); }"
        await page.get_by_role("button", name="Next").evaluate(twice)
        await expect(note).to_contain_text(f"51–100 of {total}")
        assert await rows.first.inner_text() != first
        await page.get_by_role("button", name="Previous").click()
        await expect(rows.first).to_contain_text(first.split()[0])
        await expect(page.locator("thead button").first).to_be_disabled()
        assert max(limits) == 50  # neither is the whole list asked for ...
        await expect(page.locator("main *")).not_to_have_count(0)
        assert await page.locator("main *").count() < 2000  # ... nor drawn

        await page.get_by_role("searchbox").fill(search)
        await expect(rows).to_have_count(found)
        await page.locator("thead button").first.click()
        await expect(page.locator("[aria-sort]")).to_have_count(1)  # what is found is sorted
        await page.reload()
        await expect(rows).to_have_count(found)
        await page.get_by_role("searchbox").fill("nothing-of-this-name")
        await expect(rows).to_have_text(["Nothing here."])
        await page.get_by_role("searchbox").fill("")
        await expect(note).to_contain_text(f"of {total} · in the order of ids")
