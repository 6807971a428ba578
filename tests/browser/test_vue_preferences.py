"""The Vue component for notification preferences, on a page that is connected to a server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect
from tornado.ioloop import IOLoop

from tests.support.browser_pages import NEEDS_CHROMIUM, url_of
from tests.support.vue_pages import NEEDS_NPM, accessibility_faults, vue_page, vue_server
from tests.support.web_server import Server, starting, token

pytestmark = [*NEEDS_CHROMIUM, NEEDS_NPM]

PAGE = """
    const { createApp, h } = await import("vue");
    const vue = await import("@wsserver/client/vue");
    const preferences = await import("@wsserver/client/vue/preferences");
    const { WsClient } = await import("@wsserver/client");
    const client = new WsClient({ url: "URL", token: "TOKEN", shareTabs: false });
    window.client = client;
    await client.connect();
    createApp({
        setup() {
            vue.useWsClient(client);
            if ("LOCALE") vue.useWsLocale("LOCALE");
            const slots = { preferences: () => h(preferences.WsNotificationPreferences, {
                templates: ["device_status", "order_paid"], names: { order_paid: "<b>Paid</b>" },
            }) };
            return () => [
                h("h1", { class: "ws" }, "Settings"),
                "CENTRE" ? h("header", { style: { display: "flex", justifyContent: "end" } },
                        [h(vue.WsNotifications, {}, slots)])
                    : h("div", { style: "padding: 1rem" }, [slots.preferences()]),
            ];
        },
    }).mount("#app");
"""
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}


@pytest.fixture(scope="module")
def vue_url(tmp_path_factory: pytest.TempPathFactory, node_modules: Path) -> Iterator[str]:
    """A page for components."""
    with vue_server(
        tmp_path_factory.mktemp("vue"), node_modules, "body { overflow: auto; }"
    ) as url:
        yield url


@pytest.fixture(scope="module")
def server(
    io_loop: IOLoop, vue_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One server for all tests of the module; each has a user of its own."""
    folder: Path = tmp_path_factory.mktemp("servers")
    with starting(io_loop, folder) as start:
        yield io_loop.run_sync(lambda: start(allowed_origins=(vue_url,)))


@contextlib.asynccontextmanager
async def shown(
    chromium: Browser, url: str, server: Server, user: str, locale: str = "", **options: Any
) -> AsyncIterator[Page]:
    """A page with the preferences of a user."""
    centre = options.pop("centre", "")
    script = PAGE.replace("URL", url_of(server)).replace("TOKEN", token(user, "user"))
    script = script.replace("LOCALE", locale).replace("CENTRE", centre)
    async with vue_page(chromium, url, script, **options) as page:
        yield page


async def stored(server: Server, user: str) -> dict[str, Any]:
    """What the server has."""
    answer = await server.get(f"/users/{user}/preferences")
    return dict(answer.json())


