from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

import pytest
import sqlite_utils

from tests.support.database_processes import enter_process, remove_process
from wsserver.errors import (
    IdempotencyConflict,
    IdempotencyLimit,
    IdempotencyPending,
    StorageUnavailable,
)
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.migrations import MIGRATIONS
from wsserver.storage.tables import idempotency
from wsserver.storage.tables.idempotency import IdempotencyStore, Quota, StoredAnswer

ANSWER = StoredAnswer(202, {"Content-Type": "application/json"}, b'{"a":"\xc3\xa9"}')

QUOTA = Quota("u1", 1000)


@pytest.fixture
def store(database: Database) -> IdempotencyStore:
    return IdempotencyStore(database)


@pytest.mark.gen_test
async def test_the_same_request_again_gets_the_same_answer(
    store: IdempotencyStore, clock: Any
) -> None:
    assert await store.claim("u1", "k", "f", clock.wall(), QUOTA) is None
    await store.finish("u1", "k", "f", *ANSWER)
    clock.advance(86_399)
    assert await store.claim("u1", "k", "f", clock.wall(), QUOTA) == ANSWER
    clock.advance(1)
    assert await store.claim("u1", "k", "f", clock.wall(), QUOTA) is None


@pytest.mark.gen_test
async def test_another_body_is_a_conflict_for_a_day(store: IdempotencyStore, clock: Any) -> None:
    await store.claim("u1", "k", "f", clock.wall(), QUOTA)
    with pytest.raises(IdempotencyConflict):
        await store.claim("u1", "k", "other", clock.wall(), QUOTA)
    await store.finish("u1", "k", "f", *ANSWER)
    with pytest.raises(IdempotencyConflict):
        await store.claim("u1", "k", "other", clock.wall(), QUOTA)
    clock.advance(86_400)
    assert await store.claim("u1", "k", "other", clock.wall(), QUOTA) is None


@pytest.mark.gen_test
async def test_keys_of_different_scopes_never_meet(store: IdempotencyStore, clock: Any) -> None:
    await store.claim("u1", "k", "f", clock.wall(), QUOTA)
    assert await store.claim("u2", "k", "other", clock.wall(), QUOTA) is None


@pytest.mark.gen_test
async def test_of_concurrent_requests_one_proceeds(store: IdempotencyStore, clock: Any) -> None:
    outcomes = await asyncio.gather(
        *(store.claim("u1", "k", "f", clock.wall(), QUOTA) for _ in range(20)),
        return_exceptions=True,
    )
    assert outcomes.count(None) == 1
    assert sum(isinstance(outcome, IdempotencyPending) for outcome in outcomes) == 19


@pytest.mark.gen_test
async def test_a_claim_without_an_answer_dies_after_a_minute(
    store: IdempotencyStore, clock: Any
) -> None:
    await store.claim("u1", "k", "f", clock.wall(), QUOTA)
    clock.advance(59)
    with pytest.raises(IdempotencyPending):
        await store.claim("u1", "k", "f", clock.wall(), QUOTA)
    clock.advance(1)
    assert await store.claim("u1", "k", "f", clock.wall(), QUOTA) is None


@pytest.mark.gen_test
async def test_a_claim_dies_with_the_process_and_an_answer_does_not(
    store: IdempotencyStore, database: Database, make_database: Callable[..., Database], clock: Any
) -> None:
    await store.claim("u1", "running", "f", clock.wall(), QUOTA)
    await store.claim("u1", "answered", "f", clock.wall(), QUOTA)
    await store.finish("u1", "answered", "f", *ANSWER)
    await database.close()
    again = make_database()
    await again.open()
    restarted = IdempotencyStore(again)
    assert await restarted.claim("u1", "running", "f", clock.wall(), QUOTA) is None
    with pytest.raises(IdempotencyPending):
        await restarted.claim("u1", "running", "f", clock.wall(), QUOTA)
    assert await restarted.claim("u1", "answered", "f", clock.wall(), QUOTA) == ANSWER


@pytest.mark.gen_test
async def test_a_claim_of_another_process_ends_after_a_minute_or_with_it(
    store: IdempotencyStore, database: Database, clock: Any
) -> None:
    database.is_shared = True
    this, database.process = database.process, "other"
    other = IdempotencyStore(database)
    database.process = this
    await enter_process(database, "other")
    for key in ("k", "lost"):
        await other.claim("u1", key, "f", clock.wall(), QUOTA)
    with pytest.raises(IdempotencyPending):
        await store.claim("u1", "k", "f", clock.wall() + 59, QUOTA)
    assert await store.claim("u1", "k", "f", clock.wall() + 60, QUOTA) is None
    with pytest.raises(IdempotencyPending):
        await store.claim("u1", "lost", "f", clock.wall() + 1, QUOTA)
    await remove_process(database, "other")
    assert await store.claim("u1", "lost", "f", clock.wall() + 1, QUOTA) is None


