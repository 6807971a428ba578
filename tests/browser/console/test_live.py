"""The live page: rows with fields, filters, rates, pause; and thousands of events."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.support.browser_pages import NEEDS_CHROMIUM
from tests.support.console_pages import HOSTILE, Console, subscribed
from tests.support.web_server import Server, token

pytestmark = NEEDS_CHROMIUM


def rows(page: Page) -> Any:
    return page.locator(".live-space .live-row")


@pytest.mark.gen_test
async def test_events_are_rows_with_links_and_open(console: Console, server: Server) -> None:
    async with console.page("/live") as page:
        await subscribed(server, "listening")
        server.system.manager.emit("order.placed", user_id="u1", session_id="s1", note=HOSTILE)
        row = rows(page).filter(has_text="order.placed")
        await expect(row).to_contain_text(f"note={HOSTILE}")
        await expect(row.get_by_role("link", name="s1")).to_have_attribute(
            "href", "/console/sessions/s1"
        )
        await row.get_by_role("button").click()
        await expect(page.locator("dialog .json")).to_contain_text('"user_id": "u1"')
        await page.keyboard.press("Escape")
        sent = await server.post("/users/u1/messages", type="hint", data=1)
        published = rows(page).filter(has_text="message_published")
        await published.get_by_role("link", name="Trace").click()
        assert page.url.endswith(sent.json()["message_id"])


@pytest.mark.gen_test
@pytest.mark.long
async def test_rows_are_filtered_by_words_and_types(console: Console, server: Server) -> None:
    async with console.page("/live?q=blue") as page:
        await subscribed(server, "listening")
        await page.get_by_role("searchbox").fill("blue")
        for colour in ("blue", "red"):
            server.system.manager.emit("paint", colour=colour)
            server.system.manager.emit("mix", colour=colour)
        await expect(rows(page)).to_have_count(2)
        await page.get_by_role("button", name=re.compile("^paint")).click()
        await expect(rows(page)).to_have_count(1)
        assert page.url.endswith("?q=blue&type=paint")
        await page.get_by_role("searchbox").fill("")
        await expect(rows(page)).to_have_count(2)


@pytest.mark.gen_test
async def test_a_paused_view_stands_still_and_counts_on(console: Console, server: Server) -> None:
    async with console.page("/live") as page:
        await subscribed(server, "listening")
        await page.get_by_role("button", name="Pause").click()
        for _ in range(10):
            server.system.manager.emit("quiet")
        await expect(page.get_by_role("button", name=re.compile("^quiet"))).to_contain_text("2/s")
        await expect(rows(page).filter(has_text="quiet")).to_have_count(0)
        await page.get_by_role("button", name="Resume").click()
        server.system.manager.emit("loud")
        await expect(rows(page)).to_have_count(1)


@pytest.mark.long
@pytest.mark.gen_test
async def test_thousands_of_events_leave_few_rows_in_the_document(
    console: Console, server: Server
) -> None:
    async with console.page("/live") as page:
        await subscribed(server, "listening")
        for burst in range(12):
            for number in range(2000):
                server.system.manager.emit("tick", number=burst * 2000 + number)
            await asyncio.sleep(0)
        await expect(rows(page).first).to_contain_text("number=")
        await expect(page.locator(".live-space")).to_contain_text("number=23999")
        assert await rows(page).count() < 80
        await expect(page.locator(".toolbar .hint")).to_contain_text("rows")
        kept = int(
            re.sub(
                r"\D",
                "",
                (await page.locator(".toolbar .hint").inner_text()).split(" of ")[1].split(" ")[0],
            )
        )
        assert 15_000 <= kept <= 20_000
        # Scrolled away from the top, the view stays where it is.
        await page.locator(".live-view").evaluate("(view) => view.scrollTop = 2800")
        await expect(page.locator(".live-space")).to_contain_text("number=23890")
        server.system.manager.emit("tick", number="new")
        newest = page.get_by_role("button", name="Newest")
        await expect(newest).to_have_text("Newest (1)")
        await newest.click()
        await expect(page.locator(".live-space")).to_contain_text("number=new")


@pytest.mark.gen_test
async def test_contents_are_hidden_from_who_may_not_read_messages(
    console: Console, server: Server
) -> None:
    permissions = ["monitor", "stats:read"]
    bearer = token("watcher", permissions=permissions)
    socket = await server.connect("vera", sessions=["s1"])
    socket.send(type="join_session", session_id="s1")
    await socket.push("session_joined")
    async with console.page("/live", bearer=bearer) as page:
        await subscribed(server, "listening")
        socket.send(type="send_message", session_id="s1", content="secret words")
        received = rows(page).filter(has_text="message_received")
        await expect(received).to_have_count(1)
        await expect(received).not_to_contain_text("secret words")
        await expect(received.get_by_role("link", name="Trace")).to_have_count(0)
