"""Answers that grow while pages come, go, resume and look back, and the server is killed.

Whatever the order, the text that a page has put together is a beginning of the answer's text, and
in the end all of it. The server is the live side on a real file and real sockets; the model is a
list of texts.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tornado.ioloop import IOLoop

from tests.support.answers import Page, Producer
from tests.support.fake_clock import FakeClock
from tests.support.live_server import Client, Live
from wsserver.errors import AnswerEnded, OutOfOrder
from wsserver.realtime.answers.owned_answers import AnswerSettings
from wsserver.storage.messages.conversations import Holder, HolderWish

TEXTS = st.sampled_from(["a", "bc", "你好", "🙂", " "])
NUMBERS = st.integers(0, 1)
PAGES = st.integers(0, 2)


@dataclass
class Answer:
    """An answer as the model has it."""

    producer: Producer
    first: str
    taken: list[str] = field(default_factory=list)
    stored: int = 0
    """Appends that would survive a crash."""
    state: str = "growing"
    final: str = ""

    @property
    def text(self) -> str:
        return self.final if self.state != "growing" else self.first + "".join(self.taken)


@dataclass
class Tab:
    """A page: its connection, the texts that it has, and its position in the session."""

    page: Page = field(default_factory=Page)
    client: Client | None = None
    offset: int = 0


class GrowingAnswers(RuleBasedStateMachine):
    """Applies the same steps to a server and to the model, and compares what each page has."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.answers: list[Answer] = []
        self.tabs = [Tab() for _ in range(3)]
        self.term = 0
        self.has_news = True
        """Whether there was an append since the latest restart."""

    @initialize(is_rolled_up=st.booleans())
    def begin(self, is_rolled_up: bool) -> None:
        # Rolled up, texts after the first one are pushed at the end only.
        self.limits = AnswerSettings(roll_up_s=3600.0 if is_rolled_up else 0.0)
        self.is_rolled_up = is_rolled_up
        self.runner.run(self._open())
        self.runner.run(self._start(""))
        self.runner.run(self._join(self.tabs[0]))

    async def _open(self) -> None:
        IOLoop.current()
        path = Path(self.folder.name) / "wsserver.sqlite3"
        self.live = Live(self.clock, path, answers=self.limits)
        await self.live.start()
        self.epoch = (await self.live.streams.open("session:s1")).epoch
        for answer in self.answers:
            answer.producer.live = self.live

    def teardown(self) -> None:
        if hasattr(self, "live"):
            self.runner.run(self._end_all())
            self.runner.run(self.live.stop())
        self.runner.close()
        self.folder.cleanup()

    async def _end_all(self) -> None:
        """Whatever went before: in the end every page has every text."""
        for answer in self.answers:
            if answer.state == "growing":
                await self._finish(answer, None)
        for tab in self.tabs:
            if tab.client is None:
                await self._join(tab)
            await self._look_back(tab)
            assert {answer.producer.id: answer.text for answer in self.answers} == tab.page.texts

    # The producers

    @precondition(lambda self: len(self.answers) < 3)
    @rule(text=st.just("") | TEXTS)
    def start(self, text: str) -> None:
        self.runner.run(self._start(text))

    async def _start(self, text: str) -> None:
        producer = Producer(self.live)
        started = await producer.start(content=text)
        assert started["term"] == self.term
        self.answers.append(Answer(producer, text))
        await self.compare()

    @rule(number=NUMBERS, parts=st.lists(TEXTS, min_size=1, max_size=3), is_written=st.booleans())
    def append(self, number: int, parts: list[str], is_written: bool) -> None:
        self.runner.run(self._append(self.answer(number), parts))
        self.has_news = True
        if is_written:
            self.write_behind()

    def answer(self, number: int) -> Answer:
        """One of the latest answers."""
        return self.answers[-1 - number % len(self.answers)]

    async def _append(self, answer: Answer, parts: list[str]) -> None:
        for part in parts:
            seq = len(answer.taken) + 1
            if answer.state != "growing":
                with pytest.raises(AnswerEnded) as ended:
                    await answer.producer.append(part, seq)
                assert ended.value.details["state"] == answer.state
                continue
            answer.taken.append(part)
            taken = await answer.producer.append(part, seq)
            assert taken == {"seq": seq, "length": len(answer.text)}
        await self.compare()

    @rule(number=NUMBERS, back=st.integers(-3, 2), text=TEXTS)
    def append_out_of_order(self, number: int, back: int, text: str) -> None:
        self.runner.run(self._append_out_of_order(self.answer(number), back, text))

    async def _append_out_of_order(self, answer: Answer, back: int, text: str) -> None:
        latest = len(answer.taken)
        seq = latest + back
        if seq < 1 or back == 1:
            return
        if back == 0 and text == answer.taken[-1]:
            await answer.producer.append(text, seq)
        else:
            with pytest.raises(OutOfOrder if answer.state == "growing" else AnswerEnded):
                await answer.producer.append(text, seq)
        await self.compare()

    @rule(number=NUMBERS, content=st.none() | TEXTS)
    def finish(self, number: int, content: str | None) -> None:
        if self.answer(number).state == "growing":
            self.runner.run(self._finish(self.answer(number), content))

    async def _finish(self, answer: Answer, content: str | None) -> None:
        final = answer.text if content is None else content
        given: dict[str, Any] = {} if content is None else {"content": content}
        ended = await answer.producer.finish(**given)
        answer.final, answer.state = final, "completed"
        assert ended["length"] == len(final)
        await self.compare()

    @rule(number=NUMBERS, tab=PAGES)
    def cancel(self, number: int, tab: int) -> None:
        if self.tabs[tab].client is not None:
            self.runner.run(self._cancel(self.answer(number), self.tabs[tab].client))

    async def _cancel(self, answer: Answer, client: Any) -> None:
        reply = await client.call("cancel_answer", message_id=answer.producer.id)
        if answer.state in ("growing", "cancelled"):
            assert reply["type"] == "ack"
            answer.final, answer.state = answer.text, "cancelled"
        else:
            assert reply["error"]["code"] == "answer_ended"
        await self.compare()

    @rule()
    def fall_silent(self) -> None:
        self.runner.run(self._fall_silent())

    async def _fall_silent(self) -> None:
        self.clock.advance(61)
        await self.live.owned_answers.advance()
        await self._interrupted()

    @rule()
    def take(self) -> None:
        self.runner.run(self._take())

    async def _take(self) -> None:
        self.term += 1
        wish = HolderWish(Holder("user", f"sales{self.term}"))
        await self.live.conversations.hold("s1", wish, "sales")
        await self._interrupted()

    async def _interrupted(self) -> None:
        async with asyncio.timeout(10):
            while len(self.live.owned_answers):
                await asyncio.sleep(0)
        for answer in self.answers:
            if answer.state == "growing":
                answer.final, answer.state = answer.text, "interrupted"
        await self.compare()

    # The server

    def write_behind(self) -> None:
        self.runner.run(self.live.owned_answers.write_behind())
        for answer in self.answers:
            answer.stored = len(answer.taken)

    @precondition(lambda self: self.has_news)
    @rule(is_killed=st.booleans())
    def restart(self, is_killed: bool) -> None:
        self.has_news = False
        self.runner.run(self._restart(is_killed))

    async def _restart(self, is_killed: bool) -> None:
        await self.compare()
        for tab in self.tabs:
            tab.client = None
        if is_killed:
            self.live.owned_answers._answers.clear()
        await self.live.stop()
        for answer in self.answers:
            if is_killed and answer.state == "growing":
                del answer.taken[answer.stored :]
            answer.stored = len(answer.taken)
        await self._open()

    # The pages

    @rule(number=PAGES, is_new=st.booleans())
    def come(self, number: int, is_new: bool) -> None:
        tab = self.tabs[number]
        if tab.client is None:
            self.runner.run(self._join(tab) if is_new else self._resume(tab))

    async def _connect(self, tab: Tab) -> Client:
        tab.client = await self.live.connect("u1", sessions=["s1"])
        return tab.client

    async def _join(self, tab: Tab) -> None:
        client = await self._connect(tab)
        joined = await client.call("join_session", session_id="s1")
        for push in joined["messages"]:
            tab.page.show(push)
        tab.offset = joined["offset"]
        await self.compare()

    async def _resume(self, tab: Tab) -> None:
        client = await self._connect(tab)
        streams = {"session:s1": {"epoch": self.epoch, "offset": tab.offset}}
        resumed = (await client.call("resume", streams=streams))["streams"]["session:s1"]
        assert resumed["recovered"] is True
        for push in resumed["messages"]:
            tab.page.show(push)
        tab.offset = resumed["offset"]
        await self.compare()
        growing = {each.producer.id for each in self.answers if each.state == "growing"}
        assert growing <= tab.page.texts.keys()

    @rule(number=PAGES)
    def go(self, number: int) -> None:
        tab = self.tabs[number]
        if tab.client is not None:
            self.runner.run(self._go(tab, tab.client))

    async def _go(self, tab: Tab, client: Client) -> None:
        await self.compare()
        client.socket.close()
        async with asyncio.timeout(10):
            while client.id in self.live.hub.connections:
                await asyncio.sleep(0)
        tab.client = None

    @rule(number=PAGES)
    def look_back(self, number: int) -> None:
        tab = self.tabs[number]
        if tab.client is not None:
            self.runner.run(self._look_back(tab))

    async def _look_back(self, tab: Tab) -> None:
        await self._read(tab)
        assert tab.client is not None
        page = await tab.client.call("history", session_id="s1")
        for push in page["messages"]:
            tab.page.show(push)
        await self.compare()

    async def compare(self) -> None:
        for tab in self.tabs:
            if tab.client is None:
                continue
            await self._read(tab)
            for answer in self.answers:
                shown = tab.page.texts.get(answer.producer.id)
                if shown is None:
                    continue
                state = tab.page.states[answer.producer.id]
                if answer.state == "growing":
                    assert state == "growing"
                    assert answer.text.startswith(shown)
                    assert self.is_rolled_up or answer.text == shown
                elif state != "growing":  # else it was shown before the end, and is to be resumed
                    assert (shown, state) == (answer.text, answer.state)

    async def _read(self, tab: Tab) -> None:
        assert tab.client is not None
        for push in await tab.client.rest():
            tab.page.show(push)
            tab.offset = push.get("offset", tab.offset)


TestGrowingAnswers = GrowingAnswers.TestCase
TestGrowingAnswers.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


class ManyGrowingAnswers(GrowingAnswers):
    """The same, for longer."""


TestManyGrowingAnswers = pytest.mark.long(ManyGrowingAnswers.TestCase)
TestManyGrowingAnswers.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