@pytest.mark.gen_test
async def test_a_released_key_is_free_and_an_answered_one_is_not_released(
    store: IdempotencyStore, clock: Any
) -> None:
    await store.claim("u1", "k", "f", clock.wall(), QUOTA)
    await store.release("u1", "k", "f")
    assert await store.claim("u1", "k", "other", clock.wall(), QUOTA) is None
    await store.finish("u1", "k", "other", *ANSWER)
    await store.release("u1", "k", "other")
    assert await store.claim("u1", "k", "other", clock.wall(), QUOTA) == ANSWER


@pytest.mark.gen_test
async def test_the_first_answer_is_kept_and_later_ones_are_not_stored(
    store: IdempotencyStore, clock: Any
) -> None:
    await store.claim("u1", "k", "f", clock.wall(), QUOTA)
    clock.advance(60)
    await store.claim("u1", "k", "other", clock.wall(), QUOTA)
    await store.finish("u1", "k", "f", 500, {}, b"late")
    with pytest.raises(IdempotencyPending):
        await store.claim("u1", "k", "other", clock.wall(), QUOTA)
    await store.finish("u1", "k", "other", *ANSWER)
    await store.finish("u1", "k", "other", 500, {}, b"second")
    assert await store.claim("u1", "k", "other", clock.wall(), QUOTA) == ANSWER


@pytest.mark.gen_test
async def test_pruning_deletes_what_is_over_a_day_old(store: IdempotencyStore, clock: Any) -> None:
    now = clock.wall()
    await asyncio.gather(*(store.claim("u1", f"k{n}", "f", now, QUOTA) for n in range(700)))
    clock.advance(1)
    await store.claim("u1", "young", "f", clock.wall(), QUOTA)
    await store.finish("u1", "young", "f", *ANSWER)
    assert await store.prune(now + 86_400) == 700
    assert await store.prune(now + 86_400) == 0
    assert await store.claim("u1", "young", "f", clock.wall(), QUOTA) == ANSWER


async def counted(database: Database) -> dict[str, tuple[int, bool]]:
    """Keys by quota, and whether the bytes are those of the rows."""

    def count(db: Connection) -> dict[str, tuple[int, bool]]:
        sizes = Counter[str]()
        for quota, scope, key, headers, body in db.execute(
            "SELECT quota, scope, key, headers, body FROM idempotency"
        ):
            sizes[quota] += 200 + len(scope.encode()) + len(key)
            sizes[quota] += len((headers or "").encode()) + len(body or b"")
        rows = db.execute("SELECT quota, keys, bytes FROM idempotency_quotas").fetchall()
        return {quota: (keys, size == sizes[quota]) for quota, keys, size in rows}

    return await database.read(count)


@pytest.mark.gen_test
async def test_a_quota_has_room_again_when_its_oldest_key_is_forgotten(
    store: IdempotencyStore, clock: Any
) -> None:
    quota, others = Quota("u1", 3), Quota("u1 /tickets", 1)
    for name in "abc":
        assert await store.claim("u1", name, "f", clock.wall(), quota) is None
        await store.finish("u1", name, "f", *ANSWER)
        clock.advance(1)
    with pytest.raises(IdempotencyLimit, match="3 idempotency keys") as refusal:
        await store.claim("u1", "d", "f", clock.wall(), quota)
    assert refusal.value.details == {"retry_after_s": 86_397}
    assert await store.claim("u1", "a", "f", clock.wall(), quota) == ANSWER  # no new one
    assert await store.claim("u1 /tickets", "d", "f", clock.wall(), others) is None
    clock.advance(86_397)
    assert await store.claim("u1", "d", "f", clock.wall(), quota) is None
    with pytest.raises(IdempotencyLimit):
        await store.claim("u1", "e", "f", clock.wall(), quota)


@pytest.mark.gen_test
async def test_stored_answers_count_in_bytes(
    store: IdempotencyStore, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "QUOTA_BYTES", 5000)
    monkeypatch.setattr(idempotency, "BYTES_PER_KEY", 5)
    assert await store.claim("u1", "a", "f", clock.wall(), QUOTA) is None
    assert await store.claim("u1", "b", "f", clock.wall(), QUOTA) is None
    await store.finish("u1", "a", "f", 200, {}, b"x" * 5000)
    with pytest.raises(IdempotencyLimit, match="take 5"):
        await store.claim("u1", "c", "f", clock.wall(), QUOTA)


@pytest.mark.gen_test
async def test_the_counts_follow_whatever_happens_to_keys(
    store: IdempotencyStore, database: Database, clock: Any
) -> None:
    other = Quota("u2", 9)
    for name in "abcd":
        await store.claim("u1 é", name, "f", clock.wall(), QUOTA)
    await store.claim("u2", "a", "f", clock.wall(), other)
    await store.finish("u1 é", "a", "f", *ANSWER)
    await store.finish("u2", "a", "f", *ANSWER)
    await store.release("u1 é", "b", "f")
    assert await counted(database) == {"u1": (3, True), "u2": (1, True)}
    clock.advance(61)
    await store.claim("u1 é", "c", "other", clock.wall(), other)  # the first one has died
    assert await counted(database) == {"u1": (2, True), "u2": (2, True)}
    clock.advance(86_339)
    await store.claim("u1 é", "a", "f", clock.wall(), QUOTA)  # forgotten, taken anew
    assert await store.prune(clock.wall()) == 2
    assert await counted(database) == {"u1": (1, True), "u2": (1, True)}


