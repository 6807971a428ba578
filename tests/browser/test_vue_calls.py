"""The Vue component for calls, on two pages that call each other through a server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from tests.support.browser_pages import NEEDS_CHROMIUM, url_of
from tests.support.vue_pages import NEEDS_NPM, accessibility_faults, vue_page, vue_server
from tests.support.web_server import Server, StartServer, token

pytestmark = [*NEEDS_CHROMIUM, NEEDS_NPM]

CHAT = """
    const { createApp, h } = await import("vue");
    const { useWsClient, useWsLocale } = await import("@wsserver/client/vue");
    const { WsCall } = await import("@wsserver/client/vue/calls");
    const { WsClient } = await import("@wsserver/client");
    window.heard = [];
    const client = new WsClient({ url: "URL", token: "TOKEN", shareTabs: false });
    await client.connect();
    await client.join("s1");
    createApp({
        setup() {
            useWsClient(client);
            if ("LOCALE") useWsLocale("LOCALE");
            return () => [
                h("h1", { class: "ws" }, "Chat"),
                h(WsCall, { sessionId: "s1", onIncoming: () => heard.push("incoming"),
                            onEnded: ({ state }) => heard.push(state) }),
            ];
        },
    }).mount("#app");
"""


@pytest.fixture(scope="module")
def vue_url(tmp_path_factory: pytest.TempPathFactory, node_modules: Path) -> Iterator[str]:
    with vue_server(tmp_path_factory.mktemp("vue"), node_modules) as url:
        yield url


@contextlib.asynccontextmanager
async def phone(
    chromium: Browser, url: str, server: Server, name: str, locale: str = "", **options: Any
) -> AsyncIterator[Page]:
    """A page on which a user calls and is called."""
    bearer = token(name.lower(), "user", username=name, sessions=["s1"])
    script = CHAT.replace("URL", url_of(server)).replace("TOKEN", bearer)
    options = {"viewport": {"width": 700, "height": 700}, **options}
    async with vue_page(chromium, url, script.replace("LOCALE", locale), **options) as page:
        yield page


def note(page: Page) -> Locator:
    """The status below the call, which stays there after it; the call has one of its own."""
    return page.get_by_role("status").and_(page.locator(".ws-call-note"))


@pytest.mark.long
@pytest.mark.gen_test
async def test_a_call_with_video_from_its_button_to_its_end(
    chromium_with_camera: Browser, start_server: StartServer, vue_url: str
) -> None:
    server = await start_server(allowed_origins=(vue_url,))
    async with (
        phone(chromium_with_camera, vue_url, server, "Alice") as alice,
        phone(chromium_with_camera, vue_url, server, "Bob", color_scheme="dark") as bob,
    ):
        await alice.get_by_role("button", name="Video call").click()
        await expect(alice.get_by_role("status").first).to_have_text("Calling…")
        await expect(alice.get_by_role("button", name="Video call")).to_be_disabled()
        await expect(bob.get_by_role("alert")).to_have_text("Alice calls, with video")
        assert await bob.evaluate("heard") == ["incoming"]
        assert await accessibility_faults(bob) == []
        await bob.get_by_role("button", name="Answer", exact=True).click()
        for page, other in ((alice, "Bob"), (bob, "Alice")):
            await expect(page.get_by_role("timer")).to_be_visible()
            await expect(page.locator("section strong")).to_have_text(other)
            for picture in (f"Picture of {other}", "My picture"):
                shown = page.get_by_label(picture)
                await expect(shown).to_be_visible()
                await expect(shown).to_have_js_property("paused", value=False)
                await expect(shown).not_to_have_js_property("videoWidth", value=0)
            assert await accessibility_faults(page) == []
        camera = alice.get_by_role("button", name="Turn the camera off")
        await camera.click()
        await expect(camera).to_have_attribute("aria-pressed", "true")
        await expect(alice.get_by_label("My picture")).to_have_count(0)
        await bob.get_by_role("button", name="Hang up").click()
        for page in (alice, bob):
            await expect(note(page)).to_have_text("Call ended")
            await expect(page.locator("section")).to_have_count(0)
            assert (await page.evaluate("heard"))[-1] == "ended"


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_call_is_declined_in_chinese_and_without_a_camera_there_is_none(
    chromium_with_camera: Browser, start_server: StartServer, vue_url: str
) -> None:
    server = await start_server(allowed_origins=(vue_url,))
    async with (
        phone(chromium_with_camera, vue_url, server, "Alice", "zh-CN") as alice,
        phone(chromium_with_camera, vue_url, server, "Bob", "zh-CN") as bob,
    ):
        await alice.get_by_role("button", name="语音通话").click()
        await expect(bob.get_by_role("alert")).to_have_text("Alice 邀请您语音通话")
        await bob.get_by_role("button", name="拒绝").click()
        await expect(note(alice)).to_have_text("对方已拒绝")
        await expect(note(bob)).to_have_text("")
        await alice.evaluate(
            """() => {
                const none = () => Promise.reject(new DOMException("none", "NotFoundError"));
                navigator.mediaDevices.getUserMedia = none;
            }"""
        )
        await alice.get_by_role("button", name="视频通话").click()
        await expect(note(alice)).to_have_text("无法使用摄像头或麦克风")
        await expect(bob.locator("section")).to_have_count(0)
