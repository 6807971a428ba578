"""Kept messages in a real browser: what was missed comes in order and once, and is acknowledged."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, WebSocketRoute, expect

from tests.support.browser_pages import (
    NEEDS_CHROMIUM,
    hear,
    only_connection,
    page_of,
    program,
    use_ticket,
)
from tests.support.web_server import Server, StartServer, token
from wsserver.protocol.close_codes import CloseCode

pytestmark = NEEDS_CHROMIUM

# A client that gets no token, and so stays away, while the gate is closed. `said` holds what was
# handed on: the contents and data of kept messages.
OPEN = """
    async ({token, session = null, options = {}}) => {
        const { WsClient } = await import("/static/client.js");
        window.gate = { promise: Promise.resolve() };
        window.shut = () => (window.gate = Promise.withResolvers());
        window.said = [];
        window.gaps = [];
        const storage = options.stores ? sessionStorage : undefined;
        window.client = new WsClient({
            tokenProvider: async () => (await gate.promise, token),
            minDelayMs: 5, maxDelayMs: 20, receiptDelayMs: 5, storage, ...options,
        });
        const note = ({ detail }) => said.push(detail.message?.content ?? detail.data);
        client.addEventListener("new_message", note);
        client.addEventListener("hint", note);
        client.addEventListener("ws:gap",
            ({ detail: { stream, reason } }) => gaps.push([stream, reason]));
        window.happens = (name) => new Promise((resolve) =>
            client.addEventListener(name, ({ detail }) => resolve(detail), { once: true }));
        await client.connect();
        if (session) await client.join(session);
        return client.connection;
    }
