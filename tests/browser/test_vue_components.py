"""Vue components in a real browser, with the package's server in memory."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.browser_pages import NEEDS_CHROMIUM
from tests.support.vue_pages import NEEDS_NPM, accessibility_faults, vue_page, vue_server

pytestmark = [*NEEDS_CHROMIUM, NEEDS_NPM]

CHAT = """
    const { FakeServer } = await import("@wsserver/client/testing");
    const { createApp, h, ref } = await import("vue");
    const vue = await import("@wsserver/client/vue");
    window.server = new FakeServer();
    window.alice = server.client("alice");
    window.say = (content, from = "bob", more = {}) => server.say("s1", content, { from, ...more });
    window.frame = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    window.until = async (test) => { while (!test()) await frame(); };
    for (let n = 1; n <= OLD; n++) say(`old ${n} ` + "word ".repeat((n * 7) % 60));
    if (UNREAD > 0) {
        const before = server.client("alice");
        await before.connect();
        await before.join("s1");
        before.close();
        for (let n = 1; n <= UNREAD; n++) say(`new ${n} ` + "word ".repeat(n % 50));
    }
    createApp({
        setup() {
            vue.useWsClient(alice);
            if (LOCALE) vue.useWsLocale(LOCALE);
            window.place = ref("s1");
            window.session = vue.useSession(place, { limit: 6000, checkSeen: CHECK });
            return () => [
                h("h1", { class: "ws ws-title" }, "Chat"),
                h("header", [h(vue.WsConnectionStatus), h(vue.WsNotifications)]),
                h(vue.WsMessageList, { session }),
                h(vue.WsTyping, { session }),
                h(vue.WsComposer, { session }),
            ];
        },
    }).mount("#app");
    window.list = document.querySelector(".ws-scroller");
    window.bottom = () => list.scrollHeight - list.clientHeight - list.scrollTop;
    await until(() => session.isJoined.value && !session.isLoading.value);
    await frame();
