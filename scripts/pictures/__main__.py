"""Take the pictures: ``python -m scripts.pictures --out FOLDER``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

from scripts.pictures.world import SALES, World, world

OUT = Path("build/screenshots")
DESKTOP = {"width": 1440, "height": 900}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": DESKTOP, "color_scheme": "light", "locale": "en-GB"},
    "dark": {"viewport": DESKTOP, "color_scheme": "dark", "locale": "en-GB"},
    "chinese": {"viewport": DESKTOP, "color_scheme": "light", "locale": "zh-CN"},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "color_scheme": "light",
        "locale": "en-GB",
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
    },
}
SETTLE_MS = 3500
"""Until the live feed has drawn a few times."""
LONG = {"connections", "users", "sessions"}
"""Pages of which the first screen is enough."""
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


def pages(made: World) -> dict[str, str]:
    """Name of each picture, and the address of its page."""
    return {
        "overview": "/console",
        "overview-24h": "/console?range=24h",
        "overview-30d": "/console?range=30d",
        "connections": "/console/connections",
        "connection": f"/console/connections/{made.connection_id}",
        "users": "/console/users",
        "user": f"/console/users/{SALES[0]}",
        "user-offline": "/console/users/away.user",
        "sessions": "/console/sessions",
        "publish": f"/console/publish?target=session&id={made.session_id}",
        "notify": "/console/notify?user=away.user",
        "trace": "/console/trace",
        "trace-one": f"/console/trace/{made.message_id}",
        "tasks": "/console/tasks",
        "task": f"/console/tasks/{made.task_id}",
        "quotas": "/console/quotas",
        "quota": "/console/quotas/organization%3Aorg-0?range=24h",
        "sessions-pending": "/console/sessions?state=pending",
        "accounts": "/console/accounts",
        "account": "/console/accounts/wechat-sales",
        "responders": "/console/responders",
        "responder": "/console/responders/shop-ai",
        "search": "/console/search?query=invoice",
        "answer": f"/console/answers/{made.answer_id}",
        "live": "/console/live",
        "notifications": "/console/notifications",
        "notification": f"/console/notifications/{made.notification_id}",
        "webhooks": "/console/webhooks",
        "audit": "/console/audit",
        "doctor": "/console/doctor",
        "chat": "/console/chat",
        "session": f"/console/sessions/{made.session_id}",
    }


async def main() -> int:
    """Take all pictures that are asked for; the exit status."""
    options = _options()
    names = os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"
    chromium = next(filter(None, (shutil.which(name) for name in names if name)), None)
    if chromium is None:
        print("no chromium on PATH (apt-get install chromium)", file=sys.stderr)
        return 1
    logging.disable(logging.WARNING)  # of the mail server and the webhook that are not there
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        async with world(Path(folder)) as made, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium, args=ARGS)
            for look in options.looks:
                await _take_look(browser, made, look, options)
            await browser.close()
    return 0


async def _take_look(browser: Browser, made: World, look: str, options: argparse.Namespace) -> None:
    details = dict(LOOKS[look])
    if options.size is not None and look != "phone":
        details["viewport"] = options.size
    context = await browser.new_context(**details)
    page = await context.new_page()
    page.on("pageerror", lambda error: print(f"{look}: {error}", file=sys.stderr))
    page.on(
        "console",
        lambda line: (
            print(f"{look}: {line.text}", file=sys.stderr) if line.type == "error" else None
        ),
    )
    if not options.only or "sign-in" in options.only:
        await page.goto(f"{made.url}/console")
        await _shoot(page, options.out / f"sign-in-{look}.png", is_whole=False)
    await page.goto(f"{made.url}/console#ticket={made.ticket()}")
    await page.wait_for_selector("#nav a", state="attached")
    for name, address in pages(made).items():
        if options.only and name not in options.only:
            continue
        await page.goto(made.url + address)
        await page.wait_for_timeout(
            SETTLE_MS if name.startswith(("overview", "live")) else SETTLE_MS / 3
        )
        is_whole = options.whole and name not in LONG
        await _shoot(page, options.out / f"{name}-{look}.png", is_whole=is_whole)
    await context.close()


async def _shoot(page: Page, path: Path, *, is_whole: bool) -> None:
    await page.wait_for_timeout(300)
    await page.screenshot(path=path, full_page=is_whole)
    print(path)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/screenshots", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder (default: {OUT})")
    parser.add_argument("--only", type=_names, default=[], help="names of pictures, with commas")
    parser.add_argument("--looks", type=_names, default=[*LOOKS], help="of " + ", ".join(LOOKS))
    parser.add_argument("--size", type=_size, help="of desktops, as 1280x800")
    parser.add_argument("--viewport", dest="whole", action="store_false", help="not the whole page")
    return parser.parse_args()


def _size(text: str) -> dict[str, int]:
    width, height = map(int, text.split("x"))
    return {"width": width, "height": height}


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


sys.exit(asyncio.run(main()))
