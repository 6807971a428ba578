"""Sessions as conversations: who holds them, answers that grow, search."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.support.browser_pages import NEEDS_CHROMIUM
from tests.support.console_pages import HOSTILE, Console, check_looks, first_and_long
from tests.support.web_server import API, Server, token

pytestmark = NEEDS_CHROMIUM


async def change(server: Server, session_id: str, **fields: Any) -> None:
    path = f"{API}/sessions/{session_id}"
    answer = await server.request("PATCH", path, bearer=token(), **fields)
    assert answer.status == 200, answer


async def begin(server: Server, session_id: str, *texts: str) -> str:
    """An answer with these texts, which goes on growing."""
    started = await server.post(f"/sessions/{session_id}/answers", content="")
    message_id: str = started.json()["message_id"]
    for seq, text in enumerate(texts, 1):
        await server.post(f"/answers/{message_id}/append", seq=seq, text=text)
    return message_id


async def indexed(server: Server, query: str, count: int) -> None:
    """Wait until messages are found: they are indexed soon after they were published."""
    found: list[Any] = []
    while len(found) < count:
        answer = await server.get(f"/search?query={query}&limit=50")
        found = answer.json()["messages"]


def conversation(page: Page) -> Any:
    return page.locator(".panel", has=page.get_by_role("heading", name="Conversation"))


@pytest.mark.gen_test
@pytest.mark.long
async def test_sessions_that_want_a_human_are_found_and_stay_chosen(
    console: Console, server: Server
) -> None:
    await change(server, "w1", title=HOSTILE, state="pending")
    await change(server, "w2", state="pending")
    await server.post("/sessions/w2/holder", holder={"type": "ai", "id": "bot"})
    rows = ".data tbody tr"
    async with console.page("/sessions") as page:
        await expect(page.locator(rows)).to_have_text(["Nothing here."])
        await page.get_by_label("Connected now").select_option("pending")
        await expect(page.locator(rows)).to_have_count(2)
        await expect(page.locator(rows).first).to_contain_text(HOSTILE)
        await page.get_by_label("Held by anyone").select_option("ai")
        await expect(page.locator(rows)).to_have_count(1)
        await expect(page.locator(rows)).to_contain_text("AI bot")
        await page.get_by_role("link", name="w2").click()
        await expect(conversation(page)).to_be_visible()
        await page.go_back()
        await expect(page.locator(rows)).to_have_count(1)
        assert page.url.endswith("/sessions?state=pending&holder=ai")
    async with console.page("/sessions?holder=ai:bot") as page:
        await expect(page.locator(rows)).to_have_count(1)
        await expect(page.get_by_label("Held by anyone")).to_have_value("ai:bot")


@pytest.mark.gen_test
async def test_a_session_is_taken_over_released_and_edited(
    console: Console, server: Server
) -> None:
    await change(server, "c1", title=HOSTILE, metadata={"crm": HOSTILE})
    await server.post("/sessions/c1/holder", holder={"type": "ai", "id": "bot"})
    async with console.page("/sessions/c1") as page:
        await expect(conversation(page)).to_contain_text("AI bot")
        await expect(conversation(page)).to_contain_text(HOSTILE)
        await page.get_by_role("button", name="Take over").click()
        dialog = page.locator("dialog")
        await expect(dialog).to_contain_text("AI bot holds it now.")
        await dialog.get_by_role("button", name="Take over").click()
        await expect(page.locator("#toasts")).to_contain_text("You hold the session (term 2)")
        await expect(conversation(page).get_by_role("link", name="ops")).to_be_visible()
        await page.get_by_role("button", name="Release").click()
        await dialog.get_by_label("To (empty: nobody)").fill("anna")
        await dialog.get_by_role("button", name="Release").click()
        await expect(conversation(page).get_by_role("link", name="anna")).to_be_visible()
        await page.get_by_role("button", name="Edit", exact=True).click()
        await dialog.get_by_label("Title").fill("Acme")
        await dialog.get_by_label("State").select_option("closed")
        await dialog.get_by_role("button", name="Save").click()
        await expect(conversation(page)).to_contain_text("Acme")
        await expect(conversation(page)).to_contain_text("closed")


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_take_over_is_refused_if_somebody_was_quicker(
    console: Console, server: Server
) -> None:
    await change(server, "c2", title="t")
    async with console.page("/sessions/c2", requests_fail=True) as page:
        await expect(conversation(page)).to_contain_text("nobody")
        await page.get_by_role("button", name="Take over").click()
        await expect(page.locator("dialog")).to_contain_text("nobody holds it now.")
        await page.route("**/sessions/c2", lambda route: route.abort())  # it is not seen here yet
        await server.post("/sessions/c2/holder", holder={"type": "user", "id": "anna"})
        await page.locator("dialog").get_by_role("button", name="Take over").click()
        await expect(page.locator("dialog .problem")).to_contain_text("term")


@pytest.mark.gen_test
@pytest.mark.long
async def test_an_answer_grows_in_the_history_and_on_its_page(
    console: Console, server: Server
) -> None:
    message_id = await begin(server, "c3", "Hello", f" {HOSTILE}")
    async with console.page("/sessions/c3") as page:
        text = page.locator(".message-text")
        await expect(text).to_have_text(f"Hello {HOSTILE}")
        await server.post(f"/answers/{message_id}/append", seq=3, text=" and more")
        await expect(text).to_have_text(f"Hello {HOSTILE} and more")
        await page.get_by_role("link", name="growing").click()
        await expect(text).to_have_text(f"Hello {HOSTILE} and more")
        await server.post(f"/answers/{message_id}/append", seq=4, text="!")
        await expect(text).to_have_text(f"Hello {HOSTILE} and more!")
        await page.get_by_role("button", name="Cancel").click()
        dialog = page.locator("dialog")
        await expect(dialog).to_contain_text("It ends as cancelled after")
        await dialog.locator("button[type=submit]").click()
        await expect(page.locator(".heading .pill")).to_have_text("cancelled")
        await expect(page.get_by_role("button", name="Cancel")).to_be_disabled()


@pytest.mark.gen_test
async def test_a_user_s_conversations_have_what_is_unread(console: Console, server: Server) -> None:
    path = f"{API}/sessions/c4/members"
    await server.request("PUT", path, bearer=token(), user_ids=["mona"])
    await change(server, "c4", title="Invoices", state="pending")
    await server.post("/sessions/c4/messages", type="new_message", content="Please call")
    async with console.page("/users/mona") as page:
        row = page.get_by_role("row", name="Invoices")
        await expect(row).to_contain_text("a human is wanted")
        await expect(row).to_contain_text("Please call")
        await row.get_by_role("link", name="Invoices").click()
        members = page.locator(".panel", has=page.get_by_role("heading", name="Members"))
        await expect(members).to_contain_text("mona")


@pytest.mark.gen_test
async def test_messages_are_found_by_words_also_chinese_ones(
    console: Console, server: Server
) -> None:
    for text in ("请开发票，谢谢", f"invoice {HOSTILE}", "nothing"):
        await server.post("/sessions/c5/messages", type="new_message", content=text)
    await indexed(server, "nothing", 1)
    async with console.page("/search?query=发票") as page:
        results = page.locator(".results li")
        await expect(results).to_have_count(1)
        await expect(results.locator("mark")).to_have_text("发票")
        await page.get_by_label("Words that a message has").fill("INVOICE")
        await page.get_by_label("Only in this session").fill("c5")
        await page.keyboard.press("Enter")
        await expect(results.locator("mark")).to_have_text("invoice")
        await expect(results).to_contain_text(HOSTILE)
        assert page.url.endswith("/search?query=INVOICE&session=c5")
        await page.get_by_label("Words that a message has").fill("absent words")
        await page.keyboard.press("Enter")
        await expect(page.locator("main")).to_contain_text("Nothing found.")


@pytest.mark.gen_test
@pytest.mark.long
async def test_older_results_are_asked_for_again_after_a_failure(
    console: Console, server: Server
) -> None:
    for number in range(31):
        await server.post(
            "/sessions/c8/messages", type="new_message", content=f"parcel number {number}"
        )
    await indexed(server, "parcel", 31)
    async with console.page("/search?query=parcel", requests_fail=True) as page:
        await expect(page.locator(".results li")).to_have_count(30)
        older = page.get_by_role("button", name="Older results")
        await page.context.set_offline(True)
        await older.click()
        await expect(page.locator("main .problem")).not_to_be_empty()
        await page.context.set_offline(False)
        await older.click()
        await expect(page.locator(".results li")).to_have_count(31)
        await expect(page.locator("main .problem")).to_be_empty()
        await expect(older).to_have_count(0)


@pytest.mark.parametrize(
    "path", first_and_long("/sessions/c6", "/search?query=invoice", "/answers/ONE")
)
@pytest.mark.gen_test
async def test_nothing_stands_in_the_way_of_a_screen_reader(
    console: Console, server: Server, axe: str, path: str
) -> None:
    message_id = await begin(server, "c6", "an invoice")
    await change(server, "c6", title="Acme", metadata={"crm": 1})
    async with console.page(path.replace("ONE", message_id)) as page:
        await expect(page.locator(".message-text").first).to_be_visible()
        await check_looks(page, axe)
