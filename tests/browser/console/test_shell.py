"""The frame of the console: sign-in, navigation by role, restarts and cut networks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.browser_pages import NEEDS_CHROMIUM, faultless_page, only_connection, url_of
from tests.support.console_pages import HOSTILE, Console, accessibility_faults
from tests.support.web_server import Server, StartServer, token
from wsserver.identity.claim_parser import parse_claims

pytestmark = NEEDS_CHROMIUM


async def end_all_sign_ins(page: Page, server: Server) -> None:
    """As if they had expired; the page asks for something next."""
    sessions = server.context.console_sessions
    for digest in list(sessions._read):
        await sessions.store.delete(digest)
        sessions._read.pop(digest)
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


@pytest.mark.gen_test
async def test_a_ticket_signs_in_and_leaves_the_address(console: Console, server: Server) -> None:
    claims = parse_claims({"sub": "dana", "role": "admin", "exp": 4e9, "username": "Dana"})
    ticket, _ = server.system.tickets.issue(claims)
    async with faultless_page(console.chromium) as page:
        await page.goto(f"{url_of(server)}/console#ticket={ticket}")
        await expect(page.locator("#account summary")).to_have_text("Dana")
        assert page.url == f"{url_of(server)}/console"
        assert await page.evaluate("document.cookie") == ""
        await expect(page.locator("#feed")).to_have_text("Live")
        await page.reload()
        await expect(page.locator("#account summary")).to_have_text("Dana")


@pytest.mark.gen_test
@pytest.mark.long
async def test_the_live_feed_comes_although_its_module_could_not_be_loaded_at_first(
    console: Console,
) -> None:
    async with console.page("/audit", requests_fail=True) as page:
        await page.route("**/static/client.js", lambda route: route.abort(), times=1)
        await page.reload()
        await expect(page.locator("#feed")).to_have_text("Live")


@pytest.mark.gen_test
async def test_a_token_is_asked_for_until_one_is_accepted(console: Console, server: Server) -> None:
    async with faultless_page(console.chromium) as page:
        await page.goto(f"{url_of(server)}/console/trace")
        await expect(page.get_by_label("Token")).to_be_focused()
        for _ in range(3):
            await page.keyboard.press("Escape")
        # The browser has closed the dialog, and the page shows it again.
        await page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
        field = page.get_by_label("Token")
        await expect(field).to_be_focused()
        await field.fill(token("ops"))
        await field.press("Enter")
        await expect(page.locator("#account summary")).to_have_text("ops")
        assert page.url.endswith("/console/trace")


@pytest.mark.gen_test
@pytest.mark.long
async def test_signing_out_ends_it_in_every_tab(console: Console, server: Server) -> None:
    async with console.page() as page:
        await page.locator("#account summary").click()
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_label("Token")).to_be_visible()
        cookies = await page.context.cookies()
        assert cookies == []


MANAGER = (
    "Overview,Connections,Users,Sessions,Publish,Notify,Trace,Search,Chat tester,Tasks,Quotas,"
    "Doctor,REST API"
)


@pytest.mark.parametrize(
    ("bearer", "shown"),
    [
        (token("m1", "manager", organization_id="o1"), MANAGER),
        (token("u1", "user"), "Chat tester,REST API"),
        (token("a1", "admin", permissions=["audit:read"]), "Chat tester,Audit,REST API"),
    ],
)
@pytest.mark.gen_test
async def test_what_a_role_may_not_see_is_not_there(
    console: Console, bearer: str, shown: str
) -> None:
    async with console.page(bearer=bearer) as page:
        assert await page.locator("#nav a").all_text_contents() == shown.split(",")
        is_forbidden = "Overview" not in shown
        title = "Your role may not see this page." if is_forbidden else "Overview"
        await expect(page.locator("main h1")).to_have_text(title)


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_manager_without_an_organization_learns_what_to_do(
    console: Console, server: Server, axe: str
) -> None:
    async with console.page("/sessions", bearer=token("m2", "manager")) as page:
        await expect(page.locator("main h1")).to_have_text("Your token has no organization")
        assert await page.locator("#nav a").all_text_contents() == ["Chat tester", "REST API"]
        await expect(page.locator("main")).to_contain_text(
            "wsctl token create --user m2 --role manager --organization ORG"
        )
        assert await accessibility_faults(page, axe) == []
        bearer, path = token(), "/api/v1/websocket/users/m2/contacts"
        await server.request("PUT", path, bearer=bearer, organization_id="o1")
        await page.get_by_role("button", name="Try again").click()
        await expect(page.locator("main h1")).to_have_text("Sessions")
        assert await page.locator("#nav a").count() > 10


@pytest.mark.parametrize(
    ("locale", "texts"),
    [
        (
            "en",
            [
                "“global” is not a valid id",
                "organization:ID",
                "“a b” is not a valid id",
                "not here",
            ],
        ),
        pytest.param(
            "zh-CN",
            ["“global”不是有效的 ID", "organization:ID", "“a b”不是有效的 ID", "找不到"],
            marks=pytest.mark.long,
        ),
    ],
)
@pytest.mark.gen_test
async def test_an_address_with_a_bad_id_says_so_in_words(
    console: Console, locale: str, texts: list[str]
) -> None:
    bad_scope, scope_form, bad_user, absent = texts
    async with console.page("/quotas/global", locale=locale, requests_fail=True) as page:
        main = page.locator("main")
        await expect(main).to_contain_text(bad_scope)
        await expect(main).to_contain_text(scope_form)
        await console.open(page, "/users/a%20b")
        await expect(main).to_contain_text(bad_user)
        assert "[A-Z" not in await main.inner_text()
        await console.open(page, "/connections/conn_gone")
        await expect(main).to_contain_text(absent)
        await main.get_by_role("link").click()
        await expect(page.locator("#nav [aria-current]")).to_have_attribute(
            "href", "/console/connections"
        )


@pytest.mark.gen_test
@pytest.mark.long
async def test_the_chat_tester_leads_back(console: Console) -> None:
    async with console.page() as page:
        await page.get_by_role("link", name="Chat tester").click()
        await page.get_by_role("link", name="Console").click()
        await expect(page.locator("main h1")).to_have_text("Overview")


@pytest.mark.gen_test
async def test_a_hostile_name_stays_text(console: Console) -> None:
    async with console.page(bearer=token("eve", username=HOSTILE)) as page:
        await expect(page.locator("#account summary")).to_have_text(HOSTILE)


@pytest.mark.gen_test
@pytest.mark.long
async def test_an_unknown_page_is_none(console: Console) -> None:
    async with console.page("/nothing%20here/%E0%A4%A") as page:
        await expect(page.locator("main h1")).to_have_text("There is no such page")
        await page.get_by_role("link", name="Overview").click()
        await expect(page.locator("main h1")).to_have_text("Overview")
        await page.go_back()
        await expect(page.locator("main h1")).to_have_text("There is no such page")


@pytest.mark.gen_test
async def test_an_expired_sign_in_is_renewed_on_top_of_the_page(
    console: Console, server: Server
) -> None:
    async with faultless_page(console.chromium, requests_fail=True) as page:
        await console.sign_in(page, token("ops"))
        await console.open(page)
        await page.get_by_role("button", name="24 h").click()
        await end_all_sign_ins(page, server)
        await expect(page.locator(".sign-in .problem")).to_contain_text("Your sign-in has ended")
        await page.get_by_label("Token").fill(token("ops"))
        await page.keyboard.press("Enter")
        await expect(page.locator("dialog")).to_have_count(0)
        assert page.url.endswith("range=24h")
        await expect(page.get_by_role("button", name="24 h")).to_have_attribute(
            "aria-pressed", "true"
        )


@pytest.mark.gen_test
@pytest.mark.long
async def test_another_user_who_signs_in_gets_a_fresh_page(
    console: Console, server: Server
) -> None:
    async with faultless_page(console.chromium, requests_fail=True) as page:
        await console.sign_in(page, token("ops"))
        await console.open(page)
        await page.evaluate("window.isOld = true")
        await end_all_sign_ins(page, server)
        await page.get_by_label("Token").fill(token("other"))
        await page.keyboard.press("Enter")
        await expect(page.locator("#account summary")).to_have_text("other")
        assert await page.evaluate("window.isOld") is None


@pytest.mark.gen_test
async def test_a_restarted_server_is_found_again(
    chromium: Browser, start_server: StartServer, tmp_path: Path
) -> None:
    settings = {"database": tmp_path / "one.sqlite3", "data_dir": tmp_path}
    server = await start_server(**settings)
    console = Console(chromium, server)
    async with faultless_page(console.chromium, requests_fail=True) as page:
        await console.sign_in(page, token("ops"))
        await console.open(page)
        await expect(page.locator("#feed")).to_have_text("Live")
        await server.stop()
        await expect(page.locator("#feed")).to_have_text(re.compile("Reconnecting|Connecting"))
        await expect(page.locator("#toasts")).to_contain_text("does not answer")
        await start_server(**settings, port=server.port)
        await expect(page.locator("#feed")).to_have_text("Live")
        await expect(page.locator("#toasts")).to_be_empty()
        await expect(page.locator("dialog")).to_have_count(0)  # still signed in


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_cut_network_is_told_and_survived(console: Console, server: Server) -> None:
    async with faultless_page(console.chromium, requests_fail=True) as page:
        await console.sign_in(page, token("cut"))
        await console.open(page)
        await expect(page.locator("#feed")).to_have_text("Live")
        await page.context.set_offline(True)
        await page.wait_for_function("!navigator.onLine")  # not at once on a busy machine
        server.system.manager.close(only_connection(server, "cut"), 1012, "")
        await expect(page.locator("#toasts")).to_contain_text("does not answer")
        await page.context.set_offline(False)
        await expect(page.locator("#feed")).to_have_text("Live")
        await expect(page.locator("#toasts")).to_be_empty()


@pytest.mark.gen_test
@pytest.mark.long
async def test_on_a_phone_the_menu_opens_and_closes(console: Console) -> None:
    async with console.page(phone=True) as page:
        overview = page.get_by_role("link", name="Overview")
        await expect(overview).to_be_hidden()
        await page.get_by_role("button", name="Menu").click()
        await overview.click()
        await expect(overview).to_be_hidden()
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width == 390


@pytest.mark.gen_test
@pytest.mark.long
async def test_colours_and_language_can_be_chosen(console: Console) -> None:
    async with console.page(color_scheme="light", locale="zh-CN") as page:
        await expect(page.locator("main h1")).to_have_text("概览")
        background = "getComputedStyle(document.body).backgroundColor"
        before = await page.evaluate(background)
        await page.locator("#account summary").click()
        await page.get_by_label("配色").select_option("dark")
        assert await page.evaluate(background) != before
        await page.get_by_label("语言").select_option("en")
        await expect(page.locator("main h1")).to_have_text("Overview")
        assert await page.evaluate(background) != before


@pytest.mark.gen_test
@pytest.mark.long
async def test_an_updated_server_asks_for_a_reload(
    console: Console, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with console.page(bearer=token("upgrade")) as page:
        await expect(page.locator("#feed")).to_have_text("Live")
        monkeypatch.setattr("wsserver.web.resources.diagnostics.__version__", "9.9.9")
        server.system.manager.close(only_connection(server, "upgrade"), 1012, "")
        await expect(page.locator("#toasts")).to_contain_text("updated to 9.9.9")


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_ticket_opened_in_an_open_console_signs_in(
    console: Console, server: Server
) -> None:
    async with faultless_page(console.chromium) as page:
        await page.goto(f"{url_of(server)}/console")
        await expect(page.get_by_label("Token")).to_be_visible()
        ticket, _ = server.system.tickets.issue(parse_claims({"sub": "dana", "exp": 4e9}))
        await page.goto(f"{url_of(server)}/console#ticket={ticket}")  # only the fragment changes
        await expect(page.locator("#account summary")).to_have_text("dana")
