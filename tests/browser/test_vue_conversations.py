"""The list of conversations and the holder of a session in a real browser."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.browser_pages import NEEDS_CHROMIUM
from tests.support.vue_pages import NEEDS_NPM, accessibility_faults, vue_page, vue_server

pytestmark = [*NEEDS_CHROMIUM, NEEDS_NPM]

DESK = """
    const { FakeServer } = await import("@wsserver/client/testing");
    const { createApp, h, ref } = await import("vue");
    const vue = await import("@wsserver/client/vue");
    let clock = Date.parse("2026-03-02T08:00:00Z");
    window.server = new FakeServer({ now: () => new Date(clock += 60_000) });
    window.wang = server.client("wang");
    window.say = (session, content, from = "customer") =>
        server.say(session, content, { from, username: from });
    window.until = async (test) => {
        while (!test()) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    const before = server.client("wang");
    await before.connect();
    for (let n = 1; n <= SESSIONS; n++) {
        await before.join(`s${n}`);
        say(`s${n}`, `Question ${n}`, `customer${n}`);
    }
    before.close();
    window.chosen = ref(null);
    createApp({
        setup() {
            vue.useWsClient(wang);
            const session = vue.useSession(chosen);
            window.unread = vue.useUnread();
            window.conversations = vue.useConversations();
            return () => [
                h("h1", { class: "ws" }, `Unread: ${unread.value}`),
                h(vue.WsConversationList, {
                    modelValue: chosen.value,
                    "onUpdate:modelValue": (id) => (chosen.value = id),
                }),
                chosen.value ? h(vue.WsHolder, { sessionId: chosen.value }) : null,
                h(vue.WsMessageList, { session }),
            ];
        },
    }).mount("#app");
    await until(() => conversations.conversations.value.length > 0 || SESSIONS === 0);
"""
STYLE = """#app { display: flex; flex-direction: column; height: 100vh; }
.ws-conversations { height: 300px; flex: none; } .ws-messages { flex: 1; }
h1 { font-size: 16px; margin: 4px; }"""


@pytest.fixture(scope="module")
def vue_url(tmp_path_factory: pytest.TempPathFactory, node_modules: Path) -> Iterator[str]:
    with vue_server(tmp_path_factory.mktemp("vue"), node_modules, STYLE) as url:
        yield url


@contextlib.asynccontextmanager
async def desk(
    chromium: Browser, url: str, *, sessions: int = 3, **options: Any
) -> AsyncIterator[Page]:
    """The page of wang, who is in so many sessions, each with an unread message."""
    script = DESK.replace("SESSIONS", str(sessions))
    options = {"viewport": {"width": 420, "height": 700}, **options}
    async with vue_page(chromium, url, script, **options) as page:
        yield page


def titles(page: Page) -> Any:
    return page.locator(".ws-conversation .ws-title")


@pytest.mark.gen_test
async def test_conversations_are_listed_by_activity_with_what_is_unread(
    chromium: Browser, vue_url: str
) -> None:
    async with desk(chromium, vue_url) as page:
        await expect(titles(page)).to_have_text(["customer3", "customer2", "customer1"])
        await expect(page.locator("h1")).to_have_text("Unread: 3")
        first = page.locator(".ws-conversation").first
        await expect(first).to_contain_text("customer3: Question 3")
        # A message in a session that was not joined, and the title of one.
        await page.evaluate("say('s1', 'Are you there?')")
        await expect(titles(page).first).to_have_text("customer")
        await expect(first.locator(".ws-badge")).to_contain_text("2")
        await page.evaluate("server.update('s1', { title: '张三', state: 'pending' })")
        await expect(titles(page).first).to_have_text("张三")
        await expect(first.locator(".ws-state")).to_have_text("Waiting")
        # What is opened is read.
        await first.click()
        await expect(first).to_have_attribute("aria-current", "true")
        await expect(page.locator(".ws-message")).to_have_count(2)
        await expect(first.locator(".ws-badge")).to_have_count(0)
        await expect(page.locator("h1")).to_have_text("Unread: 2")
        await page.evaluate("server.remove(say('s1', 'oops').id)")
        await expect(first).to_contain_text("Message deleted")
        # A session of which there was nothing.
        await page.evaluate(
            """async () => {
                const other = server.client("wang");
                await other.connect();
                await other.join("new");
                say("new", "Hello", "zoe");
                other.close();
            }"""
        )
        await expect(titles(page).first).to_have_text("zoe")
        await expect(titles(page)).to_have_count(4)


@pytest.mark.gen_test
@pytest.mark.long
async def test_the_arrow_keys_go_through_the_list_and_the_rest_is_loaded_on_the_way(
    chromium: Browser,
    vue_url: str,
) -> None:
    async with desk(chromium, vue_url, sessions=120) as page:
        await expect(titles(page)).to_have_count(50)
        await page.locator(".ws-conversation").first.focus()
        await page.keyboard.press("ArrowDown")
        focused = page.locator(".ws-conversation:focus")
        await expect(focused).to_contain_text("Question 119")
        await page.keyboard.press("End")
        await expect(titles(page)).to_have_count(100)
        await page.get_by_role("button", name="Show more").click()
        await expect(titles(page)).to_have_count(120)
        await expect(page.get_by_role("button", name="Show more")).to_have_count(0)
        await page.locator(".ws-conversation").first.focus()
        await page.keyboard.press("Enter")
        await expect(page.locator(".ws-message")).to_contain_text("Question 120")


@pytest.mark.gen_test
@pytest.mark.long
async def test_the_list_is_right_again_after_the_network_was_away(
    chromium: Browser, vue_url: str
) -> None:
    async with desk(chromium, vue_url) as page:
        await expect(titles(page)).to_have_count(3)
        await page.evaluate(
            "server.stop(); say('s1', 'meanwhile'); server.hold('s2', { type: 'ai', id: 'bot' })"
        )
        await page.evaluate("server.start()")
        await expect(page.locator(".ws-conversation").first).to_contain_text("meanwhile")
        await page.locator(".ws-conversation", has_text="customer2").click()
        await expect(page.locator(".ws-holder")).to_contain_text("The AI answers (bot)")


@pytest.mark.gen_test
async def test_a_session_is_taken_over_and_given_back(chromium: Browser, vue_url: str) -> None:
    async with desk(chromium, vue_url) as page:
        await page.evaluate("server.hold('s1', { type: 'ai', id: 'fastgpt' })")
        await page.locator(".ws-conversation", has_text="customer1").click()
        holder = page.locator(".ws-holder")
        await expect(holder).to_contain_text("The AI answers (fastgpt)")
        await holder.get_by_role("button", name="Take over").click()
        await expect(holder).to_contain_text("You answer")
        await holder.get_by_role("button", name="Back to the AI").click()
        await expect(holder).to_contain_text("The AI answers (fastgpt)")
        # Somebody else is faster, just before this page has heard of it.
        await page.evaluate("server.refuse('take', 'term_changed', { term: 4 })")
        await holder.get_by_role("button", name="Take over").click()
        await expect(holder).to_contain_text("Somebody was faster")
        await page.evaluate("server.hold('s1', { type: 'user', id: 'li' })")
        await expect(holder).to_contain_text("li answers")
        await page.evaluate("server.answer('take', null)")
        await holder.get_by_role("button", name="Take over").click()
        await holder.get_by_role("button", name="Release").click()
        await expect(holder).to_contain_text("Nobody answers")
        await page.evaluate("server.update('s1', { state: 'pending' })")
        await expect(holder).to_contain_text("Somebody is wanted")


@pytest.mark.parametrize(
    "options",
    [
        {"locale": "zh-CN"},
        *(pytest.param(each, marks=pytest.mark.long) for each in ({}, {"color_scheme": "dark"})),
    ],
    ids=["chinese", "light", "dark"],
)
@pytest.mark.gen_test
async def test_axe_finds_nothing(chromium: Browser, vue_url: str, options: dict[str, Any]) -> None:
    async with desk(chromium, vue_url, **options) as page:
        if options.get("locale"):
            await page.evaluate(
                "document.documentElement.lang = 'zh-CN', document.documentElement.dir = 'rtl'"
            )
        evil = '<img src=x onerror="window.ran = 1">'
        await page.evaluate(
            """(evil) => {
                server.update("s2", { title: evil, state: "pending" });
                say("s2", evil, evil);
            }""",
            evil,
        )
        await page.evaluate("server.update('s1', { state: 'closed' })")
        await page.locator(".ws-conversation", has_text="customer3").click()
        await expect(page.locator(".ws-holder")).to_be_visible()
        await expect(titles(page).first).to_have_text(evil)
        assert await accessibility_faults(page) == []
        assert await page.evaluate("window.ran") is None
        assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") == 0