"""
STYLE = """#app { display: flex; flex-direction: column; height: 100vh; }
header { display: flex; justify-content: space-between; min-height: 40px; }
h1 { font-size: 16px; margin: 4px; } .ws-messages { flex: 1; }"""


@pytest.fixture(scope="module")
def vue_url(tmp_path_factory: pytest.TempPathFactory, node_modules: Path) -> Iterator[str]:
    with vue_server(tmp_path_factory.mktemp("vue"), node_modules, STYLE) as url:
        yield url


@contextlib.asynccontextmanager
async def chat(
    chromium: Browser,
    url: str,
    *,
    old: int = 0,
    unread: int = 0,
    locale: str | None = None,
    check_seen: bool = False,
    **options: Any,
) -> AsyncIterator[Page]:
    """A page on which alice talks with bob, after so many messages that she has read or not."""
    locale_text = "null" if locale is None else f'"{locale}"'
    script = CHAT.replace("OLD", str(old)).replace("UNREAD", str(unread))
    script = script.replace("LOCALE", locale_text).replace("CHECK", str(check_seen).lower())
    options = {"viewport": {"width": 700, "height": 600}, **options}
    async with vue_page(chromium, url, script, **options) as page:
        yield page


def last(page: Page) -> Any:
    return page.locator(".ws-message").last


@pytest.mark.gen_test
async def test_the_list_shows_the_end_and_stays_there(chromium: Browser, vue_url: str) -> None:
    async with chat(chromium, vue_url, old=200) as page:
        await expect(last(page)).to_contain_text("old 200")
        assert await page.evaluate("bottom()") < 2
        await page.evaluate("say('new one')")
        await expect(last(page)).to_contain_text("new one")
        assert await page.evaluate("bottom()") < 2
        # What grows in the page, such as a picture that has loaded, does not push the end away.
        await page.evaluate(
            "async () => { document.querySelector('.ws-bubble').style.paddingBottom = '300px';"
            " await frame(); await frame(); }"
        )
        assert await page.evaluate("bottom()") < 2
        await page.set_viewport_size({"width": 360, "height": 400})
        await page.evaluate("async () => { await frame(); await frame(); }")
        assert await page.evaluate("bottom()") < 2


@pytest.mark.gen_test
@pytest.mark.long
async def test_scrolling_up_loads_what_is_older_and_moves_nothing(
    chromium: Browser, vue_url: str
) -> None:
    async with chat(chromium, vue_url, old=300) as page:
        for _ in range(4):
            moved = await page.evaluate(
                """async () => {
                    const count = session.messages.value.length;
                    list.scrollTop = 100;
                    await frame();
                    const row = [...list.querySelectorAll(".ws-row")].find((each) =>
                        each.getBoundingClientRect().bottom > list.getBoundingClientRect().top);
                    const { key } = row.dataset;
                    const top = row.getBoundingClientRect().top;
                    await until(() => session.messages.value.length > count);
                    await frame();
                    await frame();
                    const now = list.querySelector(`[data-key="${key}"]`);
                    return now.getBoundingClientRect().top - top;
                }"""
            )
            assert abs(moved) < 2
        assert await page.evaluate("session.messages.value.length") == 250


@pytest.mark.long
@pytest.mark.gen_test
async def test_of_five_thousand_messages_only_those_in_view_are_in_the_page(
    chromium: Browser, vue_url: str
) -> None:
    async with chat(chromium, vue_url) as page:
        await page.evaluate(
            "for (let n = 1; n <= 5000; n++) say(`m ${n}`, n % 2 ? 'bob' : 'carol')"
        )
        await expect(last(page)).to_contain_text("m 5000")
        steps = await page.evaluate(
            """async () => {
                const steps = [];
                for (let part = 0.99; part > 0; part -= 0.09) {
                    list.scrollTop = part * list.scrollHeight;
                    await frame();
                    await frame();
                    const box = list.getBoundingClientRect();
                    const rows = [...list.querySelectorAll(".ws-row")];
                    const numbers = rows.map((row) =>
                        Number(row.querySelector(".ws-text").textContent.slice(2)));
                    steps.push({
                        rows: rows.length,
                        isWhole: numbers.every((n, index) => n === numbers[0] + index),
                        isFilled: rows[0].getBoundingClientRect().top <= box.top
                            && rows.at(-1).getBoundingClientRect().bottom >= box.bottom,
                    });
                }
                return steps;
            }"""
        )
        assert all(step["isWhole"] and step["isFilled"] for step in steps), steps
        assert max(step["rows"] for step in steps) < 80
        await page.evaluate("list.scrollTop = 0")
        await expect(page.locator(".ws-message").first).to_contain_text("m 1")


@pytest.mark.long
@pytest.mark.gen_test
async def test_a_flood_of_messages_is_drawn_once_a_frame(chromium: Browser, vue_url: str) -> None:
    async with chat(chromium, vue_url, old=20) as page:
        drawn = await page.evaluate(
            """async () => {
                let frames = 0;
                let isOver = false;
                const count = () => { frames += 1; if (!isOver) requestAnimationFrame(count); };
                requestAnimationFrame(count);
                let draws = 0;
                let most = 0;
                const observer = new MutationObserver(() => {
                    draws += 1;
                    most = Math.max(most, list.querySelectorAll(".ws-row").length);
                });
                observer.observe(list, { childList: true, subtree: true });
                for (let n = 0; n < 1000; n += 10) {
                    for (let more = 0; more < 10; more++) say(`flood ${n + more}`);
                    await new Promise((resolve) => setTimeout(resolve, 1));
                }
                await frame();
                await frame();
                isOver = true;
                return { frames, draws, most, bottom: bottom() };
            }"""
        )
        await expect(last(page)).to_contain_text("flood 999")
        # Rows that were just measured may bring one more drawing of the same frame.
        assert drawn["draws"] <= 2 * drawn["frames"] + 2, drawn
        assert drawn["most"] < 200, drawn
        assert drawn["bottom"] < 2
        assert await page.evaluate("session.messages.value.length") >= 1000


@pytest.mark.gen_test
@pytest.mark.long
async def test_who_reads_above_is_not_moved_and_is_told_of_what_is_new(
    chromium: Browser, vue_url: str
) -> None:
    async with chat(chromium, vue_url, old=100) as page:
        where = """() => {
            const row = [...list.querySelectorAll(".ws-row")].find((each) =>
                each.getBoundingClientRect().bottom > list.getBoundingClientRect().top);
            return [row.dataset.key, Math.round(row.getBoundingClientRect().top)];
        }"""
        await page.evaluate(
            "async () => { list.scrollTop = list.scrollHeight / 2; await frame(); }"
        )
        before = await page.evaluate(where)
        jump = page.locator(".ws-jump")
        await expect(jump).to_have_text("To the latest message ↓")
        await page.evaluate("say('one'); say('two')")
        await expect(jump).to_have_text("2 new messages ↓")
        assert await page.evaluate(where) == before
        assert await page.evaluate("session.unread.value") == 2
        await jump.click()
        await expect(last(page)).to_contain_text("two")
        await expect(jump).to_have_count(0)
        await page.evaluate("until(() => bottom() < 2)")
        assert await page.evaluate("session.unread.value") == 0
        # What one says oneself brings one to the end.
        await page.evaluate("async () => { list.scrollTop = 200; await frame(); await frame(); }")
        await page.locator("textarea").fill("mine")
        await page.keyboard.press("Enter")
        await expect(last(page)).to_contain_text("mine")
        await page.evaluate("until(() => bottom() < 2)")


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_message_that_failed_is_sent_again_or_removed(
    chromium: Browser, vue_url: str
) -> None:
    async with chat(chromium, vue_url) as page:
        await page.evaluate("server.refuse('send_message', 'forbidden')")
        for text in ("first", "second"):
            await page.locator("textarea").fill(text)
            await page.keyboard.press("Enter")
            await expect(last(page)).to_have_attribute("data-status", "failed")
        await page.evaluate("server.answer('send_message', null)")
        await page.get_by_role("button", name="Try again").first.click()
        await expect(page.locator(".ws-message", has_text="first")).to_have_attribute(
            "data-status", "sent"
        )
        await page.get_by_role("button", name="Remove").click()
        await expect(page.locator(".ws-message")).to_have_count(1)
        assert await page.evaluate("server.commands.filter((c) => c.type === 'read').length") == 0


@pytest.mark.gen_test
@pytest.mark.long
async def test_who_has_not_seen_the_last_word_sees_it_and_may_send_anyway(
    chromium: Browser, vue_url: str
) -> None:
    async with chat(chromium, vue_url, old=3, check_seen=True) as page:
        await page.evaluate("server.stop()")
        await page.locator("textarea").fill("How can I help?")
        await page.keyboard.press("Enter")
        await expect(last(page)).to_have_attribute("data-status", "sending")
        await page.evaluate("say('I have solved it'); server.start()")
        await expect(page.get_by_text("Not sent: there are newer messages")).to_be_visible()
        texts = page.locator(".ws-message .ws-text")
        await expect(texts.nth(-2)).to_have_text("I have solved it")
        await page.get_by_role("button", name="Send anyway").click()
        await expect(last(page)).to_have_attribute("data-status", "sent")
        await expect(texts.last).to_have_text("How can I help?")
        await expect(page.locator(".ws-failed")).to_have_count(0)


@pytest.mark.gen_test
@pytest.mark.long
async def test_the_keyboard_writes_lines_and_leaves_input_methods_alone(
    chromium: Browser, vue_url: str
) -> None:
    async with chat(chromium, vue_url) as page:
        field = page.get_by_label("Message", exact=True)
        await field.click()
        await page.keyboard.type("one")
        await page.keyboard.press("Shift+Enter")
        await page.keyboard.type("two")
        await field.evaluate(
            """(field) => field.dispatchEvent(new KeyboardEvent("keydown",
                { key: "Enter", isComposing: true, bubbles: true, cancelable: true }))"""
        )
        await expect(page.locator(".ws-message")).to_have_count(0)
        told = "server.commands.filter((c) => c.type === 'typing').map((c) => c.is_typing)"
        assert await page.evaluate(told) == [True]
        await page.keyboard.press("Enter")
        await expect(last(page).locator(".ws-text")).to_have_text("one\ntwo")
        await expect(field).to_have_value("")
        assert await page.evaluate(told) == [True, False]
        # Too long for one command: said before it is sent.
        await field.fill("长" * 30_000)
        await expect(page.get_by_role("alert")).to_contain_text("Too long by")
        await expect(page.get_by_role("button", name="Send")).to_be_disabled()
        await field.fill("short")
        await page.get_by_role("button", name="Send").click()
        await expect(last(page)).to_contain_text("short")


@pytest.mark.gen_test
async def test_hostile_names_texts_and_links_stay_text(chromium: Browser, vue_url: str) -> None:
    evil = '<img src=x onerror="window.ran = 1"><b>'
    async with chat(chromium, vue_url) as page:
        await page.evaluate(
            """(evil) => {
                say(evil, evil, { username: evil });
                say({ evil: [evil] }, "__proto__", { username: "\\u202egnp.exe" });
                say("see javascript:window.ran=1 and https://a.test/?q=<b> and HTTP://B.TEST.");
                say("x".repeat(64 * 1024) + "the end", "bob");
                for (const url of ["javascript:window.ran=1", "data:text/html,x", "//evil.test",
                    " javascript:window.ran=1", "/\\\\evil.test", "/fine"]) {
                    server.notify("alice", { title: evil, message: evil, action_url: url,
                        auto_close: false });
                }
                server.push("typing", { session_id: "s1", user_id: "bob", username: evil,
                    is_typing: true }, { session: "s1" });
            }""",
            evil,
        )
        await expect(last(page)).to_contain_text("Show all")
        await page.get_by_role("button", name="Show all").click()
        await expect(last(page)).to_contain_text("the end")
        await page.locator(".ws-bell").click()
        await expect(page.locator(".ws-item")).to_have_count(6)
        links = "[...document.querySelectorAll('a')].map((a) => a.getAttribute('href'))"
        await page.evaluate("list.scrollTop = 0")
        await expect(page.locator(".ws-message").first).to_contain_text("<img")
        assert await page.evaluate(links) == ["/fine", "https://a.test/?q=", "HTTP://B.TEST"]
        assert await page.locator("#app img, #app b").count() == 0
        assert await page.evaluate("window.ran") is None
        await expect(page.locator(".ws-typing")).to_contain_text("<img")


@pytest.mark.gen_test
@pytest.mark.long
async def test_one_goes_on_where_one_has_stopped_reading(chromium: Browser, vue_url: str) -> None:
    positions = "server.commands.filter((c) => c.type === 'mark_read').map((c) => c.offset)"
    async with chat(chromium, vue_url, old=30, unread=45) as page:
        row = page.locator(".ws-row", has=page.locator(".ws-new"))
        await expect(row).to_contain_text("new 1 ")
        await expect(row).to_be_in_viewport()
        await page.evaluate(f"until(() => {positions}.length > 0)")
        assert 0 < await page.evaluate("session.unread.value") < 45
        first = await page.evaluate(positions)
        assert 30 < first[-1] < 75
        await page.evaluate("list.scrollTop += 300")
        await page.evaluate(f"until(() => {positions}.at(-1) > {first[-1]})")
        # Read on another device.
        await page.evaluate(
            """async () => {
                const phone = server.client("alice");
                await phone.connect();
                phone.markRead("s1", 74);
                await until(() => session.unread.value === 1);
                phone.close();
            }"""
        )
        # What others have read of one's own, also before the page was loaded.
        await page.evaluate(
            """async () => {
                await session.send("mine");
                const bob = server.client("bob");
                await bob.connect();
                await bob.join("s1");
                bob.markRead("s1", 76);
            }"""
        )
        await expect(last(page).locator(".ws-ticks")).to_have_attribute("aria-label", "Read")
        assert await page.evaluate("session.messages.value.at(-1).readBy.join()") == "bob"


@pytest.mark.gen_test
async def test_messages_are_answered_edited_and_deleted(chromium: Browser, vue_url: str) -> None:
    async with chat(chromium, vue_url, old=40) as page:
        theirs = page.locator(".ws-message", has_text="old 39")
        await theirs.hover()
        await expect(theirs.get_by_role("button", name="Edit")).to_have_count(0)
        await theirs.get_by_role("button", name="Reply").click()
        await expect(page.locator(".ws-about")).to_contain_text("Reply to bob")
        await page.keyboard.type("an answer")
        await page.keyboard.press("Enter")
        await expect(page.locator(".ws-about")).to_have_count(0)
        quote = last(page).locator(".ws-quote")
        await expect(quote).to_contain_text("old 39")
        await page.evaluate("session.loadOlder()")
        own = last(page)
        await own.hover()
        await own.get_by_role("button", name="Edit").click()
        await expect(page.locator("textarea")).to_have_value("an answer")
        # In another session it is not there, nor is it a draft afterwards.
        for place in ("s2", "s1"):
            await page.evaluate("(id) => (place.value = id)", place)
            await expect(page.locator("textarea")).to_have_value("")
            await expect(page.locator(".ws-about")).to_have_count(0)
        await page.locator("textarea").fill("a draft")
        await page.evaluate("place.value = 's2'")
        await expect(page.locator("textarea")).to_have_value("")
        await page.evaluate("place.value = 's1'")
        await expect(page.locator("textarea")).to_have_value("a draft")
        await page.locator("textarea").fill("")
        await own.hover()
        await own.get_by_role("button", name="Edit").click()
        await page.keyboard.press("Escape")
        await expect(page.locator("textarea")).to_have_value("")
        await own.hover()
        await own.get_by_role("button", name="Edit").click()
        await page.locator("textarea").fill("a better answer")
        await page.keyboard.press("Enter")
        await expect(own.locator(".ws-text")).to_have_text("a better answer")
        await expect(own.locator(".ws-meta")).to_contain_text("edited")
        # What one reads above is scrolled to.
        await page.evaluate("say('a reply', 'carol', { replyTo: session.messages.value[3].id })")
        await expect(last(page)).to_contain_text("a reply")
        await last(page).locator(".ws-quote").click()
        await expect(page.locator("[data-revealed]")).to_contain_text("old 4")
        await expect(page.locator(".ws-jump")).to_be_visible()
        await page.locator(".ws-jump").click()
        own = page.locator(".ws-own").last
        await own.hover()
        await page.evaluate("server.refuse('delete_message', 'edit_window_over')")
        for name in ("Delete", "Really delete?"):
            await own.get_by_role("button", name=name).click()
        await expect(own.get_by_role("alert")).to_have_text("edit_window_over")
        await page.evaluate("server.answer('delete_message', null)")
        await own.hover()
        for name in ("Delete", "Really delete?"):
            await own.get_by_role("button", name=name).click()
        deleted = page.locator(".ws-message", has=page.locator(".ws-deleted"))
        await expect(deleted).to_have_text(re.compile("^You.*Message deleted"))
        await expect(deleted.get_by_role("button")).to_have_count(0)
        # By others, and when the page comes back to it.
        await page.evaluate("server.edit(session.messages.value.at(-1).id, 'by a moderator')")
        await expect(last(page).locator(".ws-text")).to_have_text("by a moderator")
        await page.evaluate("server.stop(); server.remove(session.messages.value.at(-1).id)")
        await page.evaluate("server.start()")
        await expect(last(page)).to_contain_text("Message deleted")
        await page.evaluate("server.forget('s1')")
        await page.evaluate("server.disconnect()")
        await expect(page.locator(".ws-message")).to_have_count(0)


@pytest.mark.gen_test
async def test_an_answer_grows_is_stopped_and_is_whole_after_the_network_was_away(
    chromium: Browser,
    vue_url: str,
) -> None:
    async with chat(chromium, vue_url, old=40) as page:
        await page.evaluate(
            "window.answer = server.startAnswer('s1', { from: 'bot', content: 'The sofa ' })"
        )
        bubble = last(page).locator(".ws-bubble")
        await expect(bubble).to_have_attribute("data-answer", "growing")
        await expect(bubble.locator(".ws-text")).to_have_text("The sofa ")
        drawn = await page.evaluate(
            """async () => {
                let draws = 0;
                const observer = new MutationObserver(() => (draws += 1));
                observer.observe(list, { childList: true, characterData: true, subtree: true });
                for (let n = 0; n < 300; n++) answer.append(`word ${n} `);
                await frame();
                await frame();
                observer.disconnect();
                return draws;
            }"""
        )
        assert drawn < 20
        await expect(bubble.locator(".ws-text")).to_contain_text("word 299")
        assert await page.evaluate("bottom()") < 2
        # Who joins in the middle, and who was away meanwhile, has the whole text.
        await page.evaluate("server.stop(); answer.append('away '); server.start()")
        await expect(bubble.locator(".ws-text")).to_contain_text("word 299 away")
        await page.evaluate("answer.finish({ content: 'The sofa is wide.' })")
        await expect(bubble).to_have_attribute("data-answer", "completed")
        await expect(bubble.locator(".ws-text")).to_have_text("The sofa is wide.")
        # Stopped by the reader.
        await page.evaluate(
            "window.answer = server.startAnswer('s1', { from: 'bot', content: 'Well, ' })"
        )
        await page.get_by_role("button", name="Stop").click()
        await expect(last(page).locator(".ws-meta")).to_contain_text("Stopped")
        await expect(last(page).locator(".ws-text")).to_have_text("Well, ")
        await expect(page.get_by_role("button", name="Stop")).to_have_count(0)


@pytest.mark.gen_test
async def test_notifications_pop_up_and_are_read_in_the_centre(
    chromium: Browser, vue_url: str
) -> None:
    async with chat(chromium, vue_url) as page:
        await page.evaluate(
            """() => {
                server.notify("alice", { title: "Stays", auto_close: false, type: "urgent" });
                for (let n = 0; n < 6; n++) server.notify("alice", { title: `n${n}` });
            }"""
        )
        await expect(page.locator(".ws-popup")).to_have_count(4)
        await page.get_by_role("button", name="Close").first.click()
        await expect(page.locator(".ws-popup .ws-title").first).to_have_text("n1")
        bell = page.get_by_role("button", name="Notifications, 7 unread")
        await bell.focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog")).to_be_focused()
        await expect(page.locator(".ws-popup")).to_have_count(0)
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")  # all read
        await expect(page.locator(".ws-item[data-read=false]")).to_have_count(0)
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await expect(page.get_by_role("button", name="Notifications", exact=True)).to_be_focused()


@pytest.mark.gen_test
@pytest.mark.long
async def test_it_says_when_there_is_no_connection(chromium: Browser, vue_url: str) -> None:
    async with chat(chromium, vue_url) as page:
        status = page.locator(".ws-connection")
        await expect(status).to_have_text("")
        await page.evaluate("server.stop()")
        await expect(status).to_contain_text("No connection")
        await page.evaluate("server.start()")
        await expect(status).to_have_text("")
        await page.evaluate("alice.close(4502, 'bye')")
        await expect(status).to_contain_text("Disconnected")
        await page.get_by_role("button", name="Connect").click()
        await expect(status).to_have_attribute("data-state", "open")


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"color_scheme": "dark"}, marks=pytest.mark.long),
        {"locale": "zh-CN", "viewport": {"width": 360, "height": 640}},
    ],
    ids=["light", "dark", "chinese phone"],
)
@pytest.mark.gen_test
async def test_axe_finds_nothing(chromium: Browser, vue_url: str, options: dict[str, Any]) -> None:
    async with chat(chromium, vue_url, old=60, reduced_motion="reduce", **options) as page:
        if options.get("locale"):
            await expect(page.locator("textarea")).to_have_attribute("placeholder", "输入消息…")
            await page.evaluate("document.documentElement.dir = 'rtl'")
        await page.evaluate(
            """async () => {
                await session.send("sent");
                server.refuse("send_message", "forbidden");
                await session.send("fails");
                server.push("typing", { session_id: "s1", user_id: "bob", username: "Bob",
                    is_typing: true }, { session: "s1" });
                for (const type of ["info", "success", "warning", "error", "urgent"]) {
                    server.notify("alice", { title: type, message: type, type, auto_close: false,
                        action_url: type === "info" ? "/x" : null });
                }
                list.scrollTop = 300;
                say("below");
            }"""
        )
        await expect(page.locator(".ws-jump")).to_be_visible()
        await expect(page.locator(".ws-popup")).to_have_count(4)
        assert await accessibility_faults(page) == []
        await page.locator(".ws-bell").click()
        await expect(page.get_by_role("dialog")).to_be_focused()
        await expect(page.locator(".ws-bell")).to_have_attribute("aria-controls", re.compile("."))
        assert await accessibility_faults(page) == []
        await page.evaluate("list.scrollTop = 1e9")
        await page.get_by_role("dialog").press("Escape")
        await expect(page.locator(".ws-failed")).to_be_visible()
        assert await accessibility_faults(page) == []
        right_end = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert right_end == 0
