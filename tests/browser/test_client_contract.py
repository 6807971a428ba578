"""The server in memory of the client's package answers as the real one does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser

from tests.support.browser_pages import NEEDS_CHROMIUM
from tests.support.vue_pages import NEEDS_NPM, vue_page, vue_server
from tests.support.web_server import StartServer, token

pytestmark = [*NEEDS_CHROMIUM, NEEDS_NPM]

# Each scenario is the body of an async function with alice and bob, two clients in session s1;
# `note(name, value)` records what is compared, `pushes(client, type)` what a client was given.
ALWAYS = {"messages", "conversations", "reading", "faults"}
"""What every run compares; the others are long."""
SCENARIOS = {
    "messages": """
        const ack = await alice.sendMessage("s1", "one", { clientMessageId: "c1" });
        note("ack", ack);
        note("again", await alice.sendMessage("s1", "one", { clientMessageId: "c1" }));
        await alice.sendMessage("s1", { two: 2 }, { replyTo: ack.message_id, contentType: "json" });
        note("pushes", await pushes(bob, "new_message", 2));
        note("history", await bob.history("s1"));
        note("before", await bob.history("s1", { before: 2, limit: 1 }));
        note("other", await failure(alice.sendMessage("s1", "x", { replyTo: "msg_unknown" })));
        await alice.typing("s1");
        note("typing", await pushes(bob, "typing", 1));
        note("presence", await bob.presence("s1"));
        note("not joined", await failure(alice.typing("s2")));
        bob.markRead(ack.message_id);
        const read = (all) => all.some(({ status }) => status === "read");
        await seen(alice, "message_status_update", read);
    """,
    "stale": """
        await alice.sendMessage("s1", "one");
        await alice.sendMessage("s1", "two");
        note("stale", await failure(bob.sendMessage("s1", "late", { seenOffset: 1 })));
        note("sent", await bob.sendMessage("s1", "now", { seenOffset: 2 }));
        note("own", await bob.sendMessage("s1", "more", { seenOffset: 2 }));
    """,
    "changes": """
        const ids = [];
        for (const text of ["one", "two", "three"]) {
            ids.push((await alice.sendMessage("s1", text)).message_id);
        }
        note("edit", await alice.editMessage(ids[0], "ONE"));
        note("updated", await pushes(bob, "message_updated", 1));
        note("delete", await alice.deleteMessage(ids[1]));
        note("deleted", await pushes(bob, "message_deleted", 1));
        note("gone", await failure(alice.editMessage(ids[1], "x")));
        note("unknown", await failure(alice.deleteMessage("msg_unknown")));
        note("history", await bob.history("s1"));
        note("all", await bob.history("s1", { changes: true, after: 1, limit: 3 }));
        const since = { epoch: bob.positions["session:s1"].epoch, offset: 1 };
        note("resume", await bob.command("resume", { streams: { "session:s1": since } }));
        const join = { session_id: "s1", since };
        note("join", (await bob.command("join_session", join)).messages);
        note("with", (await bob.command("join_session", { ...join, changes: true })).messages);
    """,
    "holder": """
        note("taken", await alice.take("s1"));
        note("again", await alice.take("s1", 1));
        note("late", await failure(bob.take("s1", 0)));
        note("theirs", await failure(bob.release("s1")));
        note("no ai", await failure(alice.release("s1", "ai")));
        note("released", await alice.release("s1"));
        note("updated", await pushes(bob, "session_updated", 2));
    """,
    "reading": """
        for (const text of ["one", "two", "three"]) await alice.sendMessage("s1", text);
        note("before", await alice.presence("s1"));
        bob.markRead("s1", 1);
        bob.markRead("s1", 2);
        note("moved", await pushes(alice, "read_position", 1));
        note("back", await bob.command("mark_read", { session_id: "s1", offset: 1 }));
        note("beyond", await bob.command("mark_read", { session_id: "s1", offset: 99 }));
        note("all", await pushes(alice, "read_position", 2));
        note("own", await pushes(bob, "read_position", 2));
        note("after", await alice.presence("s1"));
    """,
    "conversations": """
        const total = (wanted) =>
            seen(bob, "unread_changed", (all) => all.at(-1)?.total === wanted);
        note("empty", await bob.conversations());
        await alice.join("s2");
        await bob.join("s2");
        await alice.sendMessage("s1", "one");
        const { message_id: two } = await alice.sendMessage("s2", "two");
        await total(2);
        await alice.sendMessage("s1", "three");
        note("list", await bob.conversations());
        const page = await bob.conversations({ limit: 1 });
        note("page", page);
        note("next", await bob.conversations({ limit: 1, cursor: page.next_cursor }));
        note("pending", await bob.conversations({ state: "pending" }));
        await total(3);
        bob.markRead("s1", 1);
        await total(2);
        await alice.deleteMessage(two);
        note("unread", (await total(1)).at(-1));
        note("deleted", (await bob.conversations()).conversations);
        await bob.sendMessage("s1", "four");
        await total(0);
        note("answered", await bob.conversations());
        note("sender", await alice.conversations());
    """,
    "notifications": """
        const told = (wanted) =>
            seen(bob, "notifications_changed", (all) => all.at(-1)?.unread === wanted);
        note("none", (await bob.notifications()).notifications);
        for (const title of ["one", "two", "three"]) {
            await notify("bob", title);
            await seen(bob, "notification", (all) => all.at(-1)?.notification.title === title);
        }
        await told(3);
        const page = await bob.notifications({ limit: 2 });
        note("page", page);
        note("next", await bob.notifications({ limit: 2, cursor: page.next_cursor }));
        const [three, two] = page.notifications.map(({ id }) => id);
        note("marked", await bob.markNotifications({ ids: [three, "unknown"], read: true }));
        note("push", (await told(2)).at(-1));
        note("again", await bob.markNotifications({ ids: [three], read: true }));
        note("up to", await bob.markNotifications({ upTo: two, read: true, archived: true }));
        await told(0);
        note("list", (await bob.notifications()).notifications.map(({ title }) => title));
        note("archived", (await bob.notifications({ archived: true })).total);
        note("back", await bob.markNotifications({ ids: [two], read: false, archived: false }));
        note("unread", (await bob.notifications({ unread: true })).total);
        bob.markRead(two);
        await told(0);
        note("what", (await failure(bob.markNotifications({ read: true }))).code);
        const chosen = { channels: { "*": { sms: false, push: true } }, daily_digest: null };
        const { channels } = await bob.preferences(chosen);
        note("chosen", channels);
        const { channels: merged } = await bob.preferences({ channels: { "*": { sms: null } } });
        note("merged", merged);
    """,
    "search": """
        await alice.sendMessage("s1", "What  does it cost?");
        await bob.sendMessage("s1", "请问什么时候可以退款？");
        await alice.sendMessage("s1", "It costs 12 euros,\\nas always");
        const all = async (query, options) => {
            for (;;) {
                const found = await alice.search(query, options);
                if (found.messages.length > 0) return found;
                await new Promise((resolve) => setTimeout(resolve, 50));
            }
        };
        note("chinese", await all("退款"));
        note("last", await all("euros"));
        note("words", await alice.search("it cost"));
        const first = await alice.search("cost", { sessionId: "s1", limit: 1 });
        note("first", first.messages);
        note("second", await alice.search("cost", { before: first.next_cursor, limit: 1 }));
        note("nothing", await alice.search("nothing like it", { sessionId: "s1" }));
    """,
    "faults": """
        note("type", await failure(alice.command("no_such")));
        note("pong", await alice.command("ping", { data: [1] }));
        note("left", await alice.leave("s1"));
        note("push", await pushes(bob, "session_left", 1));
    """,
}
RUN = """
    const seenBy = new Map();
    const noted = {};
    const note = (name, value) => (noted[name] = value);
    const failure = (promise) => promise.then(
        () => null, ({ code, temporary, details }) => ({ code, temporary, details }));
    const seen = async (client, type, test) => {
        while (!test(seenBy.get(client).filter((push) => push.type === type))) {
            await new Promise((resolve) => setTimeout(resolve, 5));
        }
        return seenBy.get(client).filter((push) => push.type === type);
    };
    const pushes = (client, type, count) => seen(client, type, (all) => all.length >= count);
    const enter = async (client) => {
        seenBy.set(client, []);
        client.addEventListener("ws:push", ({ detail }) => seenBy.get(client).push(detail));
        await client.connect();
        await client.join("s1");
        return client;
    };
    const [alice, bob] = [await enter(made.alice), await enter(made.bob)];
    await pushes(alice, "session_joined", 1);
    SCENARIO
    alice.close();
    bob.close();
    window.noted = noted;
