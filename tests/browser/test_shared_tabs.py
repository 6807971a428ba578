"""Tabs of one user share a connection; the one that has it may die at any moment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page

from tests.support.browser_pages import NEEDS_CHROMIUM, url_of
from tests.support.waiting import until
from tests.support.web_server import Server, StartServer, token
from wsserver.protocol.close_codes import CloseCode

pytestmark = NEEDS_CHROMIUM

OPEN_TAB = """
    async ({token, sessions, options}) => {
        const { WsClient } = await import("/static/client.js");
        window.seen = [];
        window.texts = [];
        window.client = new WsClient({ token, minDelayMs: 10, ...options });
        for (const name of ["state", "close", "gap", "lost", "error", "rejoined"]) {
            client.addEventListener(`ws:${name}`, ({ detail }) => seen.push([name, {
                ...detail, ...(detail.error ? { error: String(detail.error) } : {}),
            }]));
        }
        client.addEventListener("new_message", ({ detail }) => texts.push(detail.message.content));
        window.until = (test) => new Promise((resolve) => {
            const look = () => (test() ? resolve() : setTimeout(look, 5));
            look();
        });
        const connected = client.connect();
        connected.catch((error) => seen.push(["failed", error.code]));
        if (options?.wait === false) return;
        await connected;
        for (const id of sessions) await client.join(id);
    }
"""


@contextlib.asynccontextmanager
async def window(chromium: Browser) -> AsyncIterator[BrowserContext]:
    """A window of its own, whose tabs share nothing with those of other tests."""
    async with await chromium.new_context(locale="en-US") as context:
        yield context


async def tab(
    context: BrowserContext, server: Server, bearer: str, *sessions: str, **options: Any
) -> Page:
    page = await context.new_page()
    await page.goto(url_of(server) + "/console")
    given = {"token": bearer, "sessions": list(sessions), "options": options}
    await page.evaluate(OPEN_TAB, given)
    return page


def connections(server: Server, user_id: str = "u1") -> list[Any]:
    return list(server.system.manager.hub.of_user(user_id))


async def texts(page: Page, count: int) -> list[str]:
    """What a tab has been given, once it is so much, and a little later."""
    await page.evaluate("(count) => until(() => texts.length >= count)", count)
    await asyncio.sleep(0.1)
    found: list[str] = await page.evaluate("texts")
    return found


@pytest.mark.gen_test
async def test_seven_tabs_have_one_connection_and_each_its_own_sessions(
    chromium: Browser, server: Server
) -> None:
    bearer = token("u1", "user", sessions=["s1", "s2"])
    async with window(chromium) as context:
        pages = [await tab(context, server, bearer, "s1") for _ in range(6)]
        other = await tab(context, server, bearer, "s2")
        (connection,) = connections(server)
        await pages[3].evaluate("client.sendMessage('s1', 'one')")
        await other.evaluate("client.sendMessage('s2', 'two')")
        assert [await texts(page, 1) for page in pages] == [["one"]] * 6
        assert await texts(other, 1) == ["two"]
        # Each leaves for itself; the session is left with the last one.
        await pages[0].evaluate("client.leave('s1')")
        assert "s1" in connection.sessions
        for page in pages[1:]:
            await page.evaluate("client.leave('s1')")
        assert list(connection.sessions) == ["s2"]
        # A tab that is gone is in no session any more.
        await other.close()
        await until(lambda: not connection.sessions)
        assert connections(server) == [connection]


DENY = """
    const denied = () => { throw new DOMException("denied", "SecurityError"); };
    LockManager.prototype.request = LockManager.prototype.query = async () => denied();
    window.BroadcastChannel = class { constructor() { denied(); } };
