"""A real browser against a real server: ``client.js`` and the chat tester."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.support.browser_pages import (
    NEEDS_CHROMIUM,
    OPEN_CLIENT,
    hear,
    only_connection,
    page_of,
    program,
    url_of,
    use_ticket,
)
from tests.support.rst_blocks import block
from tests.support.waiting import PATIENCE_S
from tests.support.web_server import Server, StartServer, token
from wsserver.config.vapid import public_half, vapid_key
from wsserver.identity.claim_parser import parse_claims
from wsserver.protocol.close_codes import CloseCode

pytestmark = NEEDS_CHROMIUM


# The chat tester


@pytest.mark.parametrize("more", ["", pytest.param("&endpoint=monitor", marks=pytest.mark.long)])
@pytest.mark.gen_test
async def test_a_page_and_a_program_talk_in_one_session(
    chromium: Browser, server: Server, more: str
) -> None:
    async with page_of(chromium, server) as page, program(server, "s1") as socket:
        await use_ticket(page, server, more)
        assert page.url == f"{url_of(server)}/console/chat"  # the ticket is gone from the address
        await page.fill("#join-session", "s1")
        await page.press("#join-session", "Enter")
        await expect(page.locator("#people li")).to_have_count(2)
        assert (await hear(socket, "session_joined"))["user_id"] == "dev-admin"

        await socket.send('{"type": "typing", "session_id": "s1", "is_typing": true}')
        await expect(page.locator("#typing")).to_have_text("张三 is typing …")
        await page.keyboard.type("Hel")  # joining has put the focus into the message field
        typing = await hear(socket, "typing")
        assert (typing["user_id"], typing["is_typing"]) == ("dev-admin", True)

        await page.keyboard.type("lo")
        await page.keyboard.press("Enter")
        message = (await hear(socket, "new_message"))["message"]
        assert (message["content"], message["sender"]["user_id"]) == ("Hello", "dev-admin")
        answer = {"type": "send_message", "session_id": "s1", "content": "<b>你好</b>"}
        await socket.send(json.dumps(answer))
        await expect(page.locator("#messages li p")).to_have_text(["Hello", "<b>你好</b>"])
        await expect(page.locator("#typing")).to_have_text("")
        line = page.locator("#lines li", has_text="张三 in s1: <b>你好</b>")
        await expect(line).to_be_visible()
        if more:
            await expect(page.locator("#stats")).to_contain_text("Connections")
            await expect(page.locator("#lines")).to_contain_text("message_received")
            await server.post("/broadcast", type="price", data=7)
            line = page.locator("#lines li", has_text='"type":"price"')
            await expect(line).to_contain_text("message_published")
            await expect(line).to_contain_text('"class":"live"')


@pytest.mark.gen_test
@pytest.mark.long
async def test_the_chat_tester_keeps_count_of_a_users_connections(
    chromium: Browser, server: Server
) -> None:
    """Though nothing is pushed for the second one, nor when one of two ends."""
    async with page_of(chromium, server) as page, program(server, "s1"):
        await use_ticket(page, server)
        await page.fill("#join-session", "s1")
        await page.press("#join-session", "Enter")
        other = page.locator("#people li", has_text="张三")
        await expect(other).to_have_text("张三")
        async with program(server, "s1"):
            await expect(other).to_have_text("张三 ×2")
        await expect(other).to_have_text("张三")


@pytest.mark.gen_test
@pytest.mark.long
async def test_the_chat_tester_shows_notices_and_statistics(
    chromium: Browser, server: Server
) -> None:
    async with page_of(chromium, server) as page:
        await page.select_option("#endpoint", "monitor")
        await page.fill("#token", token("ops", "admin"))
        await page.press("#token", "Enter")
        await expect(page.locator("#stats")).to_contain_text("Connections")
        assert await page.input_value("#token") == ""
        await server.system.manager.send_to_user("ops", "announcement", data={"text": "at 22:00"})
        await expect(page.locator(".toast p")).to_have_text("at 22:00")
        await page.locator(".toast button").click()
        await expect(page.locator(".toast")).to_have_count(0)
        server.system.manager.emit("order.placed", total=42)
        await expect(page.locator("#lines")).to_contain_text('order.placed {"total":42}')


@pytest.mark.gen_test
async def test_the_inbox_shows_what_notifications_say(chromium: Browser, server: Server) -> None:
    async with page_of(chromium, server) as page:
        await use_ticket(page, server)
        what = {"title": "Backup", "message": "It is <b>done</b>.", "type": "info"}
        await server.post("/notify", user_ids=["dev-admin"], **what)
        await expect(page.locator("#inbox-messages p")).to_have_text("Backup\nIt is <b>done</b>.")


@pytest.mark.gen_test
async def test_who_is_signed_in_at_the_console_connects_without_a_token(
    chromium: Browser, server: Server
) -> None:
    async with page_of(chromium, server) as page:
        ticket, _ = server.system.tickets.issue(parse_claims({"sub": "dana", "exp": 4e9}))
        await page.goto(f"{url_of(server)}/console#ticket={ticket}")
        await page.get_by_role("link", name="Chat tester").click()
        await page.get_by_role("button", name="Connect as dana").click()
        await expect(page.locator("#who")).to_have_text("dana")


@pytest.mark.gen_test
@pytest.mark.long
async def test_the_chat_tester_speaks_chinese(chromium: Browser, server: Server) -> None:
    async with page_of(chromium, server, locale="zh-CN") as page:
        await expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
        await expect(page.locator("#state")).to_have_text("未连接")
        await expect(page.get_by_label("令牌")).to_be_visible()


@pytest.mark.gen_test
@pytest.mark.long
async def test_the_chat_tester_says_why_it_was_put_out(chromium: Browser, server: Server) -> None:
    async with page_of(chromium, server) as page:
        await use_ticket(page, server)
        connection = only_connection(server, "dev-admin")
        server.system.manager.close(connection, CloseCode.DISCONNECTED, "lunch")
        await expect(page.locator("#state")).to_have_attribute("data-state", "closed")
        await expect(page.locator(".toast p")).to_have_text("Connection closed: 4502 lunch")
        await expect(page.locator("#token")).to_be_focused()
        await page.fill("#token", token("ops", "admin"))
        await page.press("#token", "Enter")
        await expect(page.locator("#who")).to_have_text("ops")
        await expect(page.locator(".toast")).to_have_count(0)


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_ticket_in_the_address_lasts_for_further_connections(
    chromium: Browser, server: Server
) -> None:
    async with page_of(chromium, server) as page, program(server, "s1") as socket:
        await use_ticket(page, server)
        await page.fill("#join-session", "s1")
        await page.press("#join-session", "Enter")
        assert (await hear(socket, "session_joined"))["user_id"] == "dev-admin"
        connection = only_connection(server, "dev-admin")
        reason = "server restarts; reconnect_after_ms=1"
        server.system.manager.close(connection, CloseCode.RESTART, reason)
        await socket.send('{"type": "send_message", "session_id": "s1", "content": "missed?"}')
        await expect(page.locator("#messages li p")).to_have_text(["missed?"])
        await expect(page.locator("#state")).to_have_attribute("data-state", "open")
        assert only_connection(server, "dev-admin") is not connection


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_ticket_of_another_user_leaves_the_sign_in_alone_and_serves_once(
    chromium: Browser, server: Server
) -> None:
    async with page_of(chromium, server) as page:
        ticket, _ = server.system.tickets.issue(parse_claims({"sub": "dana", "exp": 4e9}))
        await page.goto(f"{url_of(server)}/console#ticket={ticket}")
        await expect(page.get_by_role("link", name="Chat tester")).to_be_visible()
        await use_ticket(page, server)
        await expect(page.locator("#who")).to_have_text("dev-admin")
        connection = only_connection(server, "dev-admin")
        reason = "server restarts; reconnect_after_ms=1"
        server.system.manager.close(connection, CloseCode.RESTART, reason)
        await expect(page.locator("#access")).to_be_visible()
        await expect(page.locator(".toast p")).to_contain_text("dev-admin is not signed in")
        await page.fill("#token", token("ops", "admin"))
        await page.press("#token", "Enter")
        await expect(page.locator("#who")).to_have_text("ops")


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_used_ticket_in_the_address_is_refused_in_words(
    chromium: Browser, server: Server
) -> None:
    async with page_of(chromium, server, requests_fail=True) as page:
        ticket, _ = server.system.tickets.issue(parse_claims({"sub": "dana", "exp": 4e9}))
        server.system.tickets.redeem(ticket)
        await page.goto("about:blank")
        await page.goto(f"{url_of(server)}/console/chat#ticket={ticket}")
        await expect(page.locator(".toast p")).to_contain_text("works only once")
        await expect(page.locator("#token")).to_be_visible()


@pytest.mark.gen_test
@pytest.mark.long
async def test_the_chat_tester_counts_down_to_the_next_try_and_says_why(
    chromium: Browser, server: Server
) -> None:
    async with page_of(chromium, server) as page:
        await page.fill("#token", token("ops", "admin"))
        await page.press("#token", "Enter")
        await expect(page.locator("#who")).to_have_text("ops")
        reason = "server restarts; reconnect_after_ms=60000"
        server.system.manager.close(only_connection(server, "ops"), CloseCode.RESTART, reason)
        await expect(page.locator("#state-text")).to_have_text(
            re.compile(r"^Reconnecting in \d\d s")
        )
        await expect(page.locator("#state")).to_have_attribute("title", f"1012 {reason}")
        await page.click("#disconnect")
        await expect(page.locator("#state")).to_have_attribute("data-state", "closed")
        await expect(page.locator("#access")).to_be_visible()
        # One that was put out by a newer connection waits for no time, but for that one's end.
        await page.fill("#token", token("ops", "admin"))
        await page.press("#token", "Enter")
        await expect(page.locator("#state")).to_have_attribute("data-state", "open")
        reason = "evicted: a newer connection of the user"
        connection = only_connection(server, "ops")
        server.system.manager.close(connection, CloseCode.CONNECTION_LIMIT, reason)
        await expect(page.locator("#state-text")).to_contain_text("another one has this place")
        await expect(page.locator("#lines")).to_contain_text(f"Connection closed: 4504 {reason}")


# client.js


@pytest.mark.gen_test
async def test_the_readmes_page_talks(chromium: Browser, server: Server) -> None:
    async with page_of(chromium, server) as page:
        lines: list[str] = []
        shown = asyncio.Event()

        def on_line(message: Any) -> None:
            lines.append(message.text)
            if message.text == "u1: Hello from the browser":
                shown.set()

        page.on("console", on_line)
        script = block("README.rst", "chat.js").text
        await page.route(
            "**/chat.js",
            lambda route: route.fulfill(body=script, content_type="text/javascript"),
        )
        bearer = token("u1", "user", sessions=["s1"])
        await page.route("**/my/token", lambda route: route.fulfill(body=bearer))
        await page.evaluate("import('/chat.js')")
        await asyncio.wait_for(shown.wait(), PATIENCE_S)
        assert lines[:2] == ["state: connecting", "state: open"]


@pytest.mark.gen_test
async def test_a_restart_brings_the_client_back_into_its_sessions(
    chromium: Browser, server: Server
) -> None:
    async with page_of(chromium, server) as page:
        tokens = [token("u1", "user", sessions=["s1"])] * 2
        await page.evaluate(OPEN_CLIENT, {"tokens": tokens, "session": "s1"})
        first = only_connection(server, "u1")
        server.system.manager.close(
            first, CloseCode.RESTART, "server restarts; reconnect_after_ms=20"
        )
        await page.evaluate("sight('ws:rejoined')")
        seen = await page.evaluate("seen")
        states = [detail["state"] for name, detail in seen if name == "ws:state"]
        assert states == ["connecting", "open", "waiting", "connecting", "open"]
        (closed,) = [detail for name, detail in seen if name == "ws:close"]
        assert (closed["code"], closed["willReconnect"], closed["delayMs"]) == (1012, True, 20)
        second = only_connection(server, "u1")
        assert second is not first
        assert list(second.sessions or ()) == ["s1"]


@pytest.mark.gen_test
async def test_a_client_disconnected_by_an_administrator_stays_away(
    chromium: Browser, server: Server
) -> None:
    async with page_of(chromium, server) as page:
        await page.evaluate(OPEN_CLIENT, {"tokens": [token("u1", "user")] * 2, "session": None})
        connection = only_connection(server, "u1")
        server.system.manager.close(connection, CloseCode.DISCONNECTED, "out")
        closed = await page.evaluate("sight('ws:close')")
        assert (closed["code"], closed["willReconnect"]) == (4502, False)
        failed = "client.command('ping').catch((error) => [error.code, error.temporary])"
        assert await page.evaluate(failed) == ["disconnected", True]
        assert len(server.system.manager.hub) == 0


@pytest.mark.gen_test
async def test_a_refused_client_learns_why(chromium: Browser, server: Server) -> None:
    async with page_of(chromium, server) as page:
        opened = page.evaluate(OPEN_CLIENT, {"tokens": ["a.b.c"], "session": None})
        with pytest.raises(Exception, match="WsError"):
            await opened
        closed = await page.evaluate("sight('ws:close')")
        assert (closed["code"], closed["willReconnect"]) == (4500, False)


@pytest.mark.gen_test
async def test_a_token_about_to_expire_is_renewed(chromium: Browser, server: Server) -> None:
    async with page_of(chromium, server) as page:
        now = server.context.clock.wall()
        tokens = [token("u1", "user", exp=now + 30), token("u1", "user", exp=now + 3000)]
        await page.evaluate(OPEN_CLIENT, {"tokens": tokens, "session": None})
        # The command after the refresh is answered after it.
        await page.evaluate("client.command('ping')")
        assert only_connection(server, "u1").claims.exp == pytest.approx(now + 3000, abs=1)
        assert [e for e in await page.evaluate("seen") if e[0] == "ws:error"] == []


@pytest.mark.gen_test
async def test_an_error_reply_rejects_with_its_code(chromium: Browser, server: Server) -> None:
    async with page_of(chromium, server) as page:
        await page.evaluate(OPEN_CLIENT, {"tokens": [token("u1", "user")], "session": None})
        refused = "client.join('s9').catch((error) => [error.name, error.code, error.temporary])"
        assert await page.evaluate(refused) == ["WsError", "forbidden", False]


SUBSCRIBE = """
    async () => {
        const { WsClient } = await import("/static/client.js");
        const client = new WsClient();
        const made = [];
        let current = null;
        const pushManager = {  // the browser's own asks a push service on the internet
            getSubscription: async () => current,
            subscribe: async (options) => {
                made.push([...options.applicationServerKey]);
                const number = made.length;
                current = {
                    options: { applicationServerKey: options.applicationServerKey.buffer },
                    toJSON: () => ({ endpoint: `https://push.example/${number}` }),
                    unsubscribe: async () => { current = null; },
                };
                return current;
            },
        };
        const endpoints = [];
        const subscribe = async () =>
            endpoints.push((await client.subscribeToPush({ pushManager }))?.endpoint ?? null);
        await subscribe();
        await subscribe();
        if (current) current.options.applicationServerKey = new ArrayBuffer(65);
        await subscribe();
        return { endpoints, made, key: [...(await client.pushKey()) ?? []] };
    }
