"""Figures of the browser side: ``python -m scripts.browser_bench``.

Sizes of the client and its Vue parts; frames a second while 1,000 messages a second arrive, in
``WsMessageList`` and in a bare list of the same page; the console's first paint on a slow phone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from playwright.async_api import Browser, CDPSession, ViewportSize, async_playwright

from scripts.served_folder import served
from wsserver import Server, Settings

PACKAGE = Path(__file__).parents[1] / "clients" / "js"
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
RATE = 1000
"""Messages a second."""
IMPORTS = {
    "vue": "/node_modules/vue/dist/vue.runtime.esm-browser.prod.js",
    "@wsserver/client": "/src/index.js",
    "@wsserver/client/vue": "/vue/index.js",
    "@wsserver/client/testing": "/testing/index.js",
}
PAGE = f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Flood</title>
<script type="importmap">{json.dumps({"imports": IMPORTS})}</script>
<link rel="stylesheet" href="/vue/style.css">
<style>html, body, main, .ws-messages {{ height: 100%; margin: 0 }}
ul {{ height: 100%; overflow: auto; margin: 0 }}</style></head>
<body><main></main></body></html>"""
FLOOD = """
async ({ kind, seconds, rate }) => {
    const { FakeServer } = await import("@wsserver/client/testing");
    const server = new FakeServer();
    const client = server.client("alice");
    const place = document.querySelector("main");
    if (kind === "WsMessageList") {
        const { createApp, h } = await import("vue");
        const vue = await import("@wsserver/client/vue");
        createApp({
            setup() {
                vue.useWsClient(client);
                const session = vue.useSession("s1");
                return () => h(vue.WsMessageList, { session });
            },
        }).mount(place);
    } else {
        await client.connect();
        await client.join("s1");
        const list = document.createElement("ul");
        place.append(list);
        const scroll = () => (list.scrollTop = list.scrollHeight);
        client.addEventListener("new_message", ({ detail: { message, offset } }) => {
            client.markRead("s1", offset);
            if (kind !== "bare list") return;
            const line = document.createElement("li");
            line.textContent = `${message.sender.user_id}: ${message.content}`;
            list.append(line);
            requestAnimationFrame(scroll);
        });
    }
    const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
    while (!client.sessions.includes("s1")) await frame();
    for (let n = 0; n < 30; n++) await frame();
    const start = performance.now();
    const end = start + seconds * 1000;
    let [said, frames, before, longest] = [0, 0, start, 0];
    const timer = setInterval(() => {
        const due = Math.min(seconds, (performance.now() - start) / 1000) * rate;
        for (; said < due; said++) server.say("s1", `message ${said} of many`, { from: "bob" });
    }, 4);
    while (before < end) {
        const now = await frame();
        frames += 1;
        longest = Math.max(longest, now - before);
        before = now;
    }
    clearInterval(timer);
    return { fps: frames / seconds, longest_ms: longest, messages: said };
}
"""
PHONE: ViewportSize = {"width": 390, "height": 844}
NETWORK = {
    "offline": False,
    "latency": 150,
    "downloadThroughput": 1.6e6 / 8,
    "uploadThroughput": 0.75e6 / 8,
}
"""As Lighthouse's phone: 1.6 Mbit/s, 150 ms."""
CPU_SLOWDOWN = 4


def sizes() -> dict[str, int]:
    """Bytes, minified and gzipped."""
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=PACKAGE, check=True, stdout=2)  # noqa: S607
    done = subprocess.run(["node", "tests/size.js"], cwd=PACKAGE, check=True, stdout=-1)  # noqa: S607
    found: dict[str, int] = json.loads(done.stdout)
    return found


async def flood(browser: Browser, url: str, kind: str, seconds: float) -> dict[str, float]:
    """Frames a second while messages arrive, into a list of this kind."""
    page = await browser.new_page(viewport={"width": 900, "height": 800})
    await page.goto(url)
    rate = 0 if kind == "no messages" else RATE
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    before = await _cpu_s(devtools)
    found: dict[str, float] = await page.evaluate(
        FLOOD, {"kind": kind, "seconds": seconds, "rate": rate}
    )
    used_s = await _cpu_s(devtools) - before
    await page.close()
    return {**found, "cpu": used_s / seconds}


