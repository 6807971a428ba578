"""Publishing, notifying, tracing."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, Route, expect

from tests.support.browser_pages import NEEDS_CHROMIUM
from tests.support.console_pages import HOSTILE, Console, check_looks, first_and_long
from tests.support.web_server import Server, token

pytestmark = NEEDS_CHROMIUM


async def fill_message(page: Page, text: str) -> None:
    await page.get_by_label("Content", exact=True).fill(text)


@pytest.mark.gen_test
async def test_a_message_is_explained_sent_and_traced(console: Console, server: Server) -> None:
    socket = await server.connect("gina", sessions=["s1"], username="Gina")
    socket.send(type="join_session", session_id="s1")
    await socket.push("session_joined")
    async with console.page("/publish?target=session&id=s1") as page:
        await fill_message(page, HOSTILE)
        await page.get_by_role("button", name="Who would get it?").click()
        recipients = page.locator(".panel", has_text="Recipients")
        await expect(recipients).to_contain_text("Connections that get it: 1")
        await expect(recipients).to_contain_text("Kept in session:s1")
        await fill_message(page, "Hello")  # what was answered is gone with the change
        await expect(recipients).to_contain_text("nothing is sent by that")
        await page.get_by_role("button", name="Send …").click()
        dialog = page.locator("dialog")
        await expect(dialog).to_contain_text("Connections that get it: 1")
        await dialog.get_by_role("button", name="Send", exact=True).click()
        push = await socket.push("new_message")
        assert (push["message"]["content"], push["message"]["sender"]["user_id"]) == (
            "Hello",
            "system",
        )
        socket.send(type="ack", ids=[push["id"]])
        await page.get_by_role("link", name=push["id"]).click()
        await expect(page.locator("main")).to_contain_text("session:s1 #1")
        row = page.locator(".data tbody tr")
        await expect(row).to_contain_text("gina")
        await expect(row.locator(".story")).to_contain_text(re.compile(r"sent \+.*delivered \+"))
        assert page.url.endswith(f"/trace/{push['id']}")
        socket.send(type="read", ids=[push["id"]])
        await page.reload()
        await expect(row.locator(".story")).to_contain_text("read")


@pytest.mark.gen_test
async def test_a_custom_push_reaches_a_role_and_is_not_kept(
    console: Console, server: Server
) -> None:
    socket = await server.connect("hans", role="manager", organization_id="o1")
    async with console.page("/publish") as page:
        await page.get_by_label("a role", exact=True).check()
        await page.get_by_label("Role", exact=True).select_option("manager")
        await page.get_by_label("custom push").check()
        await page.get_by_label("Type").fill("order.shipped")
        await page.get_by_label("Data (JSON)").fill("{")
        await page.get_by_role("button", name="Send …").click()
        await expect(page.locator(".problem")).to_contain_text("Data (JSON): not valid JSON")
        await page.get_by_label("Data (JSON)").fill('{"n": 7}')
        await page.get_by_role("button", name="Send …").click()
        await page.locator("dialog").get_by_role("button", name="Send", exact=True).click()
        assert (await socket.push("order.shipped"))["data"] == {"n": 7}
        await expect(page.locator(".panel.success")).to_contain_text("Matched")


@pytest.mark.gen_test
@pytest.mark.long
async def test_every_fault_of_a_message_is_shown(console: Console, server: Server) -> None:
    async with console.page("/publish?target=user&id=u1", requests_fail=True) as page:
        await page.get_by_label("JSON", exact=True).check()
        await page.get_by_label("Body (JSON)").fill('{"type": "hint", "ttl_s": -1, "colour": 1}')
        await page.get_by_role("button", name="Who would get it?").click()
        await expect(page.locator(".problem")).to_contain_text("ttl_s:")
        await expect(page.locator(".problem")).to_contain_text("colour:")


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_lost_answer_sends_nothing_twice(console: Console, server: Server) -> None:
    socket = await server.connect("ida")
    async with console.page("/publish?target=user&id=ida", requests_fail=True) as page:
        await page.get_by_label("custom push").check()
        lost = iter([True])

        async def lose_once(route: object) -> None:
            if next(lost, False):
                await route.fetch()  # type: ignore[attr-defined]
                await route.abort()  # type: ignore[attr-defined]
            else:
                await route.continue_()  # type: ignore[attr-defined]

        await page.route("**/websocket/messages", lose_once)
        await page.get_by_role("button", name="Send …").click()
        send = page.locator("dialog").get_by_role("button", name="Send", exact=True)
        await send.click()
        await expect(page.locator("dialog .problem")).to_contain_text("Failed to fetch")
        await send.click()
        await expect(page.locator("dialog")).to_have_count(0)
        await server.post("/users/ida/messages", type="end")
        seen = [(await socket.push())["type"] for _ in range(2)]
        assert seen == ["announcement", "end"]


@pytest.mark.gen_test
async def test_a_notification_is_sent_from_a_text_and_from_a_template(
    console: Console, server: Server
) -> None:
    socket = await server.connect("jana")

    async def with_one_of_the_operator(route: Route) -> None:
        answer = await route.fetch()
        found = await answer.json()
        await route.fulfill(json={**found, "templates": [*found["templates"], "welcome"]})

    async with console.page() as page:
        await page.route("**/users/ops/preferences", with_one_of_the_operator)
        await console.open(page, "/notify?user=jana")
        options = page.get_by_label("Template").locator("option")
        await expect(options.last).to_have_text("welcome")
        await page.get_by_label("Title").fill(HOSTILE)
        await page.get_by_role("textbox", name="Message").fill("Read me")
        await page.get_by_label("WebSocket").check()
        await page.get_by_role("button", name="Send …").click()
        dialog = page.locator("dialog")
        await expect(dialog).to_contain_text(HOSTILE)
        await dialog.get_by_role("button", name="Send", exact=True).click()
        assert (await socket.push("notification"))["notification"]["title"] == HOSTILE
        await expect(page.locator(".panel.success")).to_contain_text("Deliveries: 1")
        await page.get_by_label("Template").select_option("feature_update")
        await page.get_by_label("Parameters (JSON)").fill('{"summary": "Faster"}')
        await page.get_by_role("button", name="Send …").click()
        await dialog.get_by_role("button", name="Send", exact=True).click()
        assert "Faster" in (await socket.push("notification"))["notification"]["message"]


@pytest.mark.gen_test
@pytest.mark.long
async def test_an_unknown_message_has_no_trace(console: Console) -> None:
    async with console.page("/trace", requests_fail=True) as page:
        await page.get_by_label("Message id").fill("msg_none")
        await page.keyboard.press("Enter")
        await expect(page.locator("main")).to_contain_text("No trace of msg_none")


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_manager_publishes_within_the_organization(
    console: Console, server: Server
) -> None:
    await server.connect("kurt", organization_id="o9")
    await server.connect("lena", organization_id="o8")
    bearer = token("m9", "manager", organization_id="o9")
    async with console.page("/publish?target=broadcast", bearer=bearer) as page:
        await page.get_by_label("custom push").check()
        await page.get_by_role("button", name="Who would get it?").click()
        shown = page.locator(".panel", has_text="Recipients")
        await expect(shown).to_contain_text("kurt")
        await expect(page.locator("main")).to_contain_text("Only your organization gets it.")
        await expect(shown.locator("tbody tr", has_text="lena")).to_have_count(0)


@pytest.mark.parametrize("path", first_and_long("/publish", "/notify", "/trace", "/trace/ONE"))
@pytest.mark.gen_test
async def test_nothing_stands_in_the_way_of_a_screen_reader(
    console: Console, server: Server, axe: str, path: str
) -> None:
    await server.connect("gina")
    sent = await server.post("/users/gina/messages", type="hint", data=1)
    path = path.replace("ONE", sent.json()["message_id"])
    async with console.page(path) as page:
        await check_looks(page, axe)
