"""``client.js``: what can never be sent fails alone, what can be is sent in the end."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Browser

from tests.support.browser_pages import NEEDS_CHROMIUM, page_of
from tests.support.scripted_server import START, error, staged
from tests.support.web_server import Server, StartServer, token

pytestmark = NEEDS_CHROMIUM


@pytest.mark.gen_test
async def test_what_can_never_be_sent_is_refused_alone(
    chromium: Browser, start_server: StartServer
) -> None:
    server = await start_server(max_message_bytes=2000)
    async with page_of(chromium, server) as page:
        await page.evaluate(START, {"token": token("u1", "user", sessions="*")})
        await page.evaluate("until(() => client.state === 'open')")
        outcomes = await page.evaluate(
            """async () => {
                await client.join("s1");
                const loop = {};
                loop.loop = loop;
                const contents = [
                    "cut \\ud83d", "x".repeat(2000), "语".repeat(700), "\\u0001".repeat(400),
                    { n: 1n }, loop, undefined, "语".repeat(600), "last",
                ];
                const all = contents.map((content) => outcome(client.sendMessage("s1", content)));
                all.push(outcome(client.command("ping", { data: "x".repeat(2000) })));
                return Promise.all(all);
            }"""
        )
        assert await page.evaluate("[client.unsent, closes(), client.state]") == [0, [], "open"]
    assert outcomes == [
        "bad_unicode",
        *["message_too_big"] * 3,
        *["bad_content"] * 2,
        "bad_request",
        *["ack"] * 2,
        "message_too_big",
    ]


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_message_is_sent_as_it_was_and_again_after_temporary_errors(
    chromium: Browser,
    server: Server,
) -> None:
    async with staged(chromium, server) as (page, scripted):
        refusals = ["storage_unavailable", "rate_limited"]

        def refuse(_: Any) -> dict[str, Any]:
            if refusals:
                return error(refusals.pop(), temporary=True, retry_after_ms=5)
            return {"type": "ack"}

        scripted.replies["send_message"] = refuse
        sent = await page.evaluate(
            """() => {
                const content = { text: "as it was" };
                const sent = client.sendMessage("s1", content);
                content.text = "changed";
                return outcome(sent);
            }"""
        )
        assert sent == "ack"
        commands = scripted.of("send_message")
    assert [command["content"] for command in commands] == [{"text": "as it was"}] * 3
    assert len({command["client_message_id"] for command in commands}) == 1


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_message_that_breaks_every_connection_is_given_up(
    chromium: Browser, server: Server
) -> None:
    async with staged(chromium, server) as (page, scripted):
        broken = scripted.replies["send_message"]

        def break_off(command: dict[str, Any]) -> dict[str, Any] | None:
            if command["content"] != "poison":
                return broken(command)
            scripted.push(type="server_draining", reconnect_after_ms=0)
            server.context.tasks.spawn(scripted.close(4000), name="break")
            return None

        scripted.replies["send_message"] = break_off
        both = """Promise.all([outcome(client.sendMessage("s1", "poison")),
                               outcome(client.sendMessage("s1", "after it"))])"""
        assert await page.evaluate(both) == ["disconnected", "ack"]
        assert len(scripted.sockets) == 11


@pytest.mark.gen_test
@pytest.mark.long
async def test_one_bad_id_does_not_spoil_the_receipts_of_the_others(
    chromium: Browser, server: Server
) -> None:
    async with staged(chromium, server) as (page, scripted):
        scripted.replies["read"] = lambda command: (
            error("bad_request") if "bad id" in command["ids"] else {"type": "ack"}
        )
        await page.evaluate(
            """() => {
                client.markRead([...Array(9).keys()].map((n) => (n === 4 ? "bad id" : `m${n}`)));
                return until(() => seen.some(([name]) => name === "ws:error"));
            }"""
        )
        await page.evaluate("client.command('ping')")
        taken = [c["ids"] for c in scripted.of("read") if "bad id" not in c["ids"]]
        while sum(map(len, taken)) < 8:
            await page.evaluate("client.command('ping')")
            taken = [c["ids"] for c in scripted.of("read") if "bad id" not in c["ids"]]
    assert sorted(id for ids in taken for id in ids) == [f"m{n}" for n in range(9) if n != 4]
    assert len(scripted.of("read")) < 10


@pytest.mark.gen_test
async def test_what_one_user_has_written_is_not_said_by_another(
    chromium: Browser, server: Server
) -> None:
    async with staged(chromium, server) as (page, scripted):
        scripted.replies["send_message"] = lambda _: None
        await page.evaluate("window.sent = outcome(client.sendMessage('s1', 'mine')), 0")
        await scripted.command("send_message")
        assert scripted.greeting is not None
        scripted.greeting["user_id"] = "u2"
        await scripted.close(4000)
        assert await page.evaluate("sent") == "user_changed"
        await page.evaluate("client.command('ping')")
        assert len(scripted.of("send_message")) == 1


@pytest.mark.gen_test
@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.long), 20])
async def test_a_long_backlog_keeps_to_the_rate(
    chromium: Browser, start_server: StartServer, count: int
) -> None:
    """Written without a connection, then sent at once: the server must not close for rate."""
    server = await start_server(message_rate=200, message_burst=200)
    async with page_of(chromium, server) as page:
        await page.evaluate(START, {"token": token("u1", "user", sessions="*")})
        outcomes = await page.evaluate(
            """async (count) => {
                await until(() => client.state === "open");
                const names = Array.from({ length: count }, (_, n) => `s${n}`);
                await Promise.all(names.map((name) => client.join(name)));
                const all = Array.from({ length: 700 }, (_, n) =>
                    outcome(client.sendMessage(names[n % count], `${n}`)));
                return [...new Set(await Promise.all(all))];
            }""",
            count,
        )
        assert await page.evaluate("[client.unsent, closes()]") == [0, []]
    assert outcomes == ["ack"]
