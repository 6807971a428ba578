"""The conversation: each step is done, checked, and told in one line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from scripts.customer_demo.clients import Api, Person, Push, StepFailed
from scripts.customer_demo.leaks import database_files, leaks, process_list
from scripts.customer_demo.partners import TOKENS_PER_ANSWER, Assistant, Delivered, Messenger
from scripts.customer_demo.shop import ACCOUNT, ORGANIZATION, RESPONDER, SALES, Shop

CONTACT = "wxid_ann"
NAME = "Ann"
SESSION = f"gewe:{ACCOUNT}:{CONTACT}"
LIMIT = 100
SECRETS_PAGES = (
    "/audit",
    "/accounts",
    "/sessions",
    "/notifications",
    "/rules",
    "/quotas",
    "/stats",
)
STOP_S = 2.0
"""Within which the request to the AI has to end after a take-over; usually it is a few ms."""


class Story:
    """One run of the conversation. ``pause_s``: between steps, for people who watch."""

    def __init__(
        self,
        shop: Shop,
        messenger: Messenger,
        assistant: Assistant,
        *,
        say: Callable[[str, str], None],
        pause_s: float,
        patience_s: float,
    ) -> None:
        self._shop = shop
        self._messenger = messenger
        self._assistant = assistant
        self._say = say
        self._pause_s = pause_s
        self._patience_s = patience_s
        self._api = Api(shop.url, shop.sign("operator", "admin"))
        token = shop.sign(
            SALES, "manager", username="Bob", organization_id=ORGANIZATION, sessions=[SESSION]
        )
        self._bob = Person(shop.url, token, patience_s)

    async def run(self) -> None:
        """All steps; raises ``StepFailed`` at the first that fails."""
        await self._bob.connect()
        try:
            for step in (
                self._prepare,
                self._answer_by_ai,
                self._warn_of_quota,
                self._take_over,
                self._answer_by_person,
                self._end_task,
                self._look_back,
                self._find_no_keys,
            ):
                await step()
                await asyncio.sleep(self._pause_s)
        finally:
            await self._bob.close()

    async def give_back(self) -> None:
        """Open the conversation again, and let the AI answer in it."""
        await self._api.call("PATCH", f"/sessions/{SESSION}", {"state": "open"})
        holder = {"holder": {"type": "ai", "id": RESPONDER}}
        await self._api.call("POST", f"/sessions/{SESSION}/holder", holder)

    async def _prepare(self) -> None:
        """A quota, a task, and a person who looks at the conversation."""
        quota = {"limit": LIMIT, "unit": "tokens", "period": "day"}
        await self._api.call("PUT", f"/quotas/organization:{ORGANIZATION}", quota)
        self._say("operator", f"sets a quota: {LIMIT} tokens a day")
        task = {
            "title": f"Answer {NAME}",
            "steps": [{"title": "Answer"}, {"title": "Close"}],
            "assignee": {"user": SALES},
            "session_id": SESSION,
            "organization_id": ORGANIZATION,
        }
        self._task_id = (await self._api.call("POST", "/tasks", task))["task_id"]
        pushed = await self._bob.wait("the task", lambda push: push["type"] == "task_update")
        self._say("Bob", f"gets a task: {pushed['task']['title']}")
        await self._bob.send(type="join_session", session_id=SESSION, ref=1)
        await self._bob.wait("the session", lambda push: push.get("ref") == 1)

    async def _answer_by_ai(self) -> None:
        """The customer's message appears, and the AI answers it word by word."""
        await self._write("Hello, is the blue one still in stock?")
        growing = await self._bob.wait("the AI's answer", _is_growing)
        ended = await self._bob.wait("the end of the answer", _ends(growing))
        text = self._grown(growing)
        if (ended["state"], ended["message"]["content"]) != ("completed", text):
            raise StepFailed(f"the parts do not make up the answer: {text!r}, {ended}")
        parts = len(self._bob.of_type("answer_appended")) + 1
        self._say("Assistant", f"{text.strip()}  ({parts} parts)")
        await self._delivered(text.strip())

    async def _warn_of_quota(self) -> None:
        """The answer is counted, and the quota warns."""
        warning = await self._bob.wait(
            "the warning of the quota",
            lambda push: push["type"] == "notification" and "85" in push["notification"]["message"],
        )
        use = await self._bob.wait(
            "the use of the quota",
            lambda push: push["type"] == "usage_update" and push["used"] == TOKENS_PER_ANSWER,
        )
        text = warning["notification"]["message"]
        self._say("Bob", f"is warned: {text} ({use['used']:g} of {use['limit']:g} {use['unit']})")

    async def _take_over(self) -> None:
        """A person takes over while the AI answers; its request ends at once."""
        await self._write("And can I send it back?")
        growing = await self._bob.wait("the second answer", _is_growing_after(self._bob, 1))
        await self._bob.wait(
            "its text", lambda push: push["type"] == "answer_appended" and _same(push, growing)
        )
        taken_at = time.monotonic()
        await self._bob.send(type="take", session_id=SESSION, ref=2)
        taken = await self._bob.wait("the take-over", lambda push: push.get("ref") == 2)
        if taken["type"] != "taken":
            raise StepFailed(f"the session was not taken: {taken}")
        ended = await self._bob.wait("the end of the second answer", _ends(growing))
        if (ended["state"], ended.get("reason")) != ("interrupted", "taken"):
            raise StepFailed(f"the answer was not interrupted: {ended}")
        try:
            await asyncio.wait_for(self._assistant.left.wait(), STOP_S)
        except TimeoutError:
            raise StepFailed(f"the AI was still asked {STOP_S:g} s after the take-over") from None
        passed_ms = ((self._assistant.left_at or taken_at) - taken_at) * 1000
        self._say("Bob", f"takes over; the AI's request ends after {passed_ms:.0f} ms")

    async def _answer_by_person(self) -> None:
        """The person's answer goes to the customer; the AI is silent."""
        text = "Hi Ann, Bob here. Of course, within thirty days, and we pay for it."
        asked = self._assistant.asked
        await self._bob.send(type="send_message", session_id=SESSION, content=text, ref=3)
        self._say("Bob", text)
        await self._delivered(text)
        await self._bob.wait(
            "the delivery's report",
            lambda push: (
                push["type"] == "message_status_update"
                and push["status"] == "delivered"
                and push.get("session_id") == SESSION
            ),
        )
        await self._write("Thank you, Bob!")
        if self._assistant.asked != asked:
            raise StepFailed("the AI was asked while a person held the session")

    async def _end_task(self) -> None:
        """The task ends, and the session is closed."""
        for number, state in enumerate(("running", "done")):
            await self._bob.send(type="task", task_id=self._task_id, state=state, ref=10 + number)
            reply = await self._bob.wait("the task's change", _replies(10 + number))
            if reply["type"] != "task":
                raise StepFailed(f"the task was not changed: {reply}")
        task = await self._api.call("GET", f"/tasks/{self._task_id}")
        if task["state"] != "done":
            raise StepFailed(f"the task is {task['state']}")
        await self._api.call("PATCH", f"/sessions/{SESSION}", {"state": "closed"})
        self._say("Bob", "has done the task, and the conversation is closed")

    async def _look_back(self) -> None:
        """A rule that was not configured: on whom would it have fired?"""
        body = {
            "since": (datetime.now(UTC) - timedelta(hours=1)).isoformat(),
            "rules": {"very_strict": {"kind": "waiting", "after_s": 0.001, "unless": []}},
        }
        firings = (await self._api.call("POST", "/rules/test", body))["firings"]
        if not firings or {each["user_id"] for each in firings} != {CONTACT}:
            raise StepFailed(f"looking back finds {firings}")
        count = len(firings)
        self._say("operator", f"looks back: a rule of 1 ms would have fired {count} times on Ann")

    async def _find_no_keys(self) -> None:
        """The partners have told their keys in errors; they are nowhere to be seen."""
        for path in (*SECRETS_PAGES, f"/sessions/{SESSION}", f"/sessions/{SESSION}/history"):
            await self._api.call("GET", path)
        if self._messenger.refusals or self._assistant.refusals:
            raise StepFailed("the partners have not told their keys")
        shop = self._shop
        places: list[tuple[str, str | bytes]] = [
            ("the log", shop.log),
            ("answers of the API", "\n".join(self._api.answers)),
            ("pushes", repr(self._bob.pushes)),
            ("the process list", process_list()),
            ("wsserver config show", await shop.printed_by("config", "show")),
            *database_files(shop.folder),
        ]
        found = leaks(shop.keys, places)
        if found:
            raise StepFailed("; ".join(found))
        self._say("operator", "finds no key in log, answers, pushes, database and process list")

    async def _write(self, text: str) -> None:
        """The customer writes, and the person sees it."""
        status = await self._messenger.write(CONTACT, NAME, text)
        if status != 200:
            raise StepFailed(f"the callback was answered by {status}")
        self._say(f"{NAME} (WeChat)", text)
        await self._bob.wait(
            "the customer's message",
            lambda push: (
                push["type"] == "new_message"
                and push["message"]["content"] == text
                and push["message"]["sender"]["user_id"] == CONTACT
            ),
        )
        await asyncio.sleep(self._pause_s)

    async def _delivered(self, text: str) -> None:
        """Wait until a text has arrived at the customer, once."""
        expected = Delivered(CONTACT, text)
        try:
            async with asyncio.timeout(self._patience_s):
                await self._messenger.until(lambda each: _is_like(each, expected))
        except TimeoutError:
            raise StepFailed(f"{text!r} did not arrive: {self._messenger.delivered}") from None

    def _grown(self, growing: Push) -> str:
        """The text of an answer, from its first push and what was appended."""
        text = str(growing["message"]["content"])
        for push in self._bob.of_type("answer_appended"):
            if _same(push, growing) and push["at"] == len(text):
                text += push["text"]
        return text


def _is_growing(push: Push) -> bool:
    return bool(push["type"] == "new_message" and push["message"].get("state") == "growing")


def _is_growing_after(person: Person, count: int) -> Callable[[Push], bool]:
    """Whether a push is the answer after so many."""
    earlier = [push for push in person.pushes if _is_growing(push)][:count]
    return lambda push: _is_growing(push) and push not in earlier


def _same(push: Push, growing: Push) -> bool:
    return bool(push.get("message_id") == growing["message"]["id"])


def _ends(growing: Push) -> Callable[[Push], bool]:
    return lambda push: push["type"] == "answer_ended" and _same(push, growing)


def _replies(ref: int) -> Callable[[Push], bool]:
    return lambda push: push.get("ref") == ref


def _is_like(delivered: Delivered, expected: Delivered) -> bool:
    return (delivered.contact, delivered.text.strip()) == expected
