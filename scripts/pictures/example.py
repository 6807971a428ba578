"""Pictures of the example of the browser client: ``python -m scripts.pictures.example``.

Two windows side by side, of a sales person and of a customer, in each language; for the README.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright, expect

EXAMPLE = Path(__file__).parents[2] / "clients" / "js" / "example"
OUT = Path("build/screenshots")
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
DESK = {"width": 900, "height": 660}
CUSTOMER = {"width": 400, "height": 660}
SCALE = 1.5
LANGUAGES: dict[str, dict[str, Any]] = {
    "en": {
        "locale": "en-GB",
        "customer": "Alice",
        "sales": "Lee",
        "take": "Take over",
        "questions": ["How wide is the Lund sofa?", "I would like to talk to a human"],
        "answer": "Hi Alice, this is Lee. Do you have a lift, or is it the stairs?",
        "typed": "There is a lift, but it is sm",
    },
    "zh": {
        "locale": "zh-CN",
        "customer": "陈静",
        "sales": "王磊",
        "take": "接管",
        "questions": ["沙发有多宽？", "我要人工客服"],
        "answer": "陈女士您好，我是王磊。请问您家有电梯吗？",
        "typed": "有电梯，不过比较",
    },
}
"""What is said in each picture; the texts of buttons are those of the components."""
FRAME = """<body style="margin:0;padding:28px;display:flex;gap:28px;background:#dfe5ee;
    width:max-content">{}</body>"""
WINDOW = '<img style="width:{}px;border-radius:12px;box-shadow:0 8px 28px #1e325a55" src="{}">'


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[str]:
    """The address of the example, with an empty database."""
    installing = await asyncio.create_subprocess_exec(
        "npm", "install", "--no-audit", "--no-fund", cwd=EXAMPLE
    )
    if await installing.wait() != 0:
        raise SystemExit(1)
    shutil.rmtree(EXAMPLE / "var", ignore_errors=True)
    process = await asyncio.create_subprocess_exec(
        *["npm", "start"],
        cwd=EXAMPLE,
        env={**os.environ, "PORT": "0"},
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield await _address(process.stdout)
    finally:
        os.killpg(process.pid, signal.SIGINT)
        await process.wait()


async def _address(output: asyncio.StreamReader | None) -> str:
    """The address that the example prints once it is ready."""
    while output is not None and (line := (await output.readline()).decode()):
        if line.startswith("Open http://"):
            return line.split()[1]
    raise SystemExit("the example did not start")


async def _window(chromium: Browser, url: str, locale: str, name: str, size: Any) -> Page:
    context = await chromium.new_context(locale=locale, viewport=size, device_scale_factor=SCALE)
    page = await context.new_page()
    await page.goto(url)
    await page.get_by_role("button", name=name).click()
    return page


async def _write(page: Page, text: str) -> None:
    await page.locator("textarea").fill(text)
    await page.keyboard.press("Enter")


async def _talk(chromium: Browser, url: str, said: dict[str, Any]) -> list[Page]:
    """Let the two talk; their windows."""
    for other in ("Alice", "陈静", "عمر"):
        if other != said["customer"]:
            page = await _window(chromium, url, said["locale"], other, CUSTOMER)
            await _write(page, "你好" if other == "陈静" else "Hello")
            await expect(page.locator("[data-answer=completed]")).to_have_count(1)
            await page.context.close()
    customer = await _window(chromium, url, said["locale"], said["customer"], CUSTOMER)
    desk = await _window(chromium, url, said["locale"], said["sales"], DESK)
    for number, question in enumerate(said["questions"], 1):
        await _write(customer, question)
        await expect(customer.locator("[data-answer=completed]")).to_have_count(number)
    await desk.locator(".ws-conversation", has_text=said["customer"]).click()
    await desk.get_by_role("button", name=said["take"]).click()
    await _write(desk, said["answer"])
    await customer.locator("textarea").press_sequentially(said["typed"])
    await expect(desk.locator(".ws-typing")).not_to_be_empty()
    await desk.locator(".ws-popup .ws-close").first.click()
    for window in (desk, customer):
        await window.mouse.move(1, 1)
    await desk.wait_for_timeout(1500)
    return [desk, customer]


async def main() -> int:
    """Take the pictures; the exit status."""
    options = _options()
    known = os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"
    path = next(filter(None, (shutil.which(name) for name in known if name)), None)
    if path is None or shutil.which("npm") is None:
        print("chromium and npm are needed", file=sys.stderr)
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=path, args=ARGS)
        for language, said in LANGUAGES.items():
            async with running() as url:
                windows = await _talk(chromium, url, said)
                shots = [await window.screenshot() for window in windows]
            target = options.out / (
                "example.png" if language == "en" else f"example.{language}.png"
            )
            await _put_together(chromium, shots, target)
            print(target)
        await chromium.close()
    return 0


async def _put_together(chromium: Browser, shots: list[bytes], target: Path) -> None:
    sizes = (DESK, CUSTOMER)
    images = "".join(
        WINDOW.format(size["width"], "data:image/png;base64," + base64.b64encode(shot).decode())
        for shot, size in zip(shots, sizes, strict=True)
    )
    context = await chromium.new_context(device_scale_factor=1)
    page = await context.new_page()
    await page.set_content(FRAME.format(images))
    await page.locator("body").screenshot(path=target)
    await context.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/screenshots example", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder (default: {OUT})")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
