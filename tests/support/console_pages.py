"""Pages of the operators' console, opened and signed in."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.browser_pages import Listening, faultless_page, url_of
from tests.support.waiting import until
from tests.support.web_server import Server, token

PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "is_mobile": True,
    "has_touch": True,
}
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=2</script>'
"""A name or a text that must stay text."""
AXE_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOR_RULES = ["color-contrast", "link-in-text-block"]
"""Those whose result depends on colours; all others find in dark what they found in light.

They take two thirds of the time, and colours are the same on a phone."""


def set_health(server: Server, monkeypatch: pytest.MonkeyPatch, **checks: Any) -> None:
    """Let the server report these results of checks; all others are well, busy as it may be."""
    found = server.context.health()
    well = {name: {**check, "ok": True} for name, check in found["checks"].items()}
    status = "ok" if all(check.get("ok", True) for check in checks.values()) else "degraded"
    merged = {name: {**check, **checks.get(name, {})} for name, check in well.items()}
    monkeypatch.setattr(server.context, "health", lambda: {"status": status, "checks": merged})


async def subscribed(server: Server, name: str) -> None:
    """Wait until a page gets the events of this name: what happens before is not shown."""
    await until(lambda: server.system.manager.events.hears(name))


class Console:
    """Opens pages of one server's console, each in a browser context of its own."""

    def __init__(self, chromium: Browser, server: Listening) -> None:
        self.chromium, self.server = chromium, server

    @contextlib.asynccontextmanager
    async def page(
        self,
        path: str = "",
        *,
        bearer: str | None = None,
        phone: bool = False,
        **options: Any,
    ) -> AsyncIterator[Page]:
        """A page of the console for the bearer of a token, an administrator by default."""
        if phone:
            options = PHONE | options
        async with faultless_page(self.chromium, **options) as page:
            await self.sign_in(page, bearer or token("ops", sessions="*"))
            await self.open(page, path)
            yield page
            assert await page.evaluate("window.hacked") is None

    async def open(self, page: Page, path: str = "") -> None:
        """Go to an address of the console and wait until its page is there."""
        await page.goto(f"{url_of(self.server)}/console{path}")
        await expect(page.locator("main h1")).to_be_visible()
        await expect(page.locator("main .loading")).to_have_count(0)

    async def sign_in(self, page: Page, bearer: str) -> None:
        """Give the page's context the cookie that the sign-in would give it."""
        answer = await page.context.request.post(
            f"{url_of(self.server)}/api/v1/websocket/console/session",
            data={"token": bearer},
            headers={"X-Wsserver-Console": "1"},
        )
        assert answer.ok, await answer.text()


async def accessibility_faults(
    page: Page, axe: str, rules: Sequence[str] = AXE_RULES, without: Sequence[str] = ()
) -> list[str]:
    """What axe-core finds on a page: rule, element, and what is wrong."""
    options = {
        "runOnly": rules,
        "rules": {name: {"enabled": False} for name in without},
        "resultTypes": ["violations"],
        "preload": False,  # would read all style sheets again, for a rule that is not run
    }
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(axe)
    found = await page.evaluate(f"axe.run(document, {json.dumps(options)})")
    return [
        f"{rule['id']}: {node['target']} {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


async def check_accessible(
    page: Page, axe: str, rules: Sequence[str] = AXE_RULES, without: Sequence[str] = ()
) -> None:
    """Look for faults of accessibility that stay: a page may just be rendered anew."""
    for _ in range(5):
        await expect(page.locator("main h1")).to_be_visible()
        faults = await accessibility_faults(page, axe, rules, without)
        if not faults:
            return
    raise AssertionError("\n".join(faults))


def first_and_long(*paths: str) -> list[Any]:
    """Parameters: each page takes seconds to be looked at, so all but one are ``long``."""
    return [paths[0], *[pytest.param(path, marks=pytest.mark.long) for path in paths[1:]]]


async def check_looks(page: Page, axe: str) -> None:
    """Look for faults of accessibility: in light, in dark, and on a phone, which it has to fit."""
    await check_accessible(page, axe)
    await page.emulate_media(color_scheme="dark")
    await check_accessible(page, axe, COLOR_RULES)
    await page.set_viewport_size(PHONE["viewport"])
    await check_accessible(page, axe, without=COLOR_RULES)
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["viewport"]["width"]