@pytest.mark.gen_test
async def test_channels_quiet_hours_and_digest_are_chosen_with_the_keyboard(
    chromium: Browser, server: Server, vue_url: str
) -> None:
    zone = "Asia/Shanghai"
    async with shown(chromium, vue_url, server, "ann", timezone_id=zone) as page:
        box = page.get_by_role("checkbox", name="Device status: SMS")
        await expect(box).to_be_checked()
        await box.focus()
        await page.keyboard.press("Space")
        await expect(page.get_by_role("status")).to_have_text("Saved")
        assert (await stored(server, "ann"))["channels"] == {"device_status": {"sms": False}}
        await page.get_by_role("checkbox", name="All others: SMS").press("Space")
        await expect(page.get_by_role("checkbox", name="<b>Paid</b>: SMS")).not_to_be_checked()
        await box.press("Space")  # a choice of its own again
        await box.press("Space")  # as for all others: none of its own
        await page.get_by_role("checkbox", name="Quiet hours").press("Space")
        await page.get_by_label("Until").fill("06:30")
        await page.get_by_role("checkbox", name="Daily digest").press("Space")
        await page.get_by_role("checkbox", name="SMS", exact=True).press("Space")
        await page.get_by_role("checkbox", name="E-mail", exact=True).press("Space")
        await expect(page.get_by_role("checkbox", name="SMS", exact=True)).to_be_disabled()
        await expect(page.get_by_role("status")).to_have_text("Saved")
        found = await stored(server, "ann")
        assert {name: found[name] for name in ("channels", "quiet_hours", "daily_digest")} == {
            "channels": {"*": {"sms": False}},
            "quiet_hours": {"start": "22:00", "end": "06:30", "time_zone": zone},
            "daily_digest": {"at": "08:00", "time_zone": zone, "channels": ["sms"]},
        }
        await page.get_by_role("checkbox", name="Quiet hours").press("Space")
        await page.get_by_role("checkbox", name="Daily digest").press("Space")
        await expect(page.get_by_label("Until")).to_have_count(0)
        await expect(page.get_by_role("status")).to_have_text("Saved")
        found = await stored(server, "ann")
        assert (found["quiet_hours"]["start"], found["daily_digest"]) == ("00:00", None)


@pytest.mark.gen_test
@pytest.mark.long
async def test_what_the_server_refuses_is_taken_back(
    chromium: Browser, server: Server, vue_url: str
) -> None:
    async with shown(chromium, vue_url, server, "bob", timezone_id="Europe/Berlin") as page:
        await page.get_by_role("checkbox", name="Quiet hours").check()
        zone = page.get_by_label("Time zone")
        await zone.fill("Mars/Base")
        sms = page.get_by_role("checkbox", name="Device status: SMS")
        for state in (False, True):  # saved while the user is typing: the focus stays
            await sms.evaluate("box => box.click()")
            await expect(sms).to_be_checked(checked=state)
            await expect(page.locator(".ws-state")).to_have_text("Saved")
        await expect(zone).to_have_value("Mars/Base")
        await zone.press("Tab")
        await expect(page.get_by_role("alert")).to_contain_text("Not saved")
        await expect(zone).to_have_value("Europe/Berlin")
        box = page.get_by_role("checkbox", name="All others: E-mail")
        await page.evaluate("client.close()")
        await box.click()  # without a connection
        await expect(page.get_by_role("alert")).to_contain_text("Not saved")
        await expect(box).to_be_checked()
        assert (await stored(server, "bob"))["channels"] == {}


@pytest.mark.parametrize(
    ("locale", "dark"), [("", False), pytest.param("zh-CN", True, marks=pytest.mark.long)]
)
@pytest.mark.gen_test
async def test_it_is_a_pane_of_the_centre_that_fits_and_is_accessible(
    chromium: Browser, server: Server, vue_url: str, locale: str, dark: bool
) -> None:
    options: dict[str, Any] = PHONE | {"color_scheme": "dark" if dark else "light"}
    user = f"carl{locale}"
    async with shown(chromium, vue_url, server, user, locale, centre="yes", **options) as page:
        await page.locator(".ws-bell").click()
        await page.get_by_role("button", name="偏好设置" if dark else "Preferences").click()
        await page.get_by_role("checkbox", name="免打扰时段" if dark else "Quiet hours").check()
        await page.get_by_role("checkbox", name="每日摘要" if dark else "Daily digest").check()
        await expect(page.locator(".ws-state")).to_have_text("已保存" if dark else "Saved")
        name = "设备状态: 短信" if dark else "Device status: SMS"
        await expect(page.get_by_role("checkbox", name=name)).to_be_checked()
        assert await accessibility_faults(page) == []
        fits = "pane => pane.scrollWidth <= pane.clientWidth"
        assert await page.locator(".ws-choices").evaluate(fits)
        await page.keyboard.press("Escape")
        await expect(page.locator(".ws-choices")).to_have_count(0)