@pytest.mark.sqlite_only
@pytest.mark.gen_test
async def test_keys_of_before_the_quotas_count_and_stored_tickets_go(
    path: Any, make_database: Any, clock: Any
) -> None:
    path.parent.mkdir()
    with closing(sqlite_utils.Database(path)) as db:
        MIGRATIONS.apply(db, stop_before="m0035_idempotency_quotas")
        for scope in ("u1 POST /api/v1/websocket/tickets", "u1 POST /b", "u2 POST /b"):
            db.execute(
                "INSERT INTO idempotency VALUES (?, 'k', 'f', 'p', ?, 200, '{}', x'00')",
                [scope, clock.wall()],
            )
    database = make_database()
    await database.open()
    assert await counted(database) == {"u1": (1, True), "u2": (1, True)}
    with pytest.raises(IdempotencyLimit):
        await IdempotencyStore(database).claim("u2 b", "n", "f", clock.wall(), Quota("u2", 1))


@dataclass
class Outage:
    """A database whose jobs fail while it is away, perhaps after they were committed."""

    database: Database
    is_away: bool = False
    loses_answers: bool = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.database, name)

    async def run(self, job: Callable[[Connection], Any]) -> Any:
        if self.is_away and not self.loses_answers:
            raise StorageUnavailable("away")
        result = await self.database.run(job)
        if self.is_away:
            raise StorageUnavailable("the answer is lost")
        return result


async def advanced(store: IdempotencyStore) -> None:
    if (work := store.advance()) is not None:
        await work


class TestWhileTheDatabaseIsAway:
    """What a request could not write at its end is written when the database is back."""

    @pytest.fixture
    def outage(self, database: Database) -> Outage:
        return Outage(database)

    @pytest.fixture
    def store(self, outage: Outage) -> IdempotencyStore:
        return IdempotencyStore(cast("Database", outage))

    @pytest.mark.gen_test
    async def test_a_claim_is_released_later(
        self, store: IdempotencyStore, outage: Outage, clock: Any
    ) -> None:
        await store.claim("u1", "k", "f", clock.wall(), QUOTA)
        assert store.advance() is None
        outage.is_away = True
        await store.release("u1", "k", "f")
        await advanced(store)
        outage.is_away = False
        await advanced(store)
        assert store.advance() is None
        assert await outage.database.run(lambda db: db.execute(COUNT).fetchone()[0]) == 0

    @pytest.mark.gen_test
    async def test_the_next_claim_does_not_wait_for_that(
        self, store: IdempotencyStore, outage: Outage, clock: Any
    ) -> None:
        await store.claim("u1", "k", "f", clock.wall(), QUOTA)
        outage.is_away = True
        await store.release("u1", "k", "f")
        outage.is_away = False
        clock.advance(0.1)
        assert await store.claim("u1", "k", "f", clock.wall(), QUOTA) is None
        await advanced(store)
        with pytest.raises(IdempotencyPending):
            await store.claim("u1", "k", "f", clock.wall(), QUOTA)

    @pytest.mark.gen_test
    async def test_an_answer_is_stored_later(
        self, store: IdempotencyStore, outage: Outage, clock: Any
    ) -> None:
        await store.claim("u1", "k", "f", clock.wall(), QUOTA)
        outage.is_away = True
        await store.finish("u1", "k", "f", *ANSWER)
        with pytest.raises(StorageUnavailable):
            await store.claim("u1", "k", "f", clock.wall(), QUOTA)
        outage.is_away = False
        assert await store.claim("u1", "k", "f", clock.wall(), QUOTA) == ANSWER

    @pytest.mark.gen_test
    async def test_a_claim_whose_answer_was_lost_is_released(
        self, store: IdempotencyStore, outage: Outage, clock: Any
    ) -> None:
        outage.is_away = outage.loses_answers = True
        with pytest.raises(StorageUnavailable):
            await store.claim("u1", "k", "f", clock.wall(), QUOTA)
        outage.is_away = False
        clock.advance(0.1)
        assert await store.claim("u1", "k", "f", clock.wall(), QUOTA) is None

    @pytest.mark.gen_test
    async def test_not_without_a_bound(
        self,
        store: IdempotencyStore,
        outage: Outage,
        clock: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(idempotency, "OWED_LIMIT", 1)
        for key in "ab":
            await store.claim("u1", key, "f", clock.wall(), QUOTA)
        outage.is_away = True
        await store.release("u1", "a", "f")
        with pytest.raises(StorageUnavailable):
            await store.release("u1", "b", "f")
        outage.is_away = False
        await advanced(store)
        with pytest.raises(IdempotencyPending):
            await store.claim("u1", "b", "f", clock.wall(), QUOTA)


COUNT = "SELECT count(*) FROM idempotency"
