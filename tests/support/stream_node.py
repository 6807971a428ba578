"""Streams between a fake store and a fake broker."""

from __future__ import annotations

from tests.support.fake_clock import FakeClock
from tests.support.fake_stream_store import (
    DAY_S,
    EPOCH,
    ME,
    FakeBroker,
    FakeStore,
    NoGrowingTexts,
    drafts,
    offsets,
)
from wsserver.cluster.broker import Publication
from wsserver.identity.claims import Claims
from wsserver.protocol.types import Position
from wsserver.realtime.streams.retention_policy import Retention
from wsserver.realtime.streams.stream import Recovery
from wsserver.realtime.streams.streams import Streams
from wsserver.tasks import Tasks

S1 = "session:s1"
PLENTY = 1 << 20
START = Position(EPOCH, 0)
WIDE = b'{"text":"%s"}' % (b" " * 90)


class Node:
    """Streams between a fake store and a fake broker; ``restart`` empties the cache."""

    def __init__(self, clock: FakeClock, replay_limit: int = 10) -> None:
        self.clock = clock
        self.tasks = Tasks()
        self.store = FakeStore()
        self.broker = FakeBroker()
        self.replay_limit = replay_limit
        self.restart()

    def restart(self) -> None:
        self.streams = Streams(
            self.store,
            self.broker.begin_all,
            self.clock,
            self.tasks,
            growing=NoGrowingTexts(),
            on_unreached=lambda publication: self.on_unreached(publication),
            cork=lambda: None,
            retention=Retention(DAY_S, 7 * DAY_S),
            replay_limit=self.replay_limit,
        )

    def on_unreached(self, publication: Publication) -> None:
        """Replaced where a test wants to know."""

    async def keep(self, count: int, stream: str = S1, **fields: object) -> None:
        await self.streams.append(drafts(count, stream, **fields))

    async def recover(
        self, offset: int, *, claims: Claims = ME, budget: int = PLENTY, epoch: str = EPOCH
    ) -> Recovery:
        wanted = {S1: Position(epoch, offset)}
        return (await self.streams.recover(wanted, claims, budget))[S1]

    async def recovers(self, offset: int, expected: range, head: int | None = None) -> None:
        """A subscriber with this offset gets exactly these."""
        recovery = await self.recover(offset)
        assert recovery.reason is None
        assert offsets(recovery.messages) == list(expected)
        assert recovery.offset == (expected.stop - 1 if head is None else head)

    def reads(self) -> list[tuple[object, ...]]:
        return [call for call in self.store.calls if call[0] == "read"]