"""


async def say(server: Server, content: str) -> dict[str, Any]:
    """Keep a message in the session s1; returns where."""
    answer = await server.post("/sessions/s1/messages", type="new_message", content=content)
    assert answer.status == 200, answer
    return dict(answer.json())


async def tell(server: Server, user_id: str, data: str) -> dict[str, Any]:
    """Keep a message for one user; returns where."""
    answer = await server.post(f"/users/{user_id}/messages", type="hint", data=data, keep=True)
    assert answer.status == 200, answer
    return dict(answer.json())


async def cut(page: Page, server: Server, user_id: str) -> None:
    """Take the connection away until ``gate.resolve()``."""
    lost = "shut(); window.lost = happens('ws:close'); undefined"
    await page.evaluate(lost)
    reason = "server restarts; reconnect_after_ms=1"
    server.system.manager.close(only_connection(server, user_id), CloseCode.RESTART, reason)
    await page.evaluate("window.lost")


async def hold_on(page: Page, condition: str) -> None:
    """Wait in the page; ``wait_for_function`` would need a policy that allows eval."""
    look = f"const look = () => {condition} ? resolve() : setTimeout(look, 5);"
    await page.evaluate(f"new Promise((resolve) => {{ {look} look(); }})")


@pytest.mark.gen_test
async def test_missed_messages_come_in_order_and_once_or_are_reported_lost(
    chromium: Browser,
    start_server: StartServer,
) -> None:
    server = await start_server(stream_limit=10)
    async with page_of(chromium, server) as page:
        who = {"token": token("u1", "user", sessions=["s1"]), "session": "s1"}
        await page.evaluate(OPEN, who)
        await say(server, "one")
        await hold_on(page, "said.length === 1")
        await cut(page, server, "u1")
        for content in ("two", "three"):
            await say(server, content)
        await server.post("/broadcast", type="hint", data="to all", keep=True)
        await tell(server, "u1", "to you")
        rejoined = "window.back = happens('ws:rejoined'); gate.resolve(); back"
        back = await page.evaluate(rejoined)
        assert (back["session_id"], back["recovered"], back["missed"]) == ("s1", True, 2)
        await say(server, "four")
        await hold_on(page, "said.includes('four') && said.length === 6")
        said = await page.evaluate("said")
        assert [each for each in said if " " not in each] == ["one", "two", "three", "four"]
        assert {"to all", "to you"} < set(said)
        assert await page.evaluate("gaps") == []
        offsets = await page.evaluate(
            "Object.entries(client.positions).map(([name, { offset }]) => [name, offset]).sort()"
        )
        assert offsets == [["broadcast", 1], ["session:s1", 4], ["user:u1", 1]]

        await cut(page, server, "u1")
        for number in range(12):
            await say(server, str(number))
        await page.evaluate(rejoined)
        ((stream, reason),) = await page.evaluate("gaps")
        assert (stream, reason in ("too_far_behind", "expired")) == ("session:s1", True)
        await say(server, "next")
        await hold_on(page, "said.length > 6")
        assert (await page.evaluate("said"))[6:] == ["next"]


@pytest.mark.gen_test
async def test_what_is_sent_in_an_outage_arrives_once(chromium: Browser, server: Server) -> None:
    async with page_of(chromium, server) as page:
        swallowed: list[str] = []

        def between(route: WebSocketRoute) -> None:
            """Forwards all but the first acknowledgement of a message: it breaks off there."""
            far = route.connect_to_server()

            async def back(text: str | bytes) -> None:
                if '"message_id"' in str(text) and '"ack"' in str(text) and not swallowed:
                    swallowed.append(str(text))
                    await route.close(code=1012, reason="reconnect_after_ms=1")
                    await far.close()
                else:
                    route.send(text)

            far.on_message(back)

        await page.route_web_socket("**/ws/chat", between)
        who = {"token": token("u1", "user", sessions=["s1"]), "session": "s1"}
        await page.evaluate(OPEN, who)
        acks = await page.evaluate(
            """async () => {
                const lost = happens("ws:close");
                const first = client.sendMessage("s1", "first");
                await lost;
                shut();
                const rest = ["second", "third"].map((text) => client.sendMessage("s1", text));
                const unsent = client.unsent;
                gate.resolve();
                return [unsent, ...(await Promise.all([first, ...rest])).map((ack) => ack.offset)];
            }"""
        )
        assert acks == [3, 1, 2, 3]
        assert json.loads(swallowed[0])["offset"] == 1
        page_of_three = await page.evaluate("client.history('s1')")
        contents = [each["message"]["content"] for each in page_of_three["messages"]]
        assert contents == ["first", "second", "third"]
        assert await page.evaluate("[said, client.unsent]") == [contents, 0]


@pytest.mark.gen_test
async def test_the_inbox_waits_for_its_user_and_is_acknowledged(
    chromium: Browser, server: Server
) -> None:
    async with (
        page_of(chromium, server) as page,
        program(server, "s1", sub="admin1", role="admin") as sender,
    ):
        kept = await tell(server, "bob", "your report")
        who = {"token": token("bob", "user")}
        greeting = await page.evaluate(OPEN, who)
        assert greeting["inbox"]["pending"] == 1
        await hold_on(page, "said.length === 1")
        while (update := await hear(sender, "message_status_update"))["status"] != "delivered":
            pass
        assert (update["message_id"], update["user_id"]) == (kept["message_id"], "bob")
        await page.evaluate("(id) => client.markRead(id)", kept["message_id"])
        assert (await hear(sender, "message_status_update"))["status"] == "read"
        await page.reload()
        assert (await page.evaluate(OPEN, who))["inbox"]["pending"] == 0
        # Switched off, it stays the page's own affair.
        await tell(server, "bob", "another")
        await hold_on(page, "said.length === 1")
        await page.reload()
        silent = {**who, "options": {"acknowledge": "none"}}
        await page.evaluate(OPEN, silent)
        await tell(server, "bob", "a third")
        await hold_on(page, "said.includes('a third')")
        await page.reload()
        assert (await page.evaluate(OPEN, silent))["inbox"]["pending"] >= 1


@pytest.mark.gen_test
@pytest.mark.long
async def test_what_an_organization_missed_comes_once_and_nothing_from_before(
    chromium: Browser,
    server: Server,
) -> None:
    async def announce(data: str, organization_id: str = "acme") -> None:
        body = {"type": "hint", "data": data, "keep": True, "organization_id": organization_id}
        assert (await server.post("/broadcast", **body)).status == 200

    async with page_of(chromium, server) as page:
        await announce("before")
        who = {
            "token": token("u1", "user", sessions=["s1"], organization_id="acme"),
            "session": "s1",
            "options": {"stores": True},
        }
        await page.evaluate(OPEN, who)
        await announce("one")
        await hold_on(page, "said.length === 1")
        await cut(page, server, "u1")
        await announce("two")
        await announce("others", "other")
        await page.evaluate("window.back = happens('ws:rejoined'); gate.resolve(); back")
        await announce("three")
        await hold_on(page, "said.length === 3")
        assert await page.evaluate("said") == ["one", "two", "three"]
        assert await page.evaluate("gaps") == []
        assert await page.evaluate("client.positions['organization:acme'].offset") == 4
        await page.reload()
        await announce("four")
        await page.evaluate(OPEN, who)
        await hold_on(page, "said.length === 1")
        assert await page.evaluate("said") == ["four"]


@pytest.mark.gen_test
@pytest.mark.long
async def test_history_comes_in_pages_and_positions_outlive_the_page(
    chromium: Browser, server: Server
) -> None:
    async with page_of(chromium, server) as page:
        who = {
            "token": token("u1", "user", sessions=["s1"]),
            "session": "s1",
            "options": {"stores": True},
        }
        await page.evaluate(OPEN, who)
        for content in ("one", "two", "three"):
            await say(server, content)
        await hold_on(page, "said.length === 3")
        pages = await page.evaluate(
            """async () => {
                const last = await client.history("s1", { limit: 2 });
                const before = last.messages[0].offset;
                const older = await client.history("s1", { limit: 2, before });
                return [last, older].map(({ messages, has_more }) =>
                    [messages.map(({ message }) => message.content), has_more]);
            }"""
        )
        assert pages == [[["two", "three"], True], [["one"], False]]
        await page.reload()
        await say(server, "four")
        await page.evaluate(OPEN, who)
        assert await page.evaluate("said") == ["four"]


@pytest.mark.gen_test
async def test_live_messages_that_overtake_the_answer_wait_for_what_was_missed(
    chromium: Browser,
    server: Server,
) -> None:
    def kept(stream: str, offset: int, **more: Any) -> dict[str, Any]:
        place = {"stream": stream, "epoch": "e1", "offset": offset}
        return {"type": "hint", "id": f"msg_{offset}", "data": [stream, offset], **place, **more}

    asked: list[dict[str, Any]] = []

    def far_side(route: WebSocketRoute) -> None:
        """A server that sends live messages before it answers, and some of them twice."""

        def send(**message: Any) -> None:
            route.send(json.dumps(message))

        async def on_message(text: str | bytes) -> None:
            command = json.loads(text)
            if command["type"] == "resume":
                asked.append(command["streams"])
                await answer_resume(command)
            elif command["type"] == "ack":
                asked.append(command["ids"])
                send(type="ack", ref=command["ref"], acknowledged=1)

        async def answer_resume(command: dict[str, Any]) -> None:
            if len(asked) == 1:
                broadcast = {"recovered": False, "reason": "epoch_changed", "messages": []}
                streams = {"broadcast": {**broadcast, "epoch": "e1", "offset": 7}}
                send(type="resumed", ref=command["ref"], streams=streams)
                send(**kept("user:u1", 1))
                await route.close(code=1012, reason="reconnect_after_ms=1")
                return
            send(**kept("broadcast", 10))
            send(**kept("user:u1", 1, redelivered=True))
            send(**kept("user:u1", 4))
            missed = {"recovered": True, "epoch": "e1"}
            inbox = [kept("user:u1", offset) for offset in (3, 4)]
            all_ = [kept("broadcast", offset) for offset in (8, 9, 10)]
            streams = {
                "broadcast": {**missed, "offset": 10, "messages": all_},
                "user:u1": {**missed, "offset": 4, "messages": inbox},
            }
            send(type="resumed", ref=command["ref"], streams=streams)
            send(**kept("broadcast", 10))
            send(**kept("user:u1", 2))  # waits still, and was not among what was missed
            send(**kept("user:u1", 2, redelivered=True))
            send(**kept("broadcast", 11))

        inbox = {"epoch": "e1", "offset": 2, "pending": 2}
        greeting = {"user_id": "u1", "heartbeat_interval": 30, "inbox": inbox}
        route.on_message(on_message)
        send(type="connection_established", **greeting)

    async with page_of(chromium, server) as page:
        await page.route_web_socket("**/ws/chat", far_side)
        await page.evaluate(OPEN, {"token": "t"})
        await hold_on(page, "said.some(([stream, offset]) => offset === 11)")
        said = await page.evaluate("said")
        assert [offset for stream, offset in said if stream == "user:u1"] == [1, 3, 4, 2]
        assert [offset for stream, offset in said if stream == "broadcast"] == [8, 9, 10, 11]
        resumed = [each for each in asked if isinstance(each, dict)]
        assert [streams["broadcast"]["offset"] for streams in resumed] == [0, 7]
        assert resumed[1]["user:u1"] == {"epoch": "e1", "offset": 2}


@pytest.mark.gen_test
@pytest.mark.long
async def test_the_console_shows_ticks_older_messages_and_what_waits(
    chromium: Browser, server: Server
) -> None:
    for number in range(60):
        await say(server, f"old {number}")
    await tell(server, "dev-admin", "while you were out")
    async with page_of(chromium, server) as page, program(server, "s1") as socket:
        await use_ticket(page, server)
        await expect(page.locator("#inbox")).to_contain_text("while you were out")
        await page.fill("#join-session", "s1")
        await page.press("#join-session", "Enter")
        lines = page.locator("#messages li")
        await expect(lines).to_have_count(50)
        await expect(lines.last).to_be_in_viewport(ratio=0.9)
        await page.click("#older")
        await expect(lines).to_have_count(60)
        await expect(page.locator("#older")).to_be_hidden()
        await expect(lines.first).to_contain_text("old 0")

        await page.fill("#draft", "Hello")
        await page.press("#draft", "Enter")
        mine = lines.last
        await expect(mine).to_contain_text("#61")
        await expect(mine).to_be_in_viewport(ratio=0.9)
        message_id = (await hear(socket, "new_message"))["id"]
        for command, ticks in (("ack", "delivered"), ("read", "read")):
            await socket.send(json.dumps({"type": command, "ids": [message_id]}))
            await expect(mine.locator(".ticks")).to_have_attribute("data-status", ticks)


@pytest.mark.gen_test
@pytest.mark.long
async def test_the_chat_tester_says_how_many_messages_wait_while_nothing_can_be_stored(
    chromium: Browser, server: Server, tmp_path: Path
) -> None:
    async with page_of(chromium, server) as page:
        await use_ticket(page, server)
        await page.fill("#join-session", "s1")
        await page.press("#join-session", "Enter")
        other = sqlite3.connect(tmp_path / "0" / "wsserver.sqlite3", isolation_level=None)
        with contextlib.closing(other):
            other.execute("BEGIN EXCLUSIVE")
            for text in ("one", "two"):
                await page.fill("#draft", text)
                await page.press("#draft", "Enter")
            await expect(page.locator("#unsent")).to_contain_text("waiting: 2")
            await expect(page.locator("#messages li")).to_have_count(0)
            other.execute("ROLLBACK")
        await expect(page.locator("#messages li p")).to_have_text(["one", "two"])
        await expect(page.locator("#unsent")).to_be_hidden()