"""
FAKE = """
    const { FakeServer } = await import("@wsserver/client/testing");
    const server = new FakeServer();
    const made = { alice: server.client("alice"), bob: server.client("bob") };
    const notify = (user, title) => server.notify(user, { title, message: "M" });
"""
REAL = """
    const { WsClient } = await import("@wsserver/client");
    const client = (token) => new WsClient({ url: URL, token, shareTabs: false });
    const [alice_, bob_] = TOKENS;
    const made = { alice: client(alice_), bob: client(bob_) };
    const notify = (user, title) => fetch(URL + `/api/v1/websocket/notify`, {
        method: "POST",
        headers: { Authorization: `Bearer ${alice_}`, "Content-Type": "application/json" },
        body: JSON.stringify({ user_ids: [user], title, message: "M" }),
    });
"""
_ID = re.compile(r"^(msg|conn|epoch|notify)_[0-9a-z]+$")
_RANDOM = re.compile(r"^[0-9a-f]{32}$")
_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")
_VARYING = {"ref", "username", "role", "message", "organization_id"}
"""Texts, and what a token says of its user; a message as an object is compared."""


@pytest.fixture(scope="module")
def package_url(tmp_path_factory: pytest.TempPathFactory, node_modules: Path) -> Iterator[str]:
    with vue_server(tmp_path_factory.mktemp("vue"), node_modules) as url:
        yield url


def alike(value: Any) -> Any:
    """Without what differs from server to server."""
    if isinstance(value, dict):
        return {
            key: alike(each) if key != "next_cursor" else each is not None
            for key, each in value.items()
            if key not in _VARYING or isinstance(each, dict | list)
        }
    if isinstance(value, list):
        return [alike(each) for each in value]
    if isinstance(value, str):
        return _RANDOM.sub("<random>", _TIME.sub("<time>", _ID.sub(r"<\1>", value)))
    return value


def differences(fake: Any, real: Any, path: str = "") -> Iterator[str]:
    """Where two values differ."""
    if isinstance(fake, dict) and isinstance(real, dict):
        for key in sorted(fake.keys() | real.keys()):
            yield from differences(fake.get(key, "—"), real.get(key, "—"), f"{path}.{key}")
    elif isinstance(fake, list) and isinstance(real, list) and len(fake) == len(real):
        for index, (one, other) in enumerate(zip(fake, real, strict=True)):
            yield from differences(one, other, f"{path}[{index}]")
    elif fake != real or type(fake) is not type(real):
        yield f"{path}: {fake!r} instead of {real!r}"


async def noted(chromium: Browser, page_url: str, made: str, scenario: str) -> dict[str, Any]:
    async with vue_page(chromium, page_url, made + RUN.replace("SCENARIO", scenario)) as page:
        found: dict[str, Any] = await page.evaluate("noted")
    return found


@pytest.mark.parametrize(
    "name",
    [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.long) for name in SCENARIOS],
)
@pytest.mark.gen_test(timeout=60)
async def test_both_servers_answer_alike(
    chromium: Browser, start_server: StartServer, package_url: str, name: str
) -> None:
    server = await start_server(allowed_origins=[package_url])
    tokens = [
        token("alice", "manager", organization_id="acme", sessions=["s1", "s2"]),
        token("bob", "manager", organization_id="acme", sessions=["s1", "s2"], permissions=[]),
    ]
    url = f"http://127.0.0.1:{server.port}"
    real = REAL.replace("URL", json.dumps(url)).replace("TOKENS", json.dumps(tokens))
    by_real = alike(await noted(chromium, package_url, real, SCENARIOS[name]))
    by_fake = alike(await noted(chromium, package_url, FAKE, SCENARIOS[name]))
    assert list(differences(by_fake, by_real)) == []
