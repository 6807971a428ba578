"""The Vue components for files, on a page that uploads to a server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.browser_pages import NEEDS_CHROMIUM, url_of
from tests.support.vue_pages import NEEDS_NPM, accessibility_faults, vue_page, vue_server
from tests.support.web_server import Server, StartServer, token

pytestmark = [*NEEDS_CHROMIUM, NEEDS_NPM]

CHAT = """
    const { createApp, h } = await import("vue");
    const vue = await import("@wsserver/client/vue");
    const { WsAttachment, WsUploads } = await import("@wsserver/client/vue/files");
    const { WsClient } = await import("@wsserver/client");
    window.told = [];
    const client = new WsClient({ url: "URL", token: "TOKEN", shareTabs: false });
    await client.connect();
    createApp({
        setup() {
            vue.useWsClient(client);
            if ("LOCALE") vue.useWsLocale("LOCALE");
            const session = vue.useSession("s1");
            const before = () => h(WsUploads, {
                session, onUploaded: (id) => told.push(id), onFailed: ({ code }) => told.push(code),
            });
            const file = ({ message }) => h(WsAttachment, { message });
            return () => [
                h("h1", { class: "ws" }, "Chat"),
                h(vue.WsMessageList, { session }, { file }),
                h(vue.WsComposer, { session }, { before }),
            ];
        },
    }).mount("#app");
    window.give = (type, files) => {
        const data = new DataTransfer();
        for (const file of files) data.items.add(file);
        const init = { bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data };
        const made = type === "paste" ? new ClipboardEvent(type, init) : new DragEvent(type, init);
        document.querySelector(".ws-input").dispatchEvent(made);
    };
"""
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
STYLE = "#app { display: flex; flex-direction: column; height: 100vh; } .ws-messages { flex: 1; }"


@pytest.fixture(scope="module")
def vue_url(tmp_path_factory: pytest.TempPathFactory, node_modules: Path) -> Iterator[str]:
    with vue_server(tmp_path_factory.mktemp("vue"), node_modules, STYLE) as url:
        yield url


@contextlib.asynccontextmanager
async def chat(
    chromium: Browser, url: str, server: Server, locale: str = "", **options: Any
) -> AsyncIterator[Page]:
    """A page on which alice talks in a session."""
    bearer = token("alice", "user", username="Alice", sessions=["s1"])
    script = CHAT.replace("URL", url_of(server)).replace("TOKEN", bearer)
    async with vue_page(chromium, url, script.replace("LOCALE", locale), **options) as page:
        yield page


@pytest.mark.gen_test
async def test_files_are_chosen_dropped_and_pasted_into_the_composer(
    chromium: Browser, start_server: StartServer, vue_url: str
) -> None:
    server = await start_server(allowed_origins=(vue_url,))
    async with chat(chromium, vue_url, server, color_scheme="dark") as page:
        picture: Any = {"name": "图.png", "mimeType": "image/png", "buffer": PIXEL}
        await page.set_input_files("input[type=file]", [picture])
        await expect(page.locator(".ws-attachment img")).to_be_visible()
        await page.evaluate(
            "give('paste', [new File(['pasted'], 'note.txt', { type: 'text/plain' })])"
        )
        await expect(page.get_by_role("button", name="note.txt")).to_be_visible()
        await page.evaluate("give('dragover', [new File(['x'], 'a')])")
        await expect(page.locator(".ws-composer.ws-drop")).to_have_count(1)
        await page.evaluate("give('drop', [new File(['one'], 'one.pdf'), new File([''], 'two')])")
        await expect(page.locator(".ws-composer.ws-drop")).to_have_count(0)
        for name in ("one.pdf", "two"):
            await expect(page.get_by_role("button", name=name)).to_be_visible()
        await expect(page.locator(".ws-upload")).to_have_count(0)
        await expect(page.get_by_text("6 byte")).to_be_visible()
        assert len(await page.evaluate("told")) == 4
        assert await accessibility_faults(page) == []
        async with page.expect_download() as downloading:
            await page.get_by_role("button", name="note.txt").click()
        download = await downloading.value
        assert download.suggested_filename == "note.txt"
        assert Path(await download.path()).read_text() == "pasted"


@pytest.mark.gen_test
@pytest.mark.long
async def test_an_upload_is_paused_continued_and_given_up(
    chromium: Browser, start_server: StartServer, vue_url: str
) -> None:
    server = await start_server(allowed_origins=(vue_url,))
    uploads = server.context.extensions["files"].uploads
    async with chat(chromium, vue_url, server, "zh-CN") as page:
        devtools = await page.context.new_cdp_session(page)
        limits = {"offline": False, "latency": 0, "downloadThroughput": -1}
        # So slow that an upload ends by itself long after it is paused or given up.
        slow = {**limits, "uploadThroughput": 20_000}
        fast = {**limits, "uploadThroughput": -1}
        await devtools.send("Network.emulateNetworkConditions", slow)
        await page.evaluate("give('drop', [new File([new Uint8Array(3e6)], 'large.bin')])")
        while not any(part._received for part in uploads._active.values()):
            await asyncio.sleep(0.01)
        await page.get_by_role("button", name="暂停").click()
        await expect(page.get_by_text("已暂停")).to_be_visible()
        assert await accessibility_faults(page) == []
        while uploads._active:
            await asyncio.sleep(0.01)
        await devtools.send("Network.emulateNetworkConditions", fast)
        await page.get_by_role("button", name="继续").click()
        await expect(page.get_by_role("button", name="large.bin")).to_be_visible()
        await devtools.send("Network.emulateNetworkConditions", slow)
        await page.evaluate("give('drop', [new File([new Uint8Array(3e6)], 'second.bin')])")
        while not any(part._received for part in uploads._active.values()):
            await asyncio.sleep(0.01)
        await page.get_by_role("button", name="取消上传 second.bin").click()
        await devtools.send("Network.emulateNetworkConditions", fast)
        await expect(page.locator(".ws-upload")).to_have_count(0)
        while (await server.get("/files")).json()["total"] > 1:
            await asyncio.sleep(0.01)


async def publish(server: Server, **message: Any) -> str:
    """Publish in the session; returns the message's id."""
    answer = await server.post("/sessions/s1/messages", type="new_message", **message)
    message_id: str = answer.json()["message_id"]
    return message_id


@pytest.mark.gen_test
async def test_content_that_only_looks_like_a_file_is_neither_markup_nor_the_end_of_the_list(
    chromium: Browser, start_server: StartServer, vue_url: str
) -> None:
    server = await start_server(allowed_origins=(vue_url,))
    element = {"innerHTML": "<i class=hostile>markup</i>"}
    node = {"__v_isVNode": True, "type": "i", "props": {"class": "hostile"}, "shapeFlag": 1}
    contents: list[dict[str, Any]] = [
        {"file_id": "f1", "filename": element},
        {"file_id": "f2", "filename": node},
        {"file_id": {"a": 1}, "filename": "one.pdf"},
        {"file_id": "f3", "filename": "two.pdf", "content_type": node},
        {"filename": 1},
        {"filename": element},
    ]
    async with chat(chromium, vue_url, server) as page:
        for content in contents:
            assert await publish(server, content=content, content_type="application/json")
        assert await publish(server, content="the last one")
        await expect(page.get_by_text("the last one")).to_be_visible()
        await expect(page.locator(".ws-message")).to_have_count(len(contents) + 1)
        await expect(page.locator(".hostile")).to_have_count(0)
        await expect(page.locator(".ws-attachment")).to_have_count(0)
