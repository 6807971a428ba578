"""What a client recorded, put together with the server's trace by ``wsctl trace --with``."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.support.browser_pages import NEEDS_CHROMIUM, only_connection, url_of
from tests.support.web_server import Server, token
from wsserver.protocol.close_codes import CloseCode

pytestmark = NEEDS_CHROMIUM

ONE_HOUR_SLOW = "const now = Date.now; Date.now = () => now() - 3_600_000;"
TALK = """
    async ({token, url}) => {
        const { WsClient } = await import("/static/client.js");
        window.client = new WsClient({ token, minDelayMs: 10 });
        await client.connect();
        await client.join("s1");
        await client.command("ping");
        return (await client.sendMessage("s1", "a secret")).message_id;
    }
"""
RECONNECTED = """
    async () => {
        const { length } = client.report().connections;
        const rejoined = (done) => client.addEventListener("ws:rejoined", done, { once: true });
        if (length < 2 || client.state !== "open") await new Promise(rejoined);
        return client.report();
    }
"""


@pytest.mark.gen_test
async def test_a_report_tells_the_client_s_side_of_a_message_by_the_server_s_clock(
    chromium: Browser, server: Server, tmp_path: Path
) -> None:
    async with await chromium.new_context() as context:
        page = await context.new_page()
        await page.add_init_script(ONE_HOUR_SLOW)
        await page.goto(url_of(server) + "/console")
        bearer = token("u1", "user", sessions=["s1"])
        message_id = await page.evaluate(TALK, {"token": bearer})
        connection = only_connection(server, "u1")
        server.system.manager.close(connection, CloseCode.RESTART, "reconnect_after_ms=1")
        report = await page.evaluate(RECONNECTED)
    assert report["runtime"].startswith("Mozilla/5.0")
    assert abs(report["connections"][0]["clock"]["offset_ms"] - 3_600_000) < 1000
    text = json.dumps(report)
    assert "secret" not in text
    assert bearer not in text
    path = tmp_path / "report.json"
    path.write_text(text)
    arguments = ["trace", message_id, "--with", str(path)]
    environ = {"WSCTL_URL": url_of(server), "WSCTL_TOKEN": token("root", "admin")}
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "wsctl", *arguments],
        env=environ,
        stdout=asyncio.subprocess.PIPE,
    )
    story = (await process.communicate())[0].decode()
    lines = story.splitlines()
    assert lines[3].startswith("client    u1, report of "), story
    assert "clock corrected by +3" in lines[3]
    steps = [line.partition("  client: ")[2] or line.rpartition("  ")[2] for line in lines[5:-1]]
    assert steps.index("connected") < steps.index("got new_message"), story
    assert steps.index("got new_message") < steps.index(
        "lost the connection, 1012 reconnect_after_ms=1; next attempt in 0.0 s"
    )
    assert any(step.startswith("sends send_message (") for step in steps)
    assert "sent" in steps  # by the server
