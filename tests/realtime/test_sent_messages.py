from __future__ import annotations

import asyncio

import pytest

from wsserver.realtime.sent_messages import LIFETIME_S, SentMessages


@pytest.mark.gen_test
async def test_a_repeat_gets_the_answer_of_the_first_even_while_that_is_under_way() -> None:
    sent = SentMessages()
    assert sent.find("u1", "c1", 0.0) is None
    answer = sent.begin("u1", "c1", 0.0)
    repeat = sent.find("u1", "c1", 1.0)
    assert repeat is not None
    answer.set_result("msg_1")
    assert await repeat == "msg_1"
    assert sent.find("u2", "c1", 1.0) is None
    assert sent.find("u1", "c2", 1.0) is None


@pytest.mark.gen_test
async def test_an_answer_is_kept_for_a_day() -> None:
    sent = SentMessages()
    sent.begin("u1", "c1", 100.0).set_result("msg_1")
    assert sent.find("u1", "c1", 100.0 + LIFETIME_S - 0.1) is not None
    assert sent.find("u1", "c1", 100.0 + LIFETIME_S) is None
    assert len(sent) == 0


@pytest.mark.gen_test
async def test_past_the_capacity_the_oldest_go() -> None:
    sent = SentMessages(capacity=2)
    for n in range(5):
        sent.begin("u1", f"c{n}", float(n)).set_result(f"msg_{n}")
    assert [sent.find("u1", f"c{n}", 5.0) is not None for n in range(5)] == [
        *(False, False, False, True, True)
    ]


@pytest.mark.gen_test
async def test_after_a_failure_those_who_wait_are_told_and_the_next_is_a_first_again() -> None:
    sent = SentMessages()
    sent.begin("u1", "c1", 0.0)
    repeat = sent.find("u1", "c1", 0.0)
    assert repeat is not None
    waiting = asyncio.ensure_future(asyncio.shield(repeat))
    await asyncio.sleep(0)
    sent.abandon("u1", "c1", OSError("the broker is gone"))
    with pytest.raises(OSError, match="broker"):
        await waiting
    assert sent.find("u1", "c1", 0.0) is None


@pytest.mark.gen_test
async def test_a_failure_that_nobody_waits_for_is_nobodys() -> None:
    sent = SentMessages()
    sent.begin("u1", "c1", 0.0)
    sent.abandon("u1", "c1", OSError())
    sent.abandon("u1", "c1", OSError())  # made room for meanwhile
    assert len(sent) == 0
