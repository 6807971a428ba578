"""Uploads from a browser: by ``client.js``, and by the public client of tus."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.support.browser_pages import NEEDS_CHROMIUM, OPEN_CLIENT, faultless_page, url_of
from tests.support.vue_pages import NEEDS_NPM, install
from tests.support.web_server import API, Server, token
from wsserver.protocol.types import FILE_TYPE

pytestmark = NEEDS_CHROMIUM

SIZE = 3_000_000
ALICE = token("alice", "user", sessions=["s1"])
MAKE_FILE = f"""
    const bytes = new Uint8Array({SIZE});
    for (let at = 0; at < bytes.length; at += 1) bytes[at] = at * 7 + (at >> 9);
    window.file = new File([bytes], "图 1.png", {{ type: "image/png" }});
"""


@functools.cache
def expected_digest() -> str:
    """That of the file; not made when the tests are collected, as it takes a second."""
    return hashlib.sha256(bytes((at * 7 + (at >> 9)) & 255 for at in range(SIZE))).hexdigest()


@asynccontextmanager
async def opened(chromium: Browser, server: Server) -> AsyncIterator[Page]:
    """A page of the server with a file, whose uploads take a second."""
    options = {"requests_fail": True, "bypass_csp": True}
    async with faultless_page(chromium, **options) as page:
        await page.goto(f"{url_of(server)}/console/chat")
        await page.evaluate(f"() => {{ {MAKE_FILE} }}")
        devtools = await page.context.new_cdp_session(page)
        limits = {"offline": False, "latency": 0, "downloadThroughput": -1}
        await devtools.send(
            "Network.emulateNetworkConditions", {**limits, "uploadThroughput": SIZE}
        )
        yield page


def uploads_of(server: Server) -> Any:
    return server.context.extensions["files"].uploads


async def cut(server: Server) -> None:
    """Close the connections of HTTP, in the middle of an upload."""
    uploads = uploads_of(server)
    while not any(part._received for part in uploads._active.values()):
        await asyncio.sleep(0.01)
    await server.listener._server.close_all_connections()


async def digests(server: Server) -> list[tuple[str, str]]:
    found = (await server.get("/files")).json()["files"]
    return [(each["filename"], each["sha256"]) for each in found]


@pytest.mark.gen_test
async def test_client_js_uploads_a_file_whatever_happens_and_says_it(
    chromium: Browser, server: Server
) -> None:
    bob = await server.connect("bob", sessions=["s1"])
    bob.send(type="join_session", session_id="s1")
    await bob.push("session_joined")
    async with opened(chromium, server) as page:
        await page.evaluate(OPEN_CLIENT, {"tokens": [ALICE] * 9, "session": "s1"})
        await page.evaluate("""async () => {
            window.upload = await client.sendFile("s1", file);
            window.states = [];
            upload.addEventListener("state", ({ detail }) => states.push(detail.state));
            upload.addEventListener("progress", ({ detail }) => (window.progress = detail));
        }""")
        await cut(server)
        await page.wait_for_function("states.includes('waiting')")
        await page.wait_for_function("upload.state === 'uploading' && upload.sent > 0")
        await page.evaluate("upload.pause()")
        while uploads_of(server)._active:
            await asyncio.sleep(0.01)
        assert await page.evaluate("upload.state") == "paused"
        await page.evaluate("upload.resume()")
        file_id = await page.evaluate("upload.done")
        assert await page.evaluate("[progress.sent, progress.total]") == [SIZE, SIZE]
        assert (await page.evaluate("states"))[-1] == "done"
        assert await digests(server) == [("图 1.png", expected_digest())]
        message = (await bob.push("new_message"))["message"]
        assert (message["content_type"], message["content"]["file_id"]) == (FILE_TYPE, file_id)
        url = await page.evaluate("id => client.fileUrl(id)", file_id)
        path = url.removeprefix(url_of(server))
        assert (await server.request("GET", path)).headers["content-length"] == str(SIZE)
        refused = await page.evaluate("""async () => {
            const upload = await client.sendFile("s9", file);
            return upload.done.catch(({ code }) => [code, upload.state]);
        }""")
        assert refused == ["forbidden", "failed"]
        given_up = await page.evaluate("""async () => {
            const upload = await client.sendFile("s1", file);
            await new Promise((resolve) => upload.addEventListener("progress", resolve));
            upload.cancel();
            return upload.done.catch(({ code }) => [code, upload.state]);
        }""")
        assert given_up == ["cancelled", "cancelled"]
        while len(await digests(server)) > 1:
            await asyncio.sleep(0.01)


@NEEDS_NPM
@pytest.mark.gen_test
@pytest.mark.long
async def test_the_public_client_of_tus_goes_on_after_a_cut(
    chromium: Browser, server: Server, tmp_path: Path
) -> None:
    project = tmp_path / "tus"
    project.mkdir()
    (project / "package.json").write_text("{}")
    await asyncio.to_thread(install, project, "install", "tus-js-client@4")
    script = project / "node_modules" / "tus-js-client" / "dist" / "tus.min.js"
    async with opened(chromium, server) as page:
        await page.add_script_tag(path=script)
        start = """([endpoint, token, more]) => {
            window.retries = 0;
            window.ended = new Promise((resolve) => {
                window.upload = new tus.Upload(file, {
                    endpoint,
                    headers: { Authorization: `Bearer ${token}` },
                    metadata: { filename: file.name, filetype: file.type, session_id: "s1" },
                    retryDelays: [0, 50, 100, 200, 400],
                    onShouldRetry: () => { window.retries += 1; return true; },
                    onError: (error) => resolve(String(error)),
                    onSuccess: () => resolve("done " + upload.url),
                    ...more,
                });
                upload.start();
            });
        }"""
        endpoint = f"{url_of(server)}{API}/files"
        await page.evaluate(start, [endpoint, ALICE, {}])
        await cut(server)
        ended = await page.evaluate("ended")
        assert re.fullmatch(rf"done {endpoint}/file_\w+", ended), ended
        assert await page.evaluate("retries") >= 1
        for more in ({"chunkSize": 1_000_000}, {"uploadDataDuringCreation": True}):
            await page.evaluate(start, [endpoint, ALICE, more])
            assert (await page.evaluate("ended")).startswith("done "), more
        await page.evaluate(start, [endpoint, ALICE, {"overridePatchMethod": True}])
        assert (await page.evaluate("ended")).startswith("done ")
        assert set(await digests(server)) == {("图 1.png", expected_digest())}
        terminated = "url => tus.Upload.terminate(url, { headers: { Authorization: `Bearer %s` } })"
        address = (await page.evaluate("ended")).removeprefix("done ")
        await page.evaluate(terminated % ALICE, address)
        assert len(await digests(server)) == 3
        refused = {"metadata": {"filename": "../x"}}
        await page.evaluate(start, [endpoint, ALICE, {**refused, "retryDelays": []}])
        assert "validation_failed" in await page.evaluate("ended")
