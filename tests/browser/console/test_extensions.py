"""Pages that extensions add: accounts of messengers, AI responders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect
from tornado.ioloop import IOLoop

from tests.support.browser_pages import NEEDS_CHROMIUM
from tests.support.console_pages import HOSTILE, Console, check_looks, first_and_long
from tests.support.http_provider import HttpProvider
from tests.support.web_server import Server, StartServer, token

pytestmark = NEEDS_CHROMIUM

KEY = "key-of-the-callback"


@pytest.fixture(scope="module")
def provider(io_loop: IOLoop) -> Iterator[HttpProvider]:
    """A messenger that takes nothing."""
    provider = HttpProvider()

    async def start() -> None:
        provider.start()

    io_loop.run_sync(start)
    provider.answer_with(410, HOSTILE.encode())
    yield provider
    io_loop.run_sync(provider.stop)


@pytest.fixture(scope="module")
def server(io_loop: IOLoop, start_server: StartServer, provider: HttpProvider) -> Server:
    """A server with an account and a responder."""
    account = {"kind": "webhook", "url": provider.url("/out"), "key": KEY, "token": "t" * 20}
    shop = {**account, "organization_id": "o1", "members": ["bob"]}
    bot = {"kind": "openai", "url": provider.url(""), "api_key": "k", "model": HOSTILE}
    tables = {"accounts": {"shop": shop, "other": account}, "responders": {"bot": bot}}

    async def start() -> Server:
        server: Server = await start_server(
            extension_settings=tables, allow_loopback_urls=True, delivery_attempts=1
        )
        body = {"type": "message", "id": "m1", "contact": "ann", "content": "hi", "name": HOSTILE}
        data = json.dumps(body).encode()
        await server.request("POST", f"/intake/webhook/shop?key={KEY}", data)
        await server.post("/sessions/webhook:shop:ann/messages", type="new_message", content="no")
        responders = server.context.extensions["responders"]
        await responders._store.note_failure("bot", "s1", HOSTILE, 1_700_000_000.0)
        return server

    started: Server = io_loop.run_sync(start)
    return started


def rows(page: Page) -> Any:
    return page.locator(".data tbody tr")


@pytest.mark.gen_test
async def test_what_an_account_gave_up_is_seen_and_sent_again(
    console: Console, provider: HttpProvider
) -> None:
    async with console.page() as page:
        await page.get_by_role("link", name="Accounts").click()
        await expect(rows(page)).to_have_count(2)
        await expect(rows(page).nth(1)).to_contain_text("not reported yet")
        await page.get_by_role("link", name="shop").click()
        await expect(rows(page)).to_contain_text("given up")
        await expect(rows(page)).to_contain_text("410")
        await page.get_by_role("button", name="Send again").click()
        dialog = page.locator("dialog")
        await expect(dialog).to_contain_text("1 messages of shop are tried again.")
        provider.answer_with(200, b"{}")
        await dialog.get_by_role("button", name="Send again").click()
        await expect(page.locator("main")).to_contain_text("Everything was sent.")
        await page.go_back()
        await expect(page.locator("main h1")).to_have_text("Accounts")


@pytest.mark.gen_test
async def test_a_responder_shows_its_failures_and_leads_to_its_sessions(
    console: Console, server: Server
) -> None:
    await server.post("/sessions/h1/holder", holder={"type": "ai", "id": "bot"})
    async with console.page("/responders") as page:
        await expect(rows(page)).to_contain_text(HOSTILE)
        await page.get_by_role("link", name="bot").click()
        await expect(page.locator("main")).to_contain_text("Nothing waits for an answer.")
        await expect(rows(page)).to_contain_text(HOSTILE)
        await page.get_by_role("link", name="Show them").click()
        await expect(rows(page).filter(has_text="h1")).to_contain_text("AI bot")


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_manager_sees_the_accounts_of_its_organization_alone(console: Console) -> None:
    manager = token("m", "manager", organization_id="o1")
    async with console.page("/accounts", bearer=manager) as page:
        await expect(rows(page)).to_have_count(1)
        names = await page.locator("#nav a").all_text_contents()
        assert "Accounts" in names
        assert "AI responders" not in names
        await page.get_by_role("link", name="shop").click()
        await expect(page.get_by_text("Waiting")).to_be_visible()
        await expect(page.get_by_role("button", name="Send again")).to_have_count(0)
        await console.open(page, "/responders")
        await expect(page.locator("main h1")).to_have_text("Your role may not see this page.")


@pytest.mark.gen_test
async def test_both_languages_have_all_texts(console: Console, server: Server) -> None:
    pages = server.context.console_pages.items()
    modules = [f"/static/{one.prefix(name)}/texts.js" for name, each in pages for one in each]
    assert len(modules) >= 2
    async with console.page("/accounts", locale="zh-CN") as page:
        await expect(page.locator("main h1")).to_have_text("账号")
        faults = await page.evaluate(
            f"""async () => {{
                const faults = [];
                const blanks = (text) => (text.match(/\\{{\\w+\\}}/g) ?? []).sort().join();
                for (const name of {json.dumps(modules)}) {{
                    for (const [key, pair] of Object.entries((await import(name)).TEXTS)) {{
                        if (!pair[0] || !pair[1] || blanks(pair[0]) !== blanks(pair[1])) {{
                            faults.push(`${{name}} ${{key}}`);
                        }}
                    }}
                }}
                return faults;
            }}"""
        )
    assert faults == []


@pytest.mark.gen_test
async def test_files_of_a_page_are_served_and_no_others(server: Server) -> None:
    base = "/static/extensions/accounts/accounts"
    for path, status in (
        (f"{base}/accounts.js", 200),
        (f"{base}/../service.py", 404),
        (f"{base}/..%2fservice.py", 404),
        ("/static/extensions/accounts/service.py", 404),
    ):
        answer = await server.request("GET", path, bearer=None)
        assert answer.status == status, path


@pytest.mark.parametrize(
    "path", first_and_long("/accounts", "/accounts/shop", "/responders", "/responders/bot")
)
@pytest.mark.gen_test
async def test_nothing_stands_in_the_way_of_a_screen_reader(
    console: Console, axe: str, path: str
) -> None:
    async with console.page(path) as page:
        await expect(page.locator("main h1")).to_be_visible()
        await check_looks(page, axe)


@pytest.mark.gen_test
@pytest.mark.long
async def test_without_an_account_there_is_no_such_page(
    chromium: Browser, start_server: StartServer
) -> None:
    off = await start_server()
    async with Console(chromium, off).page("/accounts") as page:
        await expect(page.locator("main h1")).to_have_text("There is no such page")