"""


@pytest.mark.gen_test
async def test_a_browser_subscribes_to_pushes(chromium: Browser, start_server: StartServer) -> None:
    private = base64.urlsafe_b64encode(bytes(range(1, 33))).decode()
    server = await start_server(vapid_private_key=private, vapid_subject="mailto:ops@example.com")
    async with page_of(chromium, server) as page:
        shown = await page.evaluate(SUBSCRIBE)
    public = base64.urlsafe_b64decode(public_half(vapid_key(private)) + "=")
    assert bytes(shown["key"]) == public
    # Once, and again when the old one turns out to be of another key.
    assert [bytes(key) for key in shown["made"]] == [public, public]
    first, again, anew = (f"https://push.example/{number}" for number in (1, 1, 2))
    assert shown["endpoints"] == [first, again, anew]
    without = await start_server()
    async with page_of(chromium, without) as page:
        assert (await page.evaluate(SUBSCRIBE))["endpoints"] == [None, None, None]


@pytest.mark.gen_test
async def test_the_heartbeat_is_answered(chromium: Browser, start_server: StartServer) -> None:
    server = await start_server(heartbeat_interval_s=0.05, heartbeat_timeout_s=30)
    async with page_of(chromium, server) as page:
        await page.evaluate(OPEN_CLIENT, {"tokens": [token("u1", "user")], "session": None})
        await page.evaluate(
            "new Promise((resolve) => client.addEventListener('ping', resolve, {once: true}))"
        )
        await page.evaluate("client.command('ping')")  # comes after the pong
        assert only_connection(server, "u1").rtt_ms is not None


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_server_that_falls_silent_is_left(chromium: Browser, server: Server) -> None:
    async with page_of(chromium, server) as page:
        greeting = {"type": "connection_established", "user_id": "u1", "heartbeat_interval": 0.01}
        await page.route_web_socket("**/ws/chat", lambda ws: ws.send(json.dumps(greeting)))
        await page.evaluate(OPEN_CLIENT, {"tokens": ["t"] * 9, "session": None})
        closed = await page.evaluate("sight('ws:close')")
        assert (closed["code"], closed["willReconnect"]) == (4001, True)


@pytest.mark.gen_test
async def test_the_close_codes_that_allow_coming_back(chromium: Browser, server: Server) -> None:
    async with page_of(chromium, server) as page:
        allowed = await page.evaluate(
            """async (codes) => {
                const { mayReconnect } = await import("/static/client.js");
                return codes.filter(mayReconnect);
            }""",
            [1006, *(int(code) for code in CloseCode), 4499, 4500, 4999],
        )
    assert allowed == [1006, 1001, 1012, 1013, 4001, 4002, 4003, 4010, 4029, 4499]
