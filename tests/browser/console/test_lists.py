"""Connections, users and sessions: tables, detail pages, actions."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.support.browser_pages import NEEDS_CHROMIUM
from tests.support.console_pages import HOSTILE, Console, check_looks, first_and_long
from tests.support.web_server import API, Server, Socket, token

pytestmark = NEEDS_CHROMIUM


async def joined(server: Server, user_id: str, *sessions: str, **claims: Any) -> Socket:
    """A client in sessions."""
    socket = await server.connect(user_id, sessions=[*sessions], **claims)
    for session in sessions:
        socket.send(type="join_session", session_id=session)
        await socket.push("session_joined")
    return socket


def rows(page: Page) -> Any:
    return page.locator(".data tbody tr")


async def many(route: Route) -> None:
    """2,000 connections, in pages of 1,000."""
    start = (
        int(re.findall(r"cursor=(\d+)", route.request.url)[0])
        if "cursor" in route.request.url
        else 0
    )
    made = [
        {
            "connection_id": f"conn_{number:05}",
            "user_id": f"user-{number % 700}",
            "session_id": None,
            "sessions": [f"s{number}"],
            "connected_at": "2024-01-15T14:30:00.000Z",
            "last_ping": "2024-01-15T14:30:00.000Z",
            "last_pong": "2024-01-15T14:30:00.000Z",
            "is_alive": True,
            "metadata": {"username": HOSTILE, "role": "user", "organization_id": None},
            "remote_ip": "192.0.2.7",
            "user_agent": "okhttp/4",
            "endpoint": "chat",
            "protocol": "plain",
            "rtt_ms": number / 10,
            "queued_bytes": 2000 - number,
            "node": "test",
        }
        for number in range(start, start + 1000)
    ]
    cursor = str(start + 1000) if start < 1000 else None
    body = {"connections": made, "total": 2000, "next_cursor": cursor}
    await route.fulfill(body=json.dumps(body), content_type="application/json")


async def refuse(route: Route) -> None:
    body = json.dumps({"code": "internal_error", "detail": "out of order"})
    await route.fulfill(status=500, body=body, content_type="application/problem+json")


@pytest.mark.gen_test
async def test_connections_are_searched_sorted_and_turned_over(console: Console) -> None:
    async with console.page() as page:
        await page.route("**/websocket/connections?*", many)
        await console.open(page, "/connections")
        await expect(page.locator(".toolbar [role=status]")).to_have_text("1–50 of 2,000")
        assert await rows(page).count() == 50
        await page.get_by_role("button", name="Queued").click()
        await expect(rows(page).first).to_contain_text("conn_01999")
        await page.get_by_role("button", name="Queued").click()
        await expect(page.locator("[aria-sort=descending]")).to_have_text("Queued")
        await expect(rows(page).first).to_contain_text("conn_00000")
        await page.get_by_role("button", name="Next").click()
        await expect(rows(page).first).to_contain_text("conn_00050")
        await page.get_by_role("searchbox").fill("USER-77 s777")
        await expect(rows(page)).to_have_count(1)
        await expect(rows(page).first).to_contain_text(HOSTILE)
        assert page.url.endswith("/connections?sort=-queued&q=USER-77+s777")
        await page.reload()
        await expect(rows(page)).to_have_count(1)
        await page.get_by_role("searchbox").fill("nobody")
        await expect(rows(page)).to_have_text(["Nothing found."])


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_table_is_downloaded_as_it_is_shown(console: Console) -> None:
    async with console.page() as page:
        await page.route("**/websocket/connections?*", many)
        await console.open(page, "/connections?q=s199")
        await expect(rows(page)).to_have_count(11)
        async with page.expect_download() as started:
            await page.get_by_role("button", name="Download as CSV").click()
        path = await (await started.value).path()
        lines = path.read_text("utf-8-sig").splitlines()
        assert len(lines) == 12
        assert lines[0].startswith("User,State,Connection,Sessions")
        assert 'user-199 <img src=x onerror=""window.hacked=1"">' in lines[1]


@pytest.mark.gen_test
async def test_a_connection_is_looked_at_pinged_and_closed(
    console: Console, server: Server
) -> None:
    socket = await joined(server, "carl", "s1", username="Carl")
    connection = socket.greeting["connection_id"]
    async with console.page("/connections?q=carl", requests_fail=True) as page:
        await rows(page).get_by_role("link", name=connection).click()
        await expect(page.locator("main")).to_contain_text("wsserver.v1")
        assert page.url.endswith(f"/connections/{connection}")
        await page.get_by_role("button", name="Ping").click()
        socket.send(type="pong", id=(await socket.push("ping"))["id"])
        await expect(page.locator("dialog td")).to_contain_text("ms")
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Disconnect").click()
        dialog = page.locator("dialog")
        await expect(dialog.locator("li")).to_contain_text(connection)
        await dialog.get_by_role("button", name="Cancel").click()
        await page.get_by_role("button", name="Disconnect").click()
        await dialog.get_by_label("Reason").fill("go home")

        async def close_the_dialog(route: Route) -> None:
            await page.keyboard.press("Escape")
            await route.continue_()

        await page.route("**/users/disconnect", close_the_dialog)
        await dialog.get_by_role("button", name="Disconnect").click()
        assert await socket.closed() == (4502, "go home")
        await expect(page.locator("#toasts")).to_contain_text("1 closed")
        await expect(page.locator("main")).to_contain_text("This connection is closed.")
        await page.go_back()
        await expect(page.locator("main h1")).to_have_text("Connections")


@pytest.mark.gen_test
async def test_a_user_is_shown_offline_too_and_revoked(console: Console, server: Server) -> None:
    sockets = [await joined(server, "dora|1", "s1", username=HOSTILE) for _ in range(2)]
    async with console.page("/users", requests_fail=True) as page:
        await page.route("**/users/*/conversations*", refuse)
        await page.get_by_role("link", name="dora|1").click()
        talks = page.locator(".panel", has=page.get_by_role("heading", name="Conversations"))
        await expect(talks).to_contain_text("out of order")
        connections = page.get_by_role("region", name="Connections").locator("tbody tr")
        await expect(connections).to_have_count(2)
        await page.get_by_role("button", name="Revoke tokens").click()
        dialog = page.locator("dialog")
        await expect(dialog).to_contain_text("Connections that are closed (code 4505): 2")
        await dialog.get_by_role("button", name="Revoke tokens").click()
        for socket in sockets:
            assert (await socket.closed())[0] == 4505
        await expect(page.locator("main")).to_contain_text("offline")
        await expect(connections).to_have_text(["No open connections."])


@pytest.mark.gen_test
async def test_a_session_shows_members_and_history(console: Console, server: Server) -> None:
    socket = await joined(server, "emil", "s7", username="Emil")
    for text in ("first", HOSTILE):
        socket.send(type="send_message", session_id="s7", content=text)
        await socket.push("new_message")
    async with console.page("/sessions?q=s7") as page:
        await page.get_by_role("link", name="s7", exact=True).click()
        history = page.get_by_role("region", name="History")
        await expect(history.locator(".message-text")).to_have_text([HOSTILE, "first"])
        socket.send(type="send_message", session_id="s7", content="third")
        await expect(history.locator(".message-text")).to_have_text(["third", HOSTILE, "first"])
        await history.get_by_role("button", name="Receipts").first.click()
        await expect(history.locator("[role=status]")).to_contain_text("1 recipients: ")
        await page.get_by_role("button", name="Edit members").click()
        dialog = page.locator("dialog")
        await dialog.locator("textarea").fill("emil, frida\nfrida")
        await expect(dialog).to_contain_text("Added: emil, frida. Removed: none.")
        await dialog.get_by_role("button", name="Save").click()
        members = page.locator(".panel", has=page.get_by_role("heading", name="Members"))
        await expect(members.locator("li a")).to_have_text(["emil", "frida"])
        await members.get_by_role("link", name="emil").focus()
        body = json.dumps({"user_ids": ["emil", "frida", "gina"]}).encode()
        await server.request("PUT", f"{API}/sessions/s7/members", body, bearer=token())
        await page.evaluate("dispatchEvent(new Event('online'))")  # the page reads again
        await expect(members.locator("li a")).to_have_text(["emil", "frida", "gina"])
        await expect(members.get_by_role("link", name="emil")).to_be_focused()


@pytest.mark.gen_test
@pytest.mark.long
async def test_older_messages_come_on_demand(console: Console, server: Server) -> None:
    path = "/sessions/long/messages"
    for number in range(1, 61):
        await server.post(path, type="new_message", content=f"text {number}")
    async with console.page("/sessions/long", requests_fail=True) as page:
        history = page.locator(".message-text")
        await expect(history).to_have_count(50)
        await page.route("**/history?before=*", refuse, times=1)
        await page.get_by_role("button", name="Older messages").click()
        await expect(page.get_by_role("region", name="History")).to_contain_text("out of order")
        await page.get_by_role("button", name="Older messages").click()
        await expect(history).to_have_count(60)
        await expect(history.last).to_have_text("text 1")
        await expect(page.get_by_role("button", name="Older messages")).to_be_hidden()


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_manager_has_no_actions_and_sees_the_organization(
    console: Console, server: Server
) -> None:
    await joined(server, "mine", "s8", organization_id="o3")
    await joined(server, "theirs", "s9", organization_id="o4")
    bearer = token("m3", "manager", organization_id="o3")
    async with console.page("/connections", bearer=bearer, requests_fail=True) as page:
        await expect(rows(page)).to_have_count(1)
        await expect(rows(page)).to_contain_text("mine")
        await page.get_by_role("link", name="mine").click()
        await expect(page.get_by_role("button", name="Ping")).to_be_visible()
        for name in ("Disconnect", "Revoke tokens"):
            await expect(page.get_by_role("button", name=name)).to_have_count(0)
        await console.open(page, "/sessions/s9")
        await expect(page.locator("main")).to_contain_text("is not here")


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_long_message_is_cut(console: Console, server: Server) -> None:
    await server.post("/sessions/big/messages", type="new_message", content="x" * 64_000)
    await server.post("/sessions/big/messages", type="new_message", content={"a": HOSTILE})
    async with console.page("/sessions/big") as page:
        assert len(await page.locator(".message-text").inner_text()) == 2001
        await expect(page.locator(".json")).to_contain_text("window.hacked=1")


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_session_without_messages_says_so_in_place_of_a_table(
    console: Console, server: Server
) -> None:
    await joined(server, "early", "silent")
    async with console.page("/sessions/silent") as page:
        await expect(page.get_by_text("No kept messages.")).to_be_visible()
        await expect(page.get_by_role("columnheader", name="Content")).to_have_count(0)
        await server.post("/sessions/silent/messages", type="new_message", content="the first")
        await expect(rows(page)).to_contain_text("the first")
        await expect(page.get_by_text("No kept messages.")).to_have_count(0)


@pytest.mark.gen_test
@pytest.mark.long
async def test_on_a_phone_rows_are_cards_that_fit(console: Console, server: Server) -> None:
    await joined(server, "phone-user", "phone-session", username="A customer with a long name")
    async with console.page("/connections?q=phone-user", phone=True) as page:
        await expect(rows(page)).to_have_count(1)
        await expect(page.locator("thead button", has_text="Queued")).to_be_visible()
        card = rows(page).first
        assert await card.evaluate("row => getComputedStyle(row).display") == "flex"
        label = "cell => getComputedStyle(cell, '::before').content"
        assert await card.locator("[data-label=Address]").evaluate(label) == '"Address "'
        roles = page.get_by_role("table", name="").get_by_role("row")
        await expect(roles).to_have_count(2)  # still a table to screen readers
        for path in ("/connections", "/users", "/sessions", "/notifications", "/audit"):
            await console.open(page, path)
            await expect(rows(page).first).to_be_visible()
            fits = "view => view.scrollWidth <= view.clientWidth"
            assert await page.locator(".table-panel > .scroll").evaluate(fits), path


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_name_neither_hides_the_id_nor_turns_it_round(
    console: Console, server: Server
) -> None:
    await joined(server, "mallory", "named", username="\u202e" + "W" * 90)
    async with console.page("/users?q=mallory") as page:
        user = page.locator(".data a", has_text="mallory")
        await expect(user.locator("bdi")).to_contain_text("WWW")
        assert await user.evaluate("""(link) => {
            const inner = link.querySelector("small").getBoundingClientRect();
            return inner.width > 0 && inner.right <= link.getBoundingClientRect().right + 1;
        }""")


@pytest.mark.parametrize(
    "path", first_and_long("/connections", "/users", "/sessions", "/sessions/s7", "/users/emil")
)
@pytest.mark.gen_test
async def test_nothing_stands_in_the_way_of_a_screen_reader(
    console: Console, server: Server, axe: str, path: str
) -> None:
    await joined(server, "emil", "s7", username="Emil")
    await server.post("/sessions/s7/messages", type="new_message", content="hello")
    async with console.page(path) as page:
        await expect(rows(page).first).to_be_visible()
        await check_looks(page, axe)
