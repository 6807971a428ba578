from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from wsserver.errors import IdempotencyConflict, IdempotencyPending
from wsserver.storage.database import Database
from wsserver.storage.idempotency import IdempotencyStore, StoredAnswer

ANSWER = StoredAnswer(202, {"Content-Type": "application/json"}, b'{"a":"\xc3\xa9"}')


@pytest.fixture
def store(database: Database) -> IdempotencyStore:
    return IdempotencyStore(database)


@pytest.mark.gen_test
async def test_the_same_request_again_gets_the_same_answer(
    store: IdempotencyStore, clock: Any
) -> None:
    assert await store.claim("u1", "k", "f", clock.wall()) is None
    await store.finish("u1", "k", "f", *ANSWER)
    clock.advance(86_399)
    assert await store.claim("u1", "k", "f", clock.wall()) == ANSWER
    clock.advance(1)
    assert await store.claim("u1", "k", "f", clock.wall()) is None


@pytest.mark.gen_test
async def test_another_body_is_a_conflict_for_a_day(store: IdempotencyStore, clock: Any) -> None:
    await store.claim("u1", "k", "f", clock.wall())
    with pytest.raises(IdempotencyConflict):
        await store.claim("u1", "k", "other", clock.wall())
    await store.finish("u1", "k", "f", *ANSWER)
    with pytest.raises(IdempotencyConflict):
        await store.claim("u1", "k", "other", clock.wall())
    clock.advance(86_400)
    assert await store.claim("u1", "k", "other", clock.wall()) is None


@pytest.mark.gen_test
async def test_keys_of_different_scopes_never_meet(store: IdempotencyStore, clock: Any) -> None:
    await store.claim("u1", "k", "f", clock.wall())
    assert await store.claim("u2", "k", "other", clock.wall()) is None


@pytest.mark.gen_test
async def test_of_many_at_once_one_goes_ahead(store: IdempotencyStore, clock: Any) -> None:
    outcomes = await asyncio.gather(
        *(store.claim("u1", "k", "f", clock.wall()) for _ in range(20)), return_exceptions=True
    )
    assert outcomes.count(None) == 1
    assert sum(isinstance(outcome, IdempotencyPending) for outcome in outcomes) == 19


@pytest.mark.gen_test
async def test_a_claim_without_an_answer_dies_after_a_minute(
    store: IdempotencyStore, clock: Any
) -> None:
    await store.claim("u1", "k", "f", clock.wall())
    clock.advance(59)
    with pytest.raises(IdempotencyPending):
        await store.claim("u1", "k", "f", clock.wall())
    clock.advance(1)
    assert await store.claim("u1", "k", "f", clock.wall()) is None


@pytest.mark.gen_test
async def test_a_claim_dies_with_the_process_and_an_answer_does_not(
    store: IdempotencyStore, database: Database, make_database: Callable[..., Database], clock: Any
) -> None:
    await store.claim("u1", "running", "f", clock.wall())
    await store.claim("u1", "answered", "f", clock.wall())
    await store.finish("u1", "answered", "f", *ANSWER)
    await database.close()
    again = make_database()
    await again.open()
    restarted = IdempotencyStore(again)
    assert await restarted.claim("u1", "running", "f", clock.wall()) is None
    with pytest.raises(IdempotencyPending):
        await restarted.claim("u1", "running", "f", clock.wall())
    assert await restarted.claim("u1", "answered", "f", clock.wall()) == ANSWER


@pytest.mark.gen_test
async def test_a_released_key_is_free_and_an_answered_one_is_not_released(
    store: IdempotencyStore, clock: Any
) -> None:
    await store.claim("u1", "k", "f", clock.wall())
    await store.release("u1", "k", "f")
    assert await store.claim("u1", "k", "other", clock.wall()) is None
    await store.finish("u1", "k", "other", *ANSWER)
    await store.release("u1", "k", "other")
    assert await store.claim("u1", "k", "other", clock.wall()) == ANSWER


@pytest.mark.gen_test
async def test_the_first_answer_stands_and_a_latecomer_stores_nothing(
    store: IdempotencyStore, clock: Any
) -> None:
    await store.claim("u1", "k", "f", clock.wall())
    clock.advance(60)
    await store.claim("u1", "k", "other", clock.wall())
    await store.finish("u1", "k", "f", 500, {}, b"late")
    with pytest.raises(IdempotencyPending):
        await store.claim("u1", "k", "other", clock.wall())
    await store.finish("u1", "k", "other", *ANSWER)
    await store.finish("u1", "k", "other", 500, {}, b"second")
    assert await store.claim("u1", "k", "other", clock.wall()) == ANSWER


@pytest.mark.gen_test
async def test_pruning_deletes_what_is_over_a_day_old(store: IdempotencyStore, clock: Any) -> None:
    now = clock.wall()
    await asyncio.gather(*(store.claim("u1", f"k{n}", "f", now) for n in range(700)))
    clock.advance(1)
    await store.claim("u1", "young", "f", clock.wall())
    await store.finish("u1", "young", "f", *ANSWER)
    assert await store.prune(now + 86_400) == 700
    assert await store.prune(now + 86_400) == 0
    assert await store.claim("u1", "young", "f", clock.wall()) == ANSWER
