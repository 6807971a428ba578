"""Notifications, webhooks, the audit trail, the doctor."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.support.browser_pages import NEEDS_CHROMIUM
from tests.support.console_pages import (
    HOSTILE,
    Console,
    check_looks,
    first_and_long,
    set_health,
    subscribed,
)
from tests.support.web_server import API, Server, StartServer, token
from wsserver.storage.tables.webhooks import Posting, WebhookOutbox

pytestmark = NEEDS_CHROMIUM


def rows(page: Page) -> Any:
    return page.locator(".data tbody tr")


async def failed_notification(server: Server, user_id: str, **fields: Any) -> str:
    """A notification by e-mail, which is not configured."""
    given = {"title": HOSTILE, "message": "text", "type": "error", "channels": ["email"], **fields}
    sent = await server.post("/notify", user_ids=[user_id], **given)
    notification_id: str = sent.json()["notification_id"]
    return notification_id


@pytest.mark.gen_test
async def test_notifications_are_filtered_looked_at_and_retried(
    console: Console, server: Server
) -> None:
    await failed_notification(server, "n1", action_url="/javascript:alert(1)")
    await server.post("/notify", user_ids=["n2"], title="Fine", message="m", type="info")
    async with console.page("/notifications") as page:
        await expect(rows(page)).to_have_count(2)
        await page.get_by_label("All states").select_option("not_configured")
        await expect(rows(page)).to_have_count(1)
        assert page.url.endswith("?state=not_configured")
        await page.get_by_role("link", name=HOSTILE).click()
        await expect(rows(page)).to_contain_text("not configured")
        await expect(page.locator("main")).to_contain_text("/javascript:alert(1)")
        await expect(page.locator("main a[href*=javascript]")).to_have_count(0)
        await page.get_by_role("button", name="Retry").click()
        dialog = page.locator("dialog")
        await expect(dialog).to_contain_text("1 not configured")
        await dialog.get_by_role("button", name="Retry").click()
        await expect(page.locator("#toasts")).to_contain_text("Tried again: 1")
        await page.go_back()
        await expect(rows(page)).to_have_count(1)


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_pending_notification_is_cancelled(
    chromium: Browser, start_server: StartServer
) -> None:
    server = await start_server(smtp_url="smtp://127.0.0.1:9", mail_from="a@example.com")
    console = Console(chromium, server)
    path = f"{API}/users/n3/contacts"
    await server.request("PUT", path, bearer=token(), email="n3@example.com")
    sent = await server.post(
        "/notify",
        user_ids=["n3"],
        title="Later",
        message="m",
        type="info",
        escalate=[{"after_s": 3600, "channel": "email"}],
    )
    async with console.page(f"/notifications/{sent.json()['notification_id']}") as page:
        await expect(rows(page).filter(has_text="email")).to_contain_text("pending")
        await page.get_by_role("button", name="Cancel").click()
        dialog = page.locator("dialog")
        await expect(dialog).to_contain_text("1 pending")
        await dialog.locator("button[type=submit]").click()
        await expect(page.locator("#toasts")).to_contain_text("Cancelled: 1")
        await expect(rows(page).filter(has_text="email")).to_contain_text("cancelled")


@pytest.mark.gen_test
@pytest.mark.long
async def test_preferences_of_a_user_are_shown_and_changed(
    console: Console, server: Server, axe: str
) -> None:
    path = f"{API}/users/n4/preferences"
    off = {"*": {"sms": False}, "device_status": {"email": False}}
    await server.request("PATCH", path, bearer=token(), channels=off)
    async with console.page("/users/n4", requests_fail=True) as page:
        panel = page.locator("section.panel").filter(has_text="Notification preferences")
        await expect(panel.locator("dd")).to_have_text(["SMS off", "E-mail off"])
        await panel.get_by_role("button", name="Change…").click()
        dialog = page.locator("dialog")
        for name, value in {"websocket": "on", "push": "on", "sms": "off", "email": "on"}.items():
            await expect(dialog.locator(f"select[name={name}]")).to_have_value(value)
        await check_looks(page, axe)
        await dialog.locator("select[name=sms]").select_option("on")
        await dialog.get_by_label("Template").select_option("device_status")
        for name, value in {"websocket": "", "push": "", "sms": "", "email": "off"}.items():
            await expect(dialog.locator(f"select[name={name}]")).to_have_value(value)
        await dialog.locator("select[name=push]").select_option("off")
        await dialog.locator("select[name=email]").select_option("")
        await dialog.get_by_label("Quiet from").fill("22:00")
        await dialog.get_by_label("Quiet until").fill("07:00")
        await dialog.get_by_label("Time zone of the quiet hours").fill("Mars/Base")
        await dialog.get_by_label("Daily digest at").fill("08:00")
        await dialog.get_by_label("Time zone of the digest").fill("Asia/Shanghai")
        await dialog.get_by_role("button", name="Save").click()
        await expect(dialog.get_by_role("alert")).to_contain_text("quiet_hours.time_zone: ")
        await dialog.get_by_label("Time zone of the quiet hours").fill("Europe/Berlin")
        await dialog.get_by_role("button", name="Save").click()
        await expect(panel.locator("dd")).to_have_text(
            ["Push off", "22:00–07:00 Europe/Berlin", "08:00 Asia/Shanghai: E-mail"]
        )
    kept = (await server.request("GET", path, bearer=token())).json()
    assert kept["channels"] == {"device_status": {"push": False}}
    assert kept["daily_digest"]["channels"] == ["email"]


@pytest.mark.gen_test
@pytest.mark.long
async def test_preferences_of_others_are_there_for_those_who_may_send_notifications(
    chromium: Browser, start_server: StartServer
) -> None:
    server = await start_server(permissions={"manager": ("connections:read",)})
    console = Console(chromium, server)
    manager = {"role": "manager", "organization_id": "acme"}
    for name in ("m1", "n5"):
        await server.connect(name, organization_id="acme")
    async with console.page("/users/n5", bearer=token("m1", **manager)) as page:
        change = page.get_by_role("button", name="Change…")
        await expect(page.locator("section.panel h2")).to_have_text(["User"])
        await expect(change).to_have_count(0)
        await console.open(page, "/users/m1")
        await expect(page.locator("main")).to_contain_text("Nothing chosen: all channels are on.")
        await expect(change).to_be_visible()


@pytest.mark.gen_test
@pytest.mark.long
async def test_webhooks_that_were_given_up_are_retried(console: Console, server: Server) -> None:
    outbox = WebhookOutbox(server.context.webhooks.outbox._database)
    body = b'{"name": "<b>alert_raised</b>"}'
    await outbox.add([Posting("hook_1", "https://a.example/x", "alert_raised", body, 1e9)])
    async with console.page("/webhooks") as page:
        await page.get_by_role("link", name="alert_raised").click()
        await expect(page.locator(".json")).to_contain_text("<b>alert_raised</b>")
        await expect(page.locator("main")).to_contain_text("a.example")
        await expect(page.get_by_role("button", name="Retry")).to_be_disabled()
        await console.open(page, "/webhooks?state=failed")
        await expect(rows(page)).to_have_text(["Nothing waits, nothing was given up."])
        await page.get_by_role("button", name="Retry all that failed").click()
        await expect(page.locator("dialog")).to_contain_text("Failed now: 0")


@pytest.mark.gen_test
async def test_the_audit_trail_says_who_did_what(console: Console, server: Server) -> None:
    for number in range(60):
        await server.post("/users/disconnect", user_id=f"a{number}", reason=HOSTILE[:100])
    async with console.page("/audit?action=disconnect") as page:
        await expect(rows(page)).to_have_count(50)
        await expect(rows(page).first).to_contain_text("user a59")
        await expect(rows(page).first).to_contain_text("window.hacked=1")
        await page.get_by_role("button", name="Next").click()
        await expect(rows(page).last).to_contain_text("user a0")
        await expect(page.locator(".toolbar [role=status]")).to_have_text(
            re.compile(r"51–\d+ of \d+")
        )
        await page.get_by_label("Who").fill("nobody")
        await page.keyboard.press("Enter")
        await expect(rows(page)).to_have_text(["Nothing here."])


@pytest.mark.gen_test
@pytest.mark.long
async def test_pages_are_turned_over_one_at_a_time(console: Console) -> None:
    entry = {"actor": "ops", "role": "admin", "action": "drain", "target": "node:n1", "detail": {}}
    entry |= {"at": "2026-01-01T00:00:00Z", "outcome": "ok", "remote_ip": "::1", "request_id": "r"}

    async def pages(route: Route) -> None:
        start = int(parse_qs(urlsplit(route.request.url).query).get("cursor", ["0"])[0])
        body = {"entries": [entry] * 50, "total": 200, "next_cursor": str(start + 50)}
        await route.fulfill(body=json.dumps(body), content_type="application/json")

    async with console.page() as page:
        await page.route("**/websocket/audit?*", pages)
        await console.open(page, "/audit")
        note = page.locator(".toolbar [role=status]")
        await expect(note).to_have_text("1–50 of 200")
        for name, shown in (("Next", "51–100 of 200"), ("Previous", "1–50 of 200")):
            button = page.get_by_role("button", name=name)
            await button.evaluate("(button) => { button.click(); button.click(); }")
            await expect(note).to_have_text(shown)


@pytest.mark.gen_test
async def test_the_doctor_finds_what_is_wrong(
    console: Console, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_health(server, monkeypatch, loop={"ok": False, "lag_ms": 9000.0})
    async with console.page("/doctor") as page:
        await expect(page.locator(".heading .pill")).to_contain_text("1 failed")
        row = page.get_by_role("row", name="Event loop")
        await expect(row).to_contain_text("lags by 9 s")
        await expect(row).to_contain_text("Check what keeps the processor busy")
        await expect(page.get_by_role("row", name="Delivery")).to_contain_text(
            "published and received in"
        )
        await expect(page.get_by_role("row", name="Channel email")).to_contain_text("skipped")
        set_health(server, monkeypatch)
        await page.get_by_role("button", name="Check again").click()
        await expect(page.locator(".heading .pill")).to_contain_text("0 failed")


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_proxy_that_is_not_trusted_is_found(
    chromium: Browser, start_server: StartServer
) -> None:
    console = Console(chromium, await start_server())
    async with console.page(extra_http_headers={"X-Forwarded-For": "192.0.2.9"}) as page:
        await console.open(page, "/doctor")
        row = page.get_by_role("row", name="Proxy")
        await expect(row).to_contain_text("Name it in trusted_proxies.")


@pytest.mark.gen_test
async def test_pages_of_all_organizations_are_not_for_a_manager(console: Console) -> None:
    permissions = {"stats:read", "monitor", "audit:read"}
    bearer = token("m1", "manager", organization_id="o1", permissions=sorted(permissions))
    async with console.page("/audit", bearer=bearer) as page:
        await expect(page.locator("main h1")).to_have_text("Your role may not see this page.")
        names = await page.locator("#nav a").all_text_contents()
        assert names == ["Overview", "Chat tester", "Quotas", "Doctor", "REST API"]


@pytest.mark.parametrize(
    "path",
    first_and_long(
        "/notifications", "/notifications/ONE", "/webhooks", "/audit", "/doctor", "/live"
    ),
)
@pytest.mark.gen_test
async def test_nothing_stands_in_the_way_of_a_screen_reader(
    console: Console, server: Server, axe: str, path: str
) -> None:
    path = path.replace("ONE", await failed_notification(server, "n9"))
    async with console.page(path) as page:
        if path == "/live":
            await subscribed(server, "message_published")
            await server.post("/broadcast", type="hint", data=1)
            await expect(page.locator(".live-space .live-row").first).to_be_visible()
        else:
            await expect(rows(page).first).to_be_visible()
        await check_looks(page, axe)
