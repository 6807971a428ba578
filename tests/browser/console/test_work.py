"""Tasks and quotas, where the server has them; texts in both languages."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.browser_pages import NEEDS_CHROMIUM
from tests.support.console_pages import HOSTILE, Console, check_looks, first_and_long
from tests.support.web_server import API, Server, StartServer, token
from wsserver.web.server.assets import ASSETS

pytestmark = NEEDS_CHROMIUM

SCOPE = "organization:o5"


def rows(page: Page) -> Any:
    return page.locator(".data tbody tr")


async def make_task(server: Server, title: str) -> str:
    steps = [{"title": "Call"}, {"title": HOSTILE}]
    made = await server.post("/tasks", title=title, steps=steps, assignee={"user": "nils"})
    task_id: str = made.json()["task_id"]
    return task_id


async def make_quota(server: Server, scope: str = SCOPE, limit: int = 1000) -> None:
    path = f"{API}/quotas/{scope}"
    await server.request(
        "PUT", path, bearer=token(), limit=limit, unit="tokens", period="month", at_limit="stop"
    )
    await server.post("/usage", scope=scope, amount=limit * 0.9, source=HOSTILE[:40])


@pytest.mark.gen_test
async def test_a_task_is_taken_through_its_states(console: Console, server: Server) -> None:
    await make_task(server, HOSTILE)
    async with console.page("/tasks") as page:
        await page.get_by_role("link", name=HOSTILE).click()
        await expect(page.locator(".steps li")).to_have_text(["Call", HOSTILE])
        for state, note in (("running", "on it"), ("done", "")):
            await page.get_by_role("button", name=f"→ {state}").click()
            dialog = page.locator("dialog")
            await dialog.get_by_label("Note").fill(note)
            await dialog.locator("button[type=submit]").click()
            await expect(page.locator(".heading .pill")).to_have_text(state)
        await expect(page.get_by_role("button", name="→")).to_have_count(0)
        await expect(page.locator("main")).to_contain_text("on it")
        await expect(page.locator("main")).to_contain_text("100 %")


@pytest.mark.gen_test
async def test_a_task_is_created_and_goes_on_step_by_step(console: Console, server: Server) -> None:
    async with console.page("/tasks", requests_fail=True) as page:
        await page.get_by_role("button", name="New task").click()
        dialog = page.locator("dialog")
        await dialog.get_by_label("Title").fill(HOSTILE)
        await dialog.get_by_label("Steps").fill("Call\n\n  Visit \n")
        await expect(dialog.get_by_label("Assignee")).to_be_hidden()
        await dialog.get_by_label("Assigned to").select_option("user")
        await dialog.get_by_label("Assignee").fill("no id!")
        await dialog.get_by_label("Session").fill("bad session")
        await dialog.get_by_label("Due").fill("2030-01-15T14:30")
        await dialog.get_by_role("button", name="Create").click()
        problem = dialog.get_by_role("alert")
        await expect(problem).to_contain_text("assignee.user: ")
        await expect(problem).to_contain_text("session_id: ")
        await dialog.get_by_label("Assignee").fill("nils")
        await dialog.get_by_label("Session").fill("s1")
        await dialog.get_by_role("button", name="Create").click()
        await expect(page.locator(".steps li")).to_have_text(["Call", "Visit"])
        await expect(page.locator("main")).to_contain_text("2030")
        await page.get_by_role("button", name="→ running").click()
        await dialog.locator("button[type=submit]").click()
        await expect(page.get_by_role("button", name="→ running")).to_be_hidden()
        await page.get_by_role("button", name="Progress…").click()
        await dialog.get_by_label("Current step").select_option("1")
        await dialog.get_by_label("Progress in percent").fill("40")
        await dialog.get_by_role("button", name="Save").click()
        await expect(page.locator(".steps [aria-current]")).to_have_text("Visit")
        await expect(page.locator("main")).to_contain_text("40 %")
    (task,) = [
        each
        for each in (await server.get("/tasks")).json()["tasks"]
        if [step["title"] for step in each["steps"]] == ["Call", "Visit"]
    ]
    assert (task["title"], task["assignee"], task["session_id"]) == (
        HOSTILE,
        {"user": "nils"},
        "s1",
    )


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_session_leads_to_a_task_in_it(console: Console, server: Server) -> None:
    await server.post("/sessions/deal/messages", type="new_message", content="hi")
    async with console.page("/sessions/deal") as page:
        await page.get_by_role("link", name="New task").click()
        dialog = page.locator("dialog")
        await expect(dialog.get_by_label("Session")).to_have_value("deal")
        assert page.url.endswith("/tasks")
        await dialog.get_by_label("Title").fill("Call back")
        await dialog.get_by_role("button", name="Create").click()
        await expect(page.locator("main").get_by_role("link", name="deal")).to_be_visible()


@pytest.mark.gen_test
@pytest.mark.long
async def test_quotas_are_shown_edited_and_deleted(console: Console, server: Server) -> None:
    await make_quota(server)
    async with console.page("/quotas") as page:
        await expect(rows(page)).to_contain_text("90 %")
        await page.get_by_role("link", name=SCOPE).click()
        await expect(page.locator(".legend")).to_contain_text(HOSTILE[:40])
        await page.get_by_role("button", name="Edit").click()
        dialog = page.locator("dialog")
        await dialog.get_by_label("Limit", exact=True).fill("1800")
        await dialog.get_by_role("button", name="Save").click()
        await expect(page.locator("main")).to_contain_text("900 / 1,800 tokens")
        await page.get_by_role("button", name="Delete").click()
        await dialog.get_by_role("button", name="Delete").click()
        await expect(page.locator("main h1")).to_have_text("Quotas")
        await expect(rows(page)).to_have_text(["Nothing here."])
        await page.get_by_role("button", name="New quota").click()
        await dialog.get_by_label("Scope").fill("user:nils")
        await dialog.get_by_label("Limit", exact=True).fill("7")
        await dialog.get_by_role("button", name="Save").click()
        await expect(rows(page)).to_contain_text("user:nils")


@pytest.mark.gen_test
async def test_without_the_extensions_there_are_no_such_pages(
    chromium: Browser, start_server: StartServer
) -> None:
    console = Console(chromium, await start_server(disabled_extensions=("tasks", "quotas")))
    async with console.page("/tasks") as page:
        await expect(page.locator("main h1")).to_have_text("Your role may not see this page.")
        names = await page.locator("#nav a").all_text_contents()
        assert not {"Tasks", "Quotas"} & set(names)


@pytest.mark.parametrize(
    "path", first_and_long("/tasks", "/tasks/ONE", "/quotas", f"/quotas/{SCOPE}")
)
@pytest.mark.gen_test
async def test_nothing_stands_in_the_way_of_a_screen_reader(
    console: Console, server: Server, axe: str, path: str
) -> None:
    task_id = await make_task(server, "Offer")
    await make_quota(server)
    async with console.page(path.replace("ONE", task_id)) as page:
        await expect(page.locator("main .panel").first).to_be_visible()
        await check_looks(page, axe)


@pytest.mark.gen_test
async def test_each_text_is_there_in_both_languages(console: Console) -> None:
    """With the same blanks to be filled in."""
    modules = [f"/static/{name}" for name in ASSETS if name.endswith("texts.js")]
    modules = [name for name in modules if "/console/" in name and "/chat/" not in name]
    assert len(modules) > 8
    async with console.page("/trace") as page:
        faults = await page.evaluate(
            f"""async () => {{
                const blanks = (text) => (text.match(/\\{{\\w+\\}}/g) ?? []).sort().join();
                const faults = [];
                for (const name of {json.dumps(modules)}) {{
                    const {{ TEXTS }} = await import(name);
                    for (const [key, [english, chinese]] of Object.entries(TEXTS)) {{
                        if (!english || !chinese || blanks(english) !== blanks(chinese)) {{
                            faults.push(`${{name}} ${{key}}`);
                        }}
                    }}
                }}
                return faults;
            }}"""
        )
        assert faults == []
