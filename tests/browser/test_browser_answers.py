"""Answers that grow in a real browser: their text is right whatever happens to the connection."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.browser_pages import (
    NEEDS_CHROMIUM,
    only_connection,
    page_of,
    program,
    use_ticket,
)
from tests.support.web_server import Server, token
from wsserver.protocol.close_codes import CloseCode

pytestmark = NEEDS_CHROMIUM

OPEN = """
    async ({token}) => {
        const { WsClient } = await import("/static/client.js");
        window.answers = [];
        window.client = new WsClient({ token, minDelayMs: 5, maxDelayMs: 20 });
        client.addEventListener("ws:answer", ({ detail }) => answers.push(detail.answer));
        window.rejoined = 0;
        client.addEventListener("ws:rejoined", () => (rejoined += 1));
        await client.connect();
        await client.join("s1");
    }
"""


class Producer:
    """A backend that streams an answer in the session s1."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.seq = 0
        self.text = ""

    async def post(self, what: str, **body: Any) -> Any:
        answer = await self._server.post(f"/answers/{self.id}/{what}", json.dumps(body).encode())
        assert answer.status == 200, answer
        return answer.json()

    async def start(self) -> None:
        begun = await self._server.post("/sessions/s1/answers", b"{}")
        self.id = begun.json()["message_id"]

    async def append(self, text: str) -> None:
        self.seq += 1
        self.text += text
        await self.post("append", seq=self.seq, text=text)


async def hold_on(page: Page, condition: str) -> None:
    look = f"const look = () => {condition} ? resolve() : setTimeout(look, 5);"
    await page.evaluate(f"new Promise((resolve) => {{ {look} look(); }})")


async def shows(page: Page, producer: Producer) -> None:
    await hold_on(page, f"client.answer({producer.id!r})?.text === {json.dumps(producer.text)}")


@pytest.mark.gen_test
async def test_a_page_has_the_text_from_the_middle_over_a_break_to_the_end(
    chromium: Browser, server: Server
) -> None:
    producer = Producer(server)
    await producer.start()
    await producer.append("so 🙂 ")
    async with page_of(chromium, server) as page:
        await page.evaluate(OPEN, {"token": token("u1", "user", sessions=["s1"])})
        await shows(page, producer)
        for word in ("far ", "so ", "good "):
            await producer.append(word)
        await shows(page, producer)
        reason = "server restarts; reconnect_after_ms=1"
        server.system.manager.close(only_connection(server, "u1"), CloseCode.RESTART, reason)
        for word in ("and ", "on"):
            await producer.append(word)
        await hold_on(page, "rejoined > 0")
        await shows(page, producer)
        await producer.append(".")
        await shows(page, producer)
        assert await page.evaluate("answers.length") == 1
        await page.evaluate("client.cancelAnswer(answers[0].id, 'thank you')")
        await hold_on(page, "answers[0].state === 'cancelled'")
        assert await page.evaluate("[answers[0].text, answers[0].reason]") == [
            producer.text,
            "thank you",
        ]
        assert await page.evaluate("client.answers.length") == 0


@pytest.mark.gen_test
async def test_the_chat_tester_shows_how_messages_grow_and_what_became_of_them(
    chromium: Browser, server: Server
) -> None:
    producer = Producer(server)
    async with page_of(chromium, server) as page, program(server, "s1") as socket:

        async def command(**fields: Any) -> str:
            await socket.send(json.dumps({"ref": 1, **fields}))
            while True:
                if (reply := json.loads(await socket.recv())).get("ref") == 1:
                    assert reply["type"] == "ack", reply
                    return str(reply["message_id"])

        say = {"type": "send_message", "session_id": "s1"}
        first = await command(**say, content="one")
        second = await command(**say, content="two")
        await command(type="delete_message", message_id=first)
        await use_ticket(page, server)
        await page.fill("#join-session", "s1")
        await page.press("#join-session", "Enter")
        texts = page.locator("#messages li p")
        await expect(texts).to_have_text(["Message deleted", "two"])

        await command(type="edit_message", message_id=second, content="two, edited")
        await producer.start()
        for word in ("So ", "far."):
            await producer.append(word)
        await expect(texts).to_have_text(["Message deleted", "two, edited", "So far."])
        await producer.post("finish", content="So far, so good.")
        await expect(texts.last).to_have_text("So far, so good.")
        await command(type="delete_message", message_id=second)
        await expect(texts.nth(1)).to_have_text("Message deleted")
        lines = page.locator("#lines li")
        await expect(lines.filter(has_text=f"message {second} deleted")).to_be_visible()
        await expect(lines.filter(has_text=f"answer {producer.id}: + far.")).to_be_visible()
