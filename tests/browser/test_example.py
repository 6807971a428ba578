"""The example application: a customer, the assistant, a sales person, in two windows."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.browser_pages import NEEDS_CHROMIUM
from tests.support.vue_pages import NEEDS_NPM, accessibility_faults, copy_package, install
from tests.support.waiting import PATIENCE_S

pytestmark = [*NEEDS_CHROMIUM, NEEDS_NPM]

SERVE = f'#!/bin/sh\nexec "{sys.executable}" -m wsserver serve --dev "$@"\n'


@contextlib.asynccontextmanager
async def example(folder: Path, node_modules: Path) -> AsyncIterator[str]:
    """The address of the example, started as its page says; it ends in an orderly way."""
    package = copy_package(folder, node_modules)
    (folder / "scripts").mkdir()
    serve = folder / "scripts" / "serve"  # of the repository, which has its packages already
    serve.write_text(SERVE)
    serve.chmod(0o755)
    install(package / "example", "install")
    process = await asyncio.create_subprocess_exec(
        "npm",
        "start",
        cwd=package / "example",
        env={**os.environ, "PORT": "0"},
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                line = (await process.stdout.readline()).decode()
                assert line, "it has ended"
                if line.startswith("Open http://"):
                    break
        yield line.split()[1]
    finally:
        os.killpg(process.pid, signal.SIGINT)  # Ctrl-C
        await asyncio.wait_for(process.wait(), PATIENCE_S)


@contextlib.asynccontextmanager
async def window(chromium: Browser, url: str, name: str, **options: Any) -> AsyncIterator[Page]:
    """A window in which somebody has signed in; nothing may go wrong in it."""
    context = await chromium.new_context(**{"locale": "en-US", **options})
    page = await context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda message: faults.append(message.text) if message.type == "error" else None,
    )
    try:
        await page.goto(url)
        await page.get_by_role("button", name=name).click()
        yield page
        assert faults == []
    finally:
        await context.close()


async def write(page: Page, text: str) -> None:
    await page.locator("textarea").fill(text)
    await page.keyboard.press("Enter")


@pytest.mark.long
@pytest.mark.gen_test(timeout=240)
async def test_a_customer_is_answered_by_the_assistant_and_then_by_a_person(
    chromium: Browser, node_modules: Path, tmp_path: Path
) -> None:
    async with (
        example(tmp_path, node_modules) as url,
        window(chromium, url, "Alice") as alice,
        window(chromium, url, "Lee") as lee,
    ):
        await alice.get_by_role("button", name="How wide").click()
        answer = alice.locator("[data-answer]").last
        await expect(answer).to_contain_text("The Lund sofa is 2.10 m wide")
        await expect(answer).to_have_attribute("data-answer", "completed")
        entry = lee.locator(".ws-conversation", has_text="Alice")
        await expect(entry.locator(".ws-badge")).to_contain_text("2")
        # A person is wanted.
        await write(alice, "I would like to talk to a human")
        await expect(lee.locator(".ws-popup")).to_contain_text("A customer is waiting")
        await expect(entry).to_contain_text("Waiting")
        await lee.locator(".ws-popup a").click()
        await expect(lee.locator(".ws-message", has_text="How wide")).to_be_visible()
        await lee.get_by_role("button", name="Take over").click()
        await expect(lee.locator(".desk .ws-holder")).to_contain_text("You answer")
        await expect(alice.locator(".ws-holder")).to_have_text("A colleague answers")
        await expect(entry).not_to_contain_text("Waiting")
        # They talk; the assistant is silent.
        await lee.locator("textarea").press_sequentially("Hi")
        await expect(alice.locator(".ws-typing")).to_contain_text("Lee is typing")
        await write(lee, "Hi Alice")
        await expect(alice.locator(".ws-message").last).to_contain_text("Hi Alice")
        read = lee.locator(".ws-own .ws-ticks").last
        await expect(read).to_have_attribute("aria-label", "Read")
        await write(alice, "What does it cost?")
        await expect(lee.locator(".ws-message").last).to_contain_text("What does it cost?")
        # Back to the assistant, and taken again in the middle of its answer.
        await lee.get_by_role("button", name="Back to the AI").click()
        await expect(alice.locator(".ws-holder")).to_have_text("Our assistant answers")
        await write(alice, "How do returns work?")
        growing = lee.locator("[data-answer=growing]")
        await expect(growing).to_contain_text("30 days")
        await lee.get_by_role("button", name="Take over").click()
        await expect(growing).to_have_count(0)
        await expect(alice.locator(".ws-meta").last).to_contain_text("Interrupted")
        # After a reload everything is there, in another language.
        await alice.reload()
        await alice.get_by_role("button", name="中文").click()
        await expect(alice.locator(".ws-message").last).to_contain_text("已中断")
        await expect(alice.locator("textarea")).to_have_attribute("placeholder", "输入消息…")
        assert "隆德家具" in await alice.title()
        # Signing out leads to somebody else.
        await lee.get_by_role("button", name="Sign out").click()
        await lee.get_by_role("button", name="王磊").click()
        await expect(lee.locator(".ws-conversation")).to_contain_text("Alice")


@pytest.mark.long
@pytest.mark.gen_test(timeout=240)
async def test_it_is_usable_on_a_phone_and_axe_finds_nothing(
    chromium: Browser, node_modules: Path, tmp_path: Path
) -> None:
    phone = {"viewport": {"width": 380, "height": 720}, "reduced_motion": "reduce"}
    async with (
        example(tmp_path, node_modules) as url,
        window(chromium, url, "عمر", **phone) as omar,
        window(chromium, url, "Lee", **phone, color_scheme="dark") as lee,
    ):
        await write(omar, "Hello")
        await expect(omar.locator("[data-answer=completed]")).to_be_visible()
        await lee.locator(".ws-conversation", has_text="عمر").click()
        await expect(lee.locator(".ws-message")).to_have_count(2)
        axe = (node_modules / "axe-core" / "axe.min.js").read_text()
        for page in (omar, lee):
            assert await accessibility_faults(page, axe) == []
            wide = "document.documentElement.scrollWidth - innerWidth"
            assert await page.evaluate(wide) == 0
        await lee.get_by_role("button", name="Back", exact=True).click()
        await expect(lee.locator(".ws-conversation")).to_be_visible()
        assert await accessibility_faults(lee, axe) == []
