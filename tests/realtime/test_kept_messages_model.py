"""Publish, come, go, resume, acknowledge, look back, restart in any order: as a plain model says.

The server is the live side on a real file and real sockets; the model is a few lists.
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

from tests.support.fake_clock import FakeClock
from tests.support.live_server import Client, Live
from wsserver.protocol.targets import EVERYONE, Target, session, user
from wsserver.realtime.messages.message import Message

LIMIT = 6
"""Messages that a stream may have before the oldest are swept out."""
TARGETS = {
    "session:s1": session("s1"),
    "session:s2": session("s2"),
    "user:ann": user("ann"),
    "user:bob": user("bob"),
    "broadcast": EVERYONE,
}
Json = dict[str, Any]

STREAMS = st.sampled_from(list(TARGETS))
SESSIONS = st.sampled_from(["s1", "s2"])
DEVICES = st.sampled_from([("ann", 0), ("ann", 1), ("bob", 0)])
USERS = st.sampled_from(["ann", "bob"])
OFFSETS = st.integers(0, 14)


@dataclass(eq=False)
class Kept:
    """A message, as the model has it."""

    offset: int
    id: str
    expires_at: float | None
    excluded: str | None
    is_stored: bool = True

    def is_for(self, name: str, now: float) -> bool:
        return name != self.excluded and (self.expires_at is None or self.expires_at > now)


@dataclass
class Stream:
    """All messages there ever were; ``first``: before it, retention has taken some."""

    messages: list[Kept] = field(default_factory=list)
    first: int = 1

    @property
    def head(self) -> int:
        return len(self.messages)

    def after(self, offset: int, name: str, now: float) -> list[Kept]:
        return [each for each in self.messages[offset:] if each.is_for(name, now)]


@dataclass(eq=False)
class Device:
    """A connection and the sessions it has joined."""

    name: str
    client: Client
    joined: set[str] = field(default_factory=set)

    def listens_to(self, stream: str) -> bool:
        kind, _, id_ = stream.partition(":")
        return {"session": id_ in self.joined, "user": id_ == self.name}.get(kind, True)

    async def pushes(self) -> list[tuple[str, int]]:
        """The kept messages that have come: stream and offset."""
        return [
            (push["stream"], push["offset"])
            for push in await self.client.rest()
            if "offset" in push
        ]


class KeptMessages(RuleBasedStateMachine):
    """Applies the same steps to a server and to the model, and compares what each client gets."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.streams = {name: Stream() for name in TARGETS}
        self.devices: dict[tuple[str, int], Device] = {}
        self.got: set[tuple[str, int]] = set()
        """Inbox and offset of what was acknowledged."""
        self.dedup: dict[str, tuple[str, str, int]] = {}

    @initialize()
    def begin(self) -> None:
        self.open()
        self.connect(("ann", 0))

    def open(self) -> None:
        async def start() -> None:
            IOLoop.current()
            path = Path(self.folder.name) / "wsserver.sqlite3"
            self.live = Live(self.clock, path, stream_limit=LIMIT)
            await self.live.start()
            self.epoch = (await self.live.streams.open("session:s1")).epoch

        self.runner.run(start())

    def teardown(self) -> None:
        if hasattr(self, "live"):
            self.runner.run(self.live.stop())
        self.runner.close()
        self.folder.cleanup()

    # The world

    @rule(
        stream=STREAMS,
        count=st.integers(1, 3),
        ttl_s=st.none() | st.integers(1, 4),
        excluded=st.none() | USERS,
    )
    def publish(self, stream: str, count: int, ttl_s: int | None, excluded: str | None) -> None:
        if stream.startswith("user:"):
            excluded = None
        self.runner.run(self._publish(stream, count, ttl_s, excluded))

    async def _publish(
        self, stream: str, count: int, ttl_s: int | None, excluded: str | None
    ) -> None:
        target: Target = TARGETS[stream]
        out = frozenset({excluded}) if excluded else frozenset[str]()
        messages = [
            Message("news", {"data": 1}, target, keep=True, ttl_s=ttl_s, exclude_users=out)
            for _ in range(count)
        ]
        expires_at = None if ttl_s is None else self.clock.wall() + ttl_s
        kept = self.streams[stream]
        new = []
        for sent in await self.live.router.keep(messages):
            assert (sent.stream, sent.epoch, sent.offset) == (stream, self.epoch, kept.head + 1)
            new.append(Kept(sent.offset, sent.message_id, expires_at, excluded))
            kept.messages.append(new[-1])
        for device in self.devices.values():
            is_meant = device.listens_to(stream) and device.name != excluded
            expected = [(stream, each.offset) for each in new] if is_meant else []
            assert await device.pushes() == expected

    @rule(stream=st.sampled_from(["session:s1", "user:ann"]), key=st.integers(0, 2))
    def publish_once(self, stream: str, key: int) -> None:
        async def publish() -> None:
            dedup = ("scope", f"{stream} {key}")
            message = Message("news", {}, TARGETS[stream], keep=True, dedup=dedup)
            sent = await self.live.router.send(message)
            known = self.dedup.get(dedup[1])
            assert sent.is_new == (known is None)
            if known is not None:
                assert (sent.message_id, sent.stream, sent.offset) == known
                return
            kept = Kept(sent.offset, sent.message_id, None, None)
            self.streams[stream].messages.append(kept)
            assert sent.offset == self.streams[stream].head
            self.dedup[dedup[1]] = (sent.message_id, stream, sent.offset)
            for device in self.devices.values():
                expected = [(stream, sent.offset)] if device.listens_to(stream) else []
                assert await device.pushes() == expected

        self.runner.run(publish())

    @rule(seconds=st.integers(1, 3))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule()
    def sweep(self) -> None:
        self.runner.run(self.live.expirer.run())
        now = self.clock.wall()
        for name, stream in self.streams.items():
            for each in stream.messages:
                each.is_stored &= each.expires_at is None or each.expires_at > now
            stored = [each for each in stream.messages if each.is_stored]
            settled_first = sorted(stored, key=lambda each: self._is_pending(name, each))
            for each in settled_first[: max(0, len(stored) - LIMIT)]:
                each.is_stored = False
                stream.first = max(stream.first, each.offset + 1)

    @rule()
    def forget(self) -> None:
        """Memory holds nothing any more."""
        self.live.streams.forget_all(self.epoch)

    @rule()
    def restart(self) -> None:
        self.runner.run(self.live.stop())
        self.devices.clear()
        self.open()

    # Coming and going

    @rule(key=DEVICES)
    def connect(self, key: tuple[str, int]) -> None:
        async def connect() -> None:
            if key in self.devices:
                return
            name = key[0]
            device = Device(name, await self.live.connect(name, sessions="*"))
            pending = [(f"user:{name}", each.offset) for each in self._pending(name)]
            inbox = device.client.established["inbox"]
            assert inbox == {
                "epoch": self.epoch,
                "offset": self.streams[f"user:{name}"].head,
                "pending": len(pending),
            }
            assert await device.pushes() == pending
            self.devices[key] = device

        self.runner.run(connect())

    @precondition(lambda self: self.devices)
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.devices)))
        device = self.devices.pop(key)
        self.runner.run(self.live.manager.disconnect(device.client.id))

    @precondition(lambda self: self.devices)
    @rule(data=st.data(), session_id=SESSIONS, since=st.none() | OFFSETS, is_old=st.booleans())
    def join(self, data: st.DataObject, session_id: str, since: int | None, is_old: bool) -> None:
        device = self._device(data)
        stream = f"session:{session_id}"
        members: Json = {"session_id": session_id}
        is_old = is_old and since == 0
        if since is not None:
            members["since"] = {"epoch": "epoch_old" if is_old else self.epoch, "offset": since}
        answer = self.runner.run(device.client.call("join_session", **members))
        device.joined.add(session_id)
        if since is None:
            assert (answer["recovered"], answer["messages"]) == (False, [])
            assert (answer["epoch"], answer["offset"]) == (self.epoch, self.streams[stream].head)
        else:
            self._compare(device.name, stream, since, answer, is_old=is_old)

    @precondition(lambda self: self.devices)
    @rule(data=st.data(), wanted=st.dictionaries(STREAMS, OFFSETS, min_size=1))
    def resume(self, data: st.DataObject, wanted: dict[str, int]) -> None:
        device = self._device(data)
        streams = {name: {"epoch": self.epoch, "offset": at} for name, at in wanted.items()}
        answer = self.runner.run(device.client.call("resume", streams=streams))
        others = {name for name in wanted if name[:5] == "user:" and name[5:] != device.name}
        if others == set(wanted):
            assert answer["error"]["code"] == "forbidden"
            return
        assert list(answer["streams"]) == list(wanted)
        for name, offset in wanted.items():
            part = answer["streams"][name]
            if name in others:
                assert part == {"recovered": False, "reason": "forbidden"}
            else:
                self._compare(device.name, name, offset, part)
                if name.startswith("session:"):
                    device.joined.add(name[8:])

    @precondition(lambda self: self.devices)
    @rule(data=st.data(), session_id=SESSIONS)
    def leave(self, data: st.DataObject, session_id: str) -> None:
        device = self._device(data)
        self.runner.run(device.client.call("leave_session", session_id=session_id))
        device.joined.discard(session_id)

    # Looking back, and acknowledging

    @precondition(lambda self: self.devices)
    @rule(
        data=st.data(),
        session_id=SESSIONS,
        before=st.none() | OFFSETS,
        after=st.none() | OFFSETS,
        limit=st.integers(1, 4),
    )
    def history(
        self,
        data: st.DataObject,
        session_id: str,
        before: int | None,
        after: int | None,
        limit: int,
    ) -> None:
        device = self._device(data)
        ends = {"before": before, "after": after}
        given = {name: value for name, value in ends.items() if value is not None}
        answer = self.runner.run(
            device.client.call("history", session_id=session_id, limit=limit, **given)
        )
        stored = [
            each.offset
            for each in self.streams[f"session:{session_id}"].after(
                after or 0, device.name, self.clock.wall()
            )
            if each.is_stored and (before is None or each.offset < before)
        ]
        is_forward = after is not None and before is None
        page = stored[:limit] if is_forward else stored[-limit:]
        assert [message["offset"] for message in answer["messages"]] == page
        assert answer["has_more"] == (len(stored) > limit)

    @precondition(lambda self: self.devices)
    @rule(data=st.data(), offset=st.none() | OFFSETS, is_read=st.booleans())
    def acknowledge(self, data: st.DataObject, offset: int | None, is_read: bool) -> None:
        device = self._device(data)
        name = f"user:{device.name}"
        messages = self.streams[name].messages
        if offset is None:
            chosen = data.draw(st.lists(st.sampled_from(messages), max_size=3)) if messages else []
            ids = [each.id for each in chosen] + ["msg_unknown"]
            call = device.client.call("read" if is_read else "ack", ids=ids)
            now = self.clock.wall()
            done = [each for each in chosen if each.is_stored and each.is_for(device.name, now)]
        else:
            call = device.client.call("ack", stream=name, offset=offset)
            done = messages[:offset]
        answer = self.runner.run(call)
        if offset is not None and offset > len(messages):
            assert answer["error"]["code"] == "bad_request"
            return
        assert answer["type"] == "ack"
        self.got |= {(name, each.offset) for each in done}

    # What is expected

    def _device(self, data: st.DataObject) -> Device:
        return self.devices[data.draw(st.sampled_from(sorted(self.devices)))]

    def _is_pending(self, stream: str, kept: Kept) -> bool:
        return stream.startswith("user:") and (stream, kept.offset) not in self.got

    def _pending(self, name: str) -> list[Kept]:
        stream = self.streams[f"user:{name}"]
        return [
            each
            for each in stream.after(0, name, self.clock.wall())
            if each.is_stored and self._is_pending(f"user:{name}", each)
        ]

    def _compare(
        self, name: str, stream: str, since: int, answer: Json, *, is_old: bool = False
    ) -> None:
        """All of what came since, or none of it and a reason that holds."""
        kept = self.streams[stream]
        assert (answer["epoch"], answer["offset"]) == (self.epoch, kept.head)
        offsets = [message["offset"] for message in answer["messages"]]
        assert all(message["stream"] == stream for message in answer["messages"])
        if answer["recovered"]:
            assert not is_old
            assert kept.head - LIMIT <= since <= kept.head
            expected = kept.after(since, name, self.clock.wall())
            assert offsets == [each.offset for each in expected]
            return
        assert offsets == []
        if is_old:
            assert answer["reason"] == "epoch_changed"
        elif since > kept.head:
            assert answer["reason"] == "offset_ahead"
        elif kept.head - since > LIMIT:
            assert answer["reason"] == "too_far_behind"
        else:
            assert answer["reason"] == "expired"
            assert since + 1 < kept.first


TestKeptMessages = KeptMessages.TestCase
TestKeptMessages.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)


class ManyKeptMessages(KeptMessages):
    """The same, for longer."""


TestManyKeptMessages = pytest.mark.long(ManyKeptMessages.TestCase)
TestManyKeptMessages.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
