"""``client.js`` on bad networks: providers, close codes, dead sockets; it recovers where it can."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser

from tests.support.browser_pages import NEEDS_CHROMIUM, OPEN_CLIENT, page_of, url_of
from tests.support.scripted_server import START, ScriptedServer, error, resumed, staged
from tests.support.web_server import Server, token
from wsserver.protocol.close_codes import CloseCode

pytestmark = NEEDS_CHROMIUM

STATIC = Path(__file__).parents[2] / "wsserver" / "static"
SECRET = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1MSJ9.c2lnbmF0dXJl"


# Credentials


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_provider_that_fails_is_asked_again_and_no_token_is_shown(
    chromium: Browser, server: Server
) -> None:
    async with page_of(chromium, server) as page:
        await page.evaluate(
            """async ({good, secret}) => {
                const { WsClient } = await import("/static/client.js");
                const tries = [
                    () => new Promise(() => {}),
                    () => { throw new Error(`cannot read ${secret}`); },
                    async () => JSON.parse(secret),
                    () => `<!DOCTYPE html><p>Sign in ${secret}`,
                    () => JSON.stringify({ token: secret }),
                    () => `Bearer ${secret}`,
                    () => ({ token: secret }),
                    () => undefined,
                    () => "  ",
                    () => ` ${good}\\n`,
                ];
                window.closes = [];
                window.client = new WsClient({
                    tokenProvider: () => tries.shift()(),
                    minDelayMs: 1, maxDelayMs: 2, connectTimeoutMs: 200,
                });
                client.addEventListener("ws:close", ({ detail }) => closes.push(detail));
                await client.connect();
            }""",
            {"good": token("u1", "user"), "secret": SECRET},
        )
        closes = await page.evaluate("closes")
        assert await page.evaluate("client.state") == "open"
    assert [each["willReconnect"] for each in closes] == [True] * 9
    shown = " ".join(each["reason"] for each in closes)
    assert "tokenProvider gave no answer within 200 ms" in closes[0]["reason"]
    assert "tokenProvider: a value of type undefined" in shown
    assert not any(part in shown for part in SECRET.split("."))


@pytest.mark.gen_test
@pytest.mark.long
async def test_an_old_token_of_a_provider_is_forgiven_but_not_for_ever(
    chromium: Browser, server: Server
) -> None:
    now = server.context.clock.wall()
    old = token("u1", "user", exp=now - 60)
    good = token("u1", "user")
    async with page_of(chromium, server) as page:
        tokens = [good, old, old, good, *[old] * 9]
        await page.evaluate(OPEN_CLIENT, {"tokens": tokens, "session": None})
        for _ in range(2):
            (connection,) = server.system.manager.hub.of_user("u1")
            server.system.manager.close(connection, CloseCode.RESTART, "reconnect_after_ms=1")
            await page.evaluate(
                """new Promise((resolve) => client.addEventListener("ws:close",
                    () => client.addEventListener("ws:state", ({ detail }) =>
                        ["open", "closed"].includes(detail.state) && resolve())))"""
            )
        closes = [each for name, each in await page.evaluate("seen") if name == "ws:close"]
        assert await page.evaluate("client.state") == "closed"
    codes = [(each["code"], each["willReconnect"]) for each in closes]
    assert codes == [
        (1012, True),
        *[(4500, True)] * 2,
        (1012, True),
        *[(4500, True)] * 5,
        (4500, False),
    ]


@pytest.mark.parametrize(
    "given",
    [
        f"x {SECRET}",
        *(pytest.param(each, marks=pytest.mark.long) for each in (f"{SECRET}\n{SECRET}", "", None)),
    ],
)
@pytest.mark.gen_test
async def test_an_invalid_fixed_token_ends_the_client_immediately(
    chromium: Browser, server: Server, given: str | None
) -> None:
    async with page_of(chromium, server) as page:
        failed = await page.evaluate(
            """async (token) => {
                const { WsClient } = await import("/static/client.js");
                const client = new WsClient({ token });
                const failed = await client.connect().catch((error) => error);
                return [failed.code, failed.message, client.state];
            }""",
            given,
        )
    assert (failed[0], failed[2]) == ("closed_4500", "closed")
    assert SECRET not in failed[1]


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_token_as_short_lived_as_the_last_one_does_not_go_round_and_round(
    chromium: Browser,
    server: Server,
) -> None:
    async with page_of(chromium, server) as page:
        scripted = ScriptedServer()
        await scripted.attend(page)
        await page.evaluate(START)
        await page.evaluate(
            """async () => {
                const { WsClient } = await import("/static/client.js");
                client.close();
                window.asked = 0;
                const tokenProvider = () => (asked += 1, "t");
                window.client = new WsClient({ tokenProvider });
                await client.connect();
            }"""
        )

        def warn(_: Any) -> dict[str, Any]:
            scripted.push(type="token_expiring")
            return {"type": "token_refreshed"}

        scripted.replies["refresh_token"] = warn
        scripted.push(type="token_expiring")
        await scripted.command("refresh_token")
        for _ in range(3):
            await page.evaluate("client.command('ping')")
        assert await page.evaluate("asked") == 2
        assert len(scripted.of("refresh_token")) == 1


# Close codes


@pytest.mark.gen_test
async def test_every_close_code_is_decided(chromium: Browser, server: Server) -> None:
    async with page_of(chromium, server) as page:
        allowed = await page.evaluate(
            """async () => {
                const { mayReconnect } = await import("/static/client.js");
                return [...Array(4001).keys()].map((n) => 1000 + n).filter(mayReconnect);
            }"""
        )
    assert allowed == [1001, 1005, 1006, 1012, 1013, 1014, 1015, *range(4000, 4500)]


@pytest.mark.gen_test
async def test_a_limit_is_no_end_and_an_evicted_client_waits_for_a_change(
    chromium: Browser,
    server: Server,
) -> None:
    async with staged(chromium, server) as (page, scripted):
        scripted.greeting = None
        for code in (1011, 4504):
            await scripted.close(code, "not now")
            while len(scripted.sockets) < len(await page.evaluate("closes()")) + 1:
                await asyncio.sleep(0.01)
        assert await page.evaluate("closes().map((each) => [each.code, each.willReconnect])") == [
            [1011, True],
            [4504, True],
        ]
        scripted.greeting = ScriptedServer().greeting
        await scripted.close(4504, "at most 5 connections a user")
        await page.evaluate("until(() => client.state === 'open')")
        await scripted.close(4504, "evicted by a newer connection")
        await page.evaluate("until(() => client.state === 'waiting')")
        assert (await page.evaluate("closes()"))[-1]["delayMs"] is None
        await page.evaluate("window.dispatchEvent(new Event('online'))")
        await page.evaluate("until(() => client.state === 'open')")


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_reason_is_cut_and_a_code_that_no_page_may_use_changes_nothing(
    chromium: Browser,
    server: Server,
) -> None:
    async with staged(chromium, server) as (page, scripted):
        bad = "try { client.close(1001) } catch (error) { error.name }"
        assert await page.evaluate(f"() => {{ {bad.replace('error.name', 'return error.name')} }}")
        assert await page.evaluate("client.state") == "open"
        await page.evaluate("client.close(4000, 'x' + '语'.repeat(50))")
        await page.evaluate("until(() => client.state === 'closed')")
        while not scripted.closes:
            await asyncio.sleep(0.01)
    assert scripted.closes == [(4000, "x" + "语" * 40)]


# The network


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_socket_that_only_looks_open_is_found_out_when_the_page_wakes(
    chromium: Browser,
    server: Server,
) -> None:
    async with staged(chromium, server) as (page, scripted):
        for count, event in enumerate(
            [
                "window.dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))",
                "document.dispatchEvent(new Event('visibilitychange'))",
                "document.dispatchEvent(new Event('resume'))",
                "window.dispatchEvent(new Event('online'))",
            ]
        ):
            await page.evaluate(event)
            await scripted.command("ping", 2 * count + 1)
            await page.evaluate("client.command('ping')")  # answered after the one of the client
        scripted.replies["ping"] = lambda _: None
        scripted.replies["send_message"] = lambda _: (
            None if len(scripted.sockets) == 1 else {"type": "ack"}
        )
        await page.evaluate(event)
        sent = "outcome(client.sendMessage('s1', 'after the change'))"
        assert await page.evaluate(sent) == "ack"
        assert [each["code"] for each in await page.evaluate("closes()")] == [4001]


@pytest.mark.gen_test
async def test_a_command_without_a_reply_has_the_connection_looked_at(
    chromium: Browser, server: Server
) -> None:
    async with staged(chromium, server, commandTimeoutMs=50) as (page, scripted):
        scripted.replies.pop("typing", None)
        assert await page.evaluate("outcome(client.typing('s1'))") == "timeout"
        await scripted.command("ping")
        assert await page.evaluate("outcome(client.command('ping'))") == "pong"
        assert await page.evaluate("closes()") == []


@pytest.mark.gen_test
async def test_a_wake_up_shortens_a_wait_but_not_one_that_the_server_asked_for(
    chromium: Browser,
    server: Server,
) -> None:
    online = "window.dispatchEvent(new Event('online'))"
    async with staged(chromium, server, minDelayMs=1e8, maxDelayMs=1e8) as (page, scripted):
        await scripted.close(4000)
        await page.evaluate("until(() => client.state === 'waiting')")
        await page.evaluate(online)
        await page.evaluate("until(() => client.state === 'open')")
        await scripted.close(1012, "server restarts; reconnect_after_ms=60000")
        await page.evaluate("until(() => client.state === 'waiting')")
        await page.evaluate(online)
        assert await page.evaluate("client.state") == "waiting"
        assert (await page.evaluate("closes()"))[-1]["delayMs"] == 60000


@pytest.mark.gen_test
async def test_what_is_no_push_is_reported_and_harms_nothing(
    chromium: Browser, server: Server
) -> None:
    async with staged(chromium, server) as (page, scripted):
        for text in ("<html>", "null", "[]", '{"type":1}', ""):
            scripted.sockets[-1].send(text)
        assert await page.evaluate("outcome(client.command('ping'))") == "pong"
        errors = [each for name, each in await page.evaluate("seen") if name == "ws:error"]
        assert [each["code"] for each in errors] == ["bad_push"] * 5


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_captive_portal_is_outwaited(chromium: Browser, server: Server) -> None:
    page_text = b"<html>Please sign in</html>"

    async def portal(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(page_text) + page_text)
        writer.close()

    listener = await asyncio.start_server(portal, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener, await chromium.new_context(bypass_csp=True) as context:
        page = await context.new_page()
        await page.goto(url_of(server) + "/console")
        await page.evaluate(START, {"url": f"http://127.0.0.1:{port}"})
        await page.evaluate("until(() => closes().length >= 3)")
        closes = await page.evaluate("closes().slice(0, 3)")
    assert [(each["code"], each["willReconnect"]) for each in closes] == [(1006, True)] * 3


# Sessions


@pytest.mark.gen_test
async def test_one_stream_that_the_server_will_not_resume_does_not_spoil_the_others(
    chromium: Browser,
    server: Server,
) -> None:
    async with staged(chromium, server) as (page, scripted):
        await page.evaluate("Promise.all(['s1', 's2', 's3', 's4'].map((id) => client.join(id)))")
        good = scripted.replies["resume"]
        scripted.replies["resume"] = lambda command: (
            error("session_limit") if "session:s2" in command["streams"] else good(command)
        )
        await scripted.close(4000)
        await page.evaluate("until(() => seen.some(([name]) => name === 'ws:lost'))")
        await page.evaluate(
            "until(() => seen.filter(([name]) => name === 'ws:rejoined').length === 3)"
        )
        assert await page.evaluate("client.sessions") == ["s1", "s3", "s4"]
        (lost,) = [each for name, each in await page.evaluate("seen") if name == "ws:lost"]
        assert (lost["session_id"], lost["code"]) == ("s2", "session_limit")


@pytest.mark.gen_test
async def test_a_session_that_is_left_while_it_is_joined_stays_left(
    chromium: Browser, server: Server
) -> None:
    async with staged(chromium, server) as (page, scripted):
        await page.evaluate("Promise.all([client.join('s1'), client.leave('s1')])")
        assert await page.evaluate("client.sessions") == []
        await page.evaluate("client.join('s2')")
        del scripted.replies["resume"]
        await scripted.close(4000)
        command = await scripted.command("resume", 2)
        assert sorted(command["streams"]) == ["broadcast", "session:s2"]
        left = asyncio.ensure_future(page.evaluate("outcome(client.leave('s2'))"))
        await scripted.command("leave_session", 2)
        scripted.push(ref=command["ref"], **resumed(command))
        assert await left == "session_left"
        assert await page.evaluate("client.sessions") == []
        seen = [name for name, _ in await page.evaluate("seen")]
        assert "ws:rejoined" not in seen
        scripted.greeting = None
        await scripted.close(4000)
        await page.evaluate("until(() => client.state === 'connecting')")
        assert await page.evaluate("outcome(client.leave('s2'))") == "session_left"


# A runtime without a WebSocket


NEEDS_NODE = pytest.mark.skipif(shutil.which("node") is None, reason="no node on PATH")


def in_node(folder: Path, script: str) -> Any:
    """What a module script leaves in ``shown``, run beside a copy of the client."""
    shutil.copytree(STATIC / "client", folder / "client")
    shutil.copy(STATIC / "client.js", folder)  # as someone does who copies it into an application
    (folder / "package.json").write_text('{"type": "module"}')
    script += "\nconsole.log(JSON.stringify(shown));"
    ran = subprocess.run(
        ["node", "--input-type=module", "-e", script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return json.loads(ran.stdout)


@NEEDS_NODE
def test_a_runtime_without_websocket_raises_a_clear_error(tmp_path: Path) -> None:
    code, message, state, made = in_node(
        tmp_path,
        """
        delete globalThis.WebSocket;
        const { WsClient } = await import("./client.js");
        const client = new WsClient({ url: "http://127.0.0.1:1", token: "t" });
        const failed = await client.connect().catch((error) => error);
        let made = null;
        class Made { constructor(url, protocols) { made = [url, protocols]; } close() {} }
        const other = new WsClient({ url: "http://127.0.0.1:1", token: "t", WebSocket: Made });
        other.connect().catch(() => {});
        await new Promise((resolve) => setTimeout(resolve));
        other.close();
        const shown = [failed.code, failed.message, client.state, made];
        """,
    )
    assert (code, state) == ("no_websocket", "closed")
    assert "no WebSocket" in message
    assert made == ["ws://127.0.0.1:1/ws/chat", ["wsserver.v1", "bearer.t"]]


@NEEDS_NODE
def test_a_machine_that_has_slept_asks_before_it_gives_a_connection_up(tmp_path: Path) -> None:
    shown = in_node(
        tmp_path,
        """
        let now = 0, wall = 1e12, tick = null, late = null;
        globalThis.performance = { now: () => now };
        Date.now = () => wall;
        globalThis.setInterval = (run) => ((tick = run), 1);
        globalThis.clearInterval = () => {};
        globalThis.setTimeout = (run) => ((late = run), 2);
        globalThis.clearTimeout = () => (late = null);
        const { Liveness } = await import("./client/liveness.js");
        const shown = [];
        let answer = null;
        const ask = () => (shown.push("asked"), new Promise((resolve) => (answer = resolve)));
        const liveness = new Liveness(ask, () => true, (reason) => shown.push(reason));
        const pass = (ms, wallMs = ms) => ((now += ms), (wall += wallMs), tick());
        liveness.start(40_000, true);
        pass(10_000);
        pass(8 * 3600_000);  // timers stood still: what came meanwhile may be unread
        await answer();
        await null;
        shown.push(late === null ? "answered" : "still waiting");
        liveness.heard();
        pass(10_000, 8 * 3600_000);  // the machine slept, and its clock of time spent awake with it
        late();
        for (let n = 0; n < 3; n++) pass(10_000);
        """,
    )
    assert shown == [
        "asked",
        "answered",
        "asked",
        "no answer to a ping",
        "nothing heard from the server",
    ]


@NEEDS_NODE
def test_the_waits_grow_and_end_and_start_from_what_the_server_says(tmp_path: Path) -> None:
    shown = in_node(
        tmp_path,
        """
        const { backoffMs, cutReason, hintOf } = await import("./client/closing.js");
        const { delayAfter } = await import("./client/errors.js");
        Math.random = () => 1;
        const limits = { minDelayMs: 500, maxDelayMs: 30_000 };
        const shown = {
            network: [0, 1, 6, 5000].map((attempt) => backoffMs(1006, attempt, limits)),
            busy: [0, 4].map((attempt) => backoffMs(1013, attempt, limits)),
            again: [0, 1, 5, 5000].map((attempt) => delayAfter({}, attempt)),
            shown: [7, 0, 1e9, -1, "x", null].map((ms) =>
                delayAfter({ details: { retry_after_ms: ms } })),
            hints: ["", "reconnect_after_ms=12", "reconnect_after_ms=999999999"].map(hintOf),
            cut: ["short", "é".repeat(62), "x" + "😀".repeat(31)].map((text) =>
                cutReason(text).length),
        };
        """,
    )
    assert shown == {
        "network": [500, 1000, 30000, 30000],
        "busy": [4000, 8000],
        "again": [1000, 2000, 30000, 30000],
        "shown": [7, 0, 600000, 1000, 1000, 1000],
        "hints": [None, 12, 600000],
        "cut": [5, 61, 61],
    }


@NEEDS_NODE
def test_a_message_that_never_gets_a_reply_does_not_hold_up_the_next(tmp_path: Path) -> None:
    shown = in_node(
        tmp_path,
        """
        const { Outbox } = await import("./client/outbox.js");
        const { WsError } = await import("./client/errors.js");
        globalThis.setTimeout = (run) => (queueMicrotask(run), 1);
        let tries = 0;
        const send = async ({ content }) => {
            if (content === "next") return "sent";
            tries += 1;
            throw new WsError({ code: "timeout", message: "no reply", temporary: true });
        };
        const outbox = new Outbox(send, () => true, JSON.stringify);
        const say = (content) =>
            outbox.add({ session_id: "s1", content }).catch((error) => error.code);
        const shown = [await Promise.all([say("lost"), say("next")]), tries, outbox.size];
        """,
    )
    assert shown == [["timeout", "sent"], 5, 0]