async def _cpu_s(devtools: CDPSession) -> float:
    """CPU seconds of the page's main thread, whatever else the machine does."""
    metrics = (await devtools.send("Performance.getMetrics"))["metrics"]
    return next(float(each["value"]) for each in metrics if each["name"] == "TaskDuration")


async def first_paint(browser: Browser, url: str, ticket: str) -> dict[str, float]:
    """Milliseconds to the first paint of the console and to its first page, with an empty cache."""
    context = await browser.new_context(
        viewport=PHONE, device_scale_factor=2, is_mobile=True, has_touch=True
    )
    page = await context.new_page()
    await page.goto(f"{url}/console#ticket={ticket}")
    await page.wait_for_selector("main h1")
    devtools = await context.new_cdp_session(page)
    await devtools.send("Network.enable")
    await devtools.send("Network.clearBrowserCache")
    await devtools.send("Network.emulateNetworkConditions", NETWORK)
    await devtools.send("Emulation.setCPUThrottlingRate", {"rate": CPU_SLOWDOWN})
    await page.goto("about:blank")
    await page.goto(f"{url}/console")
    await page.wait_for_selector("main .tile")
    found: dict[str, float] = await page.evaluate(
        """() => ({
            first_paint_ms: performance.getEntriesByName("first-contentful-paint")[0].startTime,
            page_ms: performance.now(),
            requests: performance.getEntriesByType("resource").length + 1,
            kbytes: performance.getEntriesByType("resource")
                .reduce((sum, each) => sum + each.transferSize, 0) / 1024,
        })"""
    )
    await context.close()
    return found


def middle(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {name: median(each[name] for each in rounds) for name in rounds[0]}


async def measure(chromium: str, rounds: int, seconds: float) -> dict[str, Any]:
    """All figures."""
    found: dict[str, Any] = {"sizes": sizes(), "flood": {}, "load": os.getloadavg()[0]}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGS)
        with served(PACKAGE, PAGE) as url:
            for kind in ("no messages", "messages, no list", "bare list", "WsMessageList"):
                made = [await flood(browser, url, kind, seconds) for _ in range(rounds)]
                found["flood"][kind] = middle(made)
        with tempfile.TemporaryDirectory() as folder:
            secret = secrets.token_hex(32)
            settings = Settings(port=0, data_dir=Path(folder), jwt_secret=secret, access_log=False)
            async with Server(settings) as server:
                made = [
                    await first_paint(browser, server.url, server.ticket("ops", role="admin"))
                    for _ in range(rounds)
                ]
                found["console"] = middle(made)
        await browser.close()
    return found


def show(found: dict[str, Any]) -> None:
    """Print the figures."""
    for name, size in found["sizes"].items():
        print(f"{name:<20}{size / 1024:>8.1f} KiB gzipped")
    print(f"\n{RATE} messages a second")
    for kind, each in found["flood"].items():
        frame = f"longest frame {each['longest_ms']:.0f} ms"
        cpu = f"CPU of the page {each['cpu']:.0%}"
        print(f"{kind:<20}{each['fps']:>8.1f} frames a second, {frame}, {cpu}")
    ratio = found["flood"]["WsMessageList"]["fps"] / found["flood"]["bare list"]["fps"]
    print(f"{'ratio to bare list':<20}{ratio:>8.2f}")
    console = found["console"]
    print(f"\nconsole on a phone: {NETWORK['latency']} ms, 1.6 Mbit/s, CPU / {CPU_SLOWDOWN}")
    print(f"{'first paint':<20}{console['first_paint_ms']:>8.0f} ms")
    print(f"{'overview shown':<20}{console['page_ms']:>8.0f} ms")
    print(f"{'loaded':<20}{console['kbytes']:>8.0f} KiB in {console['requests']:.0f} requests")
    print(f"\nload of the machine at the start: {found['load']:.1f} on {os.cpu_count()} CPUs")


def main() -> int:
    """Measure and print; the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench-browser", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of which the median counts: 5")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each flood: 10")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    names = os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"
    chromium = next(filter(None, (shutil.which(name) for name in names if name)), None)
    if chromium is None or shutil.which("npm") is None:
        print("needs chromium and npm on PATH", file=sys.stderr)
        return 1
    found = asyncio.run(measure(chromium, options.rounds, options.seconds))
    show(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