"""
"""What a browser does to a page whose site data are blocked."""


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_tab_that_may_keep_nothing_has_a_connection_of_its_own(
    chromium: Browser, server: Server
) -> None:
    bearer = token("u1", "user", sessions=["s1"])
    async with window(chromium) as context:
        await context.add_init_script(DENY)
        pages = [await tab(context, server, bearer, "s1") for _ in range(2)]
        assert len(connections(server)) == 2
        await pages[0].evaluate("client.sendMessage('s1', 'one')")
        assert await texts(pages[1], 1) == ["one"]
        assert await pages[1].evaluate("seen.filter(([name]) => name !== 'state')") == []


@pytest.mark.parametrize(
    "how",
    [
        "closed",
        pytest.param("crashed", marks=pytest.mark.long),
        pytest.param("client closed", marks=pytest.mark.long),
    ],
)
@pytest.mark.gen_test
async def test_when_the_tab_with_the_connection_dies_nothing_is_lost_and_nothing_comes_twice(
    chromium: Browser, server: Server, how: str
) -> None:
    bearer = token("u1", "user", sessions=["s1"])
    async with window(chromium) as context:
        pages = [await tab(context, server, bearer, "s1") for _ in range(3)]
        writer = await tab(context, server, token("u2", "user", sessions=["s1"]), "s1")
        assert [len(connections(server, user)) for user in ("u1", "u2")] == [1, 1]
        (first,) = connections(server)
        sending = asyncio.ensure_future(
            writer.evaluate(
                """async () => {
                    for (let n = 0; n < 150; n++) {
                        await client.sendMessage("s1", `w${n}`);
                        await new Promise((resolve) => setTimeout(resolve, 10));
                    }
                }"""
            )
        )
        own = asyncio.ensure_future(
            pages[1].evaluate(
                """async () => {
                    for (let n = 0; n < 50; n++) {
                        await client.sendMessage("s1", `o${n}`);
                        await new Promise((resolve) => setTimeout(resolve, 20));
                    }
                }"""
            )
        )
        await pages[1].evaluate("until(() => texts.length >= 10)")  # in the midst of it
        if how == "closed":
            await pages[0].close()
        elif how == "crashed":
            session = await context.new_cdp_session(pages[0])
            asyncio.ensure_future(session.send("Page.crash")).add_done_callback(
                lambda done: done.exception()
            )
        else:
            await pages[0].evaluate("client.close()")
        # Long before the server would find out by its heartbeat.
        await until(lambda: any(c is not first and c.sessions for c in connections(server)))
        await sending
        await own
        for page in pages[1:]:
            got = await texts(page, 200)
            assert sorted(got) == sorted(
                [f"w{n}" for n in range(150)] + [f"o{n}" for n in range(50)]
            )
            assert [one for one in got if one[0] == "w"] == [f"w{n}" for n in range(150)]
            assert len(got) == 200
            names = [name for name, _ in await page.evaluate("seen")]
            assert not {"gap", "lost", "error"} & set(names)
        assert len(connections(server)) == 1


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_restart_of_the_server_brings_all_tabs_back_over_one_connection(
    chromium: Browser,
    server: Server,
) -> None:
    bearer = token("u1", "user", sessions=["s1"])
    async with window(chromium) as context:
        pages = [await tab(context, server, bearer, "s1") for _ in range(3)]
        back = """(times) => until(() =>
            client.state === "open" && seen.filter(([name]) => name === "close").length >= times)"""
        for times in (1, 2, 3):
            (connection,) = connections(server)
            server.system.manager.close(connection, CloseCode.RESTART, "reconnect_after_ms=20")
            for page in pages:
                await page.evaluate(back, times)
        assert len(connections(server)) == 1
        await pages[2].evaluate("client.sendMessage('s1', 'back')")
        assert [await texts(page, 1) for page in pages] == [["back"]] * 3


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_tab_that_hangs_with_the_connection_loses_it(
    chromium: Browser, server: Server
) -> None:
    bearer = token("u1", "user", sessions=["s1"])
    async with window(chromium) as context:
        # Pages of one site share a process and would hang together: here the channel is cut.
        first = await context.new_page()
        await first.goto(url_of(server) + "/console")
        await first.evaluate(
            """() => {
                const post = BroadcastChannel.prototype.postMessage;
                window.mute = false;
                BroadcastChannel.prototype.postMessage = function (message) {
                    if (!mute) post.call(this, message);
                };
            }"""
        )
        given = {"token": bearer, "sessions": ["s1"], "options": {}}
        await first.evaluate(OPEN_TAB, given)
        await first.evaluate(
            "mute = true, client.addEventListener('ws:close', () => (mute = false), { once: true })"
        )
        second = await tab(context, server, bearer, "s1")
        (connection,) = connections(server)
        await first.evaluate("until(() => client.state === 'open')")
        await first.evaluate("client.sendMessage('s1', 'again')")
        assert await texts(second, 1) == ["again"]
        assert connections(server) == [connection]


@pytest.mark.gen_test
async def test_tabs_of_two_users_and_of_other_rights_do_not_share(
    chromium: Browser, server: Server
) -> None:
    async with window(chromium) as context:
        await tab(context, server, token("u1", "user", sessions=["s1"]), "s1")
        await tab(context, server, token("u1", "user", sessions=["s1"], jti="other"), "s1")
        await tab(context, server, token("u1", "user", sessions=["s2"]), "s2")
        await tab(context, server, token("u2", "user", sessions=["s1"]), "s1")
        await tab(context, server, token("u1", "user", sessions=["s1"]), shareTabs=False)
        assert len(connections(server, "u1")) == 3
        assert len(connections(server, "u2")) == 1


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_new_tab_gets_what_waits_in_the_inbox_and_a_receipt_is_sent_once(
    chromium: Browser,
    server: Server,
) -> None:
    bearer = token("u1", "user")
    async with window(chromium) as context:
        first = await tab(context, server, bearer, acknowledge="none")
        second = await tab(context, server, bearer, acknowledge="none")
        answer = await server.request(
            "POST",
            "/api/v1/websocket/users/u1/messages",
            bearer=token("b", "service"),
            type="new_message",
            content="wake up",
            session_id="s1",
        )
        assert answer.status == 200
        message_id = answer.json()["message_id"]
        assert [await texts(page, 1) for page in (first, second)] == [["wake up"]] * 2
        third = await tab(context, server, bearer, acknowledge="none")
        assert await texts(third, 1) == ["wake up"]
        acks = [
            await page.evaluate("(id) => client.command('ack', { ids: [id] })", message_id)
            for page in (first, second)
        ]
        assert [ack["acknowledged"] for ack in acks] == [1, 0]
        fourth = await tab(context, server, bearer, acknowledge="none")
        await asyncio.sleep(0.2)
        assert await fourth.evaluate("texts") == []
        assert await fourth.evaluate("client.connection.inbox.offset") == 1


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_client_that_was_refused_gets_in_when_another_one_leaves(
    chromium: Browser,
    start_server: StartServer,
) -> None:
    server = await start_server(max_connections_per_user=1)
    bearer = token("u1", "user", sessions=["s1"])
    async with window(chromium) as context:
        first = await tab(context, server, bearer, shareTabs=False)
        second = await tab(context, server, bearer, shareTabs=False, wait=False)
        await second.evaluate("until(() => seen.some(([name]) => name === 'close'))")
        closed = next(each for name, each in await second.evaluate("seen") if name == "close")
        assert (closed["code"], closed["willReconnect"]) == (4504, True)
        await first.close()
        await second.evaluate("until(() => client.state === 'open')")


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_client_that_was_evicted_comes_back_when_there_is_room(
    chromium: Browser,
    start_server: StartServer,
) -> None:
    server = await start_server(max_connections_per_user=1, connection_limit_policy="evict_oldest")
    bearer = token("u1", "user", sessions=["s1"])
    async with window(chromium) as context:
        first = await tab(context, server, bearer, shareTabs=False)
        second = await tab(context, server, bearer, shareTabs=False)
        await first.evaluate("until(() => client.state === 'waiting')")
        await asyncio.sleep(0.5)
        assert await first.evaluate("client.state") == "waiting"
        await second.close()
        await first.evaluate("until(() => client.state === 'open')")
