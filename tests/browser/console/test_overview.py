"""The overview: figures, plots, what needs attention."""

from __future__ import annotations

import re
import time

import pytest
from playwright.async_api import Browser, expect

from tests.support.browser_pages import NEEDS_CHROMIUM
from tests.support.console_pages import HOSTILE, Console, check_looks, set_health, subscribed
from tests.support.snapshot_rows import snapshot
from tests.support.web_server import Server, StartServer, token

pytestmark = NEEDS_CHROMIUM


async def store_history(server: Server) -> None:
    """An hour of snapshots, one a minute, with 1,000 messages sent in each."""
    now = time.time()
    for minute in range(60, 0, -1):
        number = 60 - minute
        row = snapshot(now - minute * 60, 10)
        more = {"sequence": number, "messages_sent": 1000 * number}
        more |= {"rtt_ms_p50": 2, "rtt_ms_p95": 4, "rtt_ms_p99": 8}
        await server.context.snapshots.add(row | more)


@pytest.mark.gen_test
async def test_figures_follow_what_happens(
    console: Console, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store_history(server)
    set_health(server, monkeypatch)
    async with console.page() as page:
        await subscribed(server, "alert_raised")  # its own connection is counted, too
        before = server.system.manager.stats()["total_connections"]
        await expect(page.locator(".tile b").first).to_have_text(str(before))
        await server.connect("u1")
        await expect(page.locator(".tile b").first).to_have_text(str(before + 1))
        await expect(page.locator(".heading .pill")).to_have_text("ok")
        await expect(page.locator(".attention")).to_be_hidden()
        nodes = page.get_by_role("row", name="test")
        await expect(nodes).to_contain_text("up")
        plot = page.get_by_role("img", name="Messages per second")
        await expect(plot).to_have_attribute("aria-label", re.compile("out: now"))


@pytest.mark.gen_test
@pytest.mark.long
async def test_each_plot_has_its_numbers_as_a_table(console: Console, server: Server) -> None:
    await store_history(server)
    async with console.page("?range=1h") as page:
        await expect(page.locator(".plot .plot-line").first).to_have_attribute("d", re.compile("L"))
        await page.get_by_role("button", name="Messages per second as a table").click()
        rows = page.locator("dialog tbody tr")
        await expect(rows.nth(5)).to_contain_text("16.7")
        await page.keyboard.press("Escape")
        await expect(page.locator("dialog")).to_have_count(0)


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_line_is_hidden_by_its_name_below_the_plot(
    console: Console, server: Server
) -> None:
    await store_history(server)
    async with console.page() as page:
        plot = page.locator(".plot", has_text="Round trip to clients")
        lines = plot.locator(".plot-line:not([d=''])")
        await expect(lines).to_have_count(3)
        p99 = plot.get_by_role("button", name="p99")
        await p99.press("Enter")
        await expect(lines).to_have_count(2)
        await expect(p99).to_have_attribute("aria-pressed", "false")
        await expect(plot.locator("svg.plot-area")).to_have_attribute(
            "aria-label", re.compile("p99: hidden")
        )
        await p99.click()
        await expect(lines).to_have_count(3)


@pytest.mark.gen_test
@pytest.mark.long
async def test_the_keyboard_moves_through_a_plot(console: Console, server: Server) -> None:
    await store_history(server)
    async with console.page("?range=1h") as page:
        plot = page.get_by_role("img", name="Messages per second")
        await expect(page.locator(".plot .plot-line").first).to_have_attribute("d", re.compile("L"))
        await plot.focus()
        await page.keyboard.press("Home")
        await page.keyboard.press("ArrowRight")
        spoken = page.locator(".plot", has=plot).locator("[aria-live]")
        await expect(spoken).to_contain_text("out 16.7, in 0")
        await expect(page.locator(".plot-cursor circle").nth(5)).to_be_attached()  # in all plots


@pytest.mark.gen_test
@pytest.mark.long
async def test_dragging_zooms_and_the_address_keeps_it(console: Console, server: Server) -> None:
    await store_history(server)
    async with console.page() as page:
        plot = page.get_by_role("img", name="Connections.")
        box = await plot.bounding_box()
        assert box is not None
        await page.mouse.move(box["x"] + 150, box["y"] + 60)
        await page.mouse.down()
        await page.mouse.move(box["x"] + 250, box["y"] + 60, steps=4)
        await page.mouse.up()
        back = page.get_by_role("button", name="Back to 1 h")
        await expect(back).to_be_visible()
        assert "from=" in page.url
        await page.reload()
        await back.click()
        await expect(back).to_be_hidden()
        assert "from=" not in page.url


@pytest.mark.gen_test
async def test_what_is_wrong_is_said_first(
    console: Console, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_health(server, monkeypatch, loop={"ok": False, "lag_ms": 9000.0})
    async with console.page() as page:
        await subscribed(server, "alert_raised")
        server.system.manager.emit(
            "alert_raised", alert=HOSTILE, value=0.5, threshold=0.05, window_s=60
        )
        shown = page.locator(".attention")
        await expect(shown).to_contain_text("Check failed: Event loop")
        await expect(page.locator(".heading .pill")).to_have_text("degraded")
        await expect(shown).to_contain_text(f"Alert {HOSTILE}: 0.5 (limit 0.05)")


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_manager_sees_the_figures_of_the_organization(
    console: Console, server: Server
) -> None:
    for number in range(3):
        await server.connect(f"mine{number}", organization_id="o7")
    async with console.page(bearer=token("m1", "manager", organization_id="o7")) as page:
        await expect(page.locator(".tile b").first).to_have_text("3")
        names = await page.locator(".segments button").all_text_contents()
        assert names == ["5 min", "15 min"]
        await expect(page.locator("#feed")).to_have_text("Polling")


@pytest.mark.gen_test
@pytest.mark.long
async def test_nothing_stands_in_the_way_of_a_screen_reader(
    console: Console, server: Server, axe: str
) -> None:
    await store_history(server)
    async with console.page(locale="zh-CN") as page:
        await expect(page.locator(".plot .plot-line").first).to_have_attribute("d", re.compile("L"))
        await check_looks(page, axe)
        await page.locator(".plot button").first.click()
        await check_looks(page, axe)


@pytest.mark.gen_test
async def test_a_node_is_drained_after_a_preview(
    chromium: Browser, start_server: StartServer
) -> None:
    server = await start_server()
    console = Console(chromium, server)
    async with console.page(requests_fail=True) as page:
        await page.get_by_role("button", name="Drain").click()
        dialog = page.locator("dialog")
        await expect(dialog).to_contain_text("The node refuses new clients")
        await dialog.get_by_role("button", name="Drain").click()
        await expect(page.locator("#toasts")).to_contain_text("Node test drains")
        assert server.system.manager.is_draining
