"""``wsctl bench``: what it plans, what it refuses, and what it makes of what happens."""

from __future__ import annotations

from dataclasses import replace

import jwt
import pytest

from wsctl.bench.credentials import created_users
from wsctl.bench.plan import (
    Limits,
    Plan,
    connections_for,
    impossible,
    limits_of,
    messages_for,
    objections,
)
from wsctl.bench.report import show
from wsctl.bench.results import Results, percentiles
from wsctl.commands.bench import is_ok
from wsctl.output.writer import Output

PLAN = Plan(connections=10, messages=200, per_s=20, size=200)
LIMITS = Limits(
    per_user=5,
    own_connections=0,
    messages_per_s=40,
    message_bytes=65536,
    free_connections=50_000,
    free_descriptors=60_000,
)


def test_the_limits_are_those_of_the_server() -> None:
    whoami = {
        "connections": 2,
        "limits": {"connections": 5, "messages_per_s": 40.0, "message_bytes": 65536},
    }
    diagnostics = {
        "connections": 10,
        "max_connections": 100,
        "descriptors": {"open": 30, "limit": 1024, "kept_back": 64},
    }
    assert limits_of(whoami, diagnostics) == Limits(5, 2, 40.0, 65536, 90, 930)
    assert limits_of(whoami, None) == Limits(5, 2, 40.0, 65536)
    assert limits_of({}, {"descriptors": 1}) == Limits(None, 0, None, None)


@pytest.mark.parametrize(
    ("wanted", "opened", "has_users", "count"),
    [
        (None, 0, True, 10),
        (200, 4, True, 200),
        (None, 0, False, 4),
        (None, 3, False, 1),
        (4, 0, False, 4),
        (1, 3, False, 1),
    ],
)
def test_as_many_connections_as_the_token_allows(
    wanted: int | None, opened: int, has_users: bool, count: int
) -> None:
    limits = replace(LIMITS, own_connections=opened)
    assert connections_for(wanted, limits, has_users=has_users) == count


@pytest.mark.parametrize(("wanted", "opened"), [(5, 0), (None, 4), (1, 5), (2, 3)])
def test_more_than_the_token_allows_is_refused(wanted: int | None, opened: int) -> None:
    """Whatever the policy is: the server would refuse them, or put others out for them."""
    with pytest.raises(ValueError, match="its user may have 5"):
        connections_for(wanted, replace(LIMITS, own_connections=opened), has_users=False)


@pytest.mark.parametrize(
    ("messages", "per_s", "duration_s", "expected"),
    [
        (None, None, 10, (200, 20.0)),
        (None, 5.0, 10, (50, 5.0)),
        (100, None, 10, (100, 10.0)),
        (100, 50.0, 10, (100, 50.0)),
        (100, 1.0, 10, (10, 1.0)),
        (None, 0.01, 1, (1, 0.01)),
    ],
)
def test_messages_rate_and_duration(
    messages: int | None, per_s: float | None, duration_s: float, expected: tuple[int, float]
) -> None:
    assert messages_for(messages, per_s, duration_s) == expected


def test_a_small_load_is_not_objected_to() -> None:
    assert objections(PLAN, LIMITS) == []
    assert objections(PLAN, Limits(None, 0, None, None)) == []


@pytest.mark.parametrize(
    ("plan", "limits", "words"),
    [
        (PLAN, replace(LIMITS, free_connections=50), "22% of the server's free connections"),
        (PLAN, replace(LIMITS, free_connections=5), "more than all"),
        (PLAN, replace(LIMITS, free_descriptors=100), "descriptors"),
        (replace(PLAN, per_s=41), LIMITS, "message_rate"),
        (replace(PLAN, connections=500), LIMITS, "10,000 deliveries per second"),
    ],
)
def test_a_load_that_may_be_too_much_is_objected_to(plan: Plan, limits: Limits, words: str) -> None:
    (objection,) = objections(plan, limits)
    assert words in objection


def test_what_cannot_work_is_not_tried() -> None:
    assert impossible(PLAN, LIMITS, 1024) is None
    assert "too large" in (impossible(replace(PLAN, size=65_300), LIMITS, 1024) or "")
    assert "ulimit" in (impossible(replace(PLAN, connections=1000), LIMITS, 1024) or "")


def test_test_users_users_may_do_nothing_else() -> None:
    credentials = created_users(b"s" * 32, "wsctl-bench-1", 5, 10)
    claims = [jwt.decode(credentials.listener(n), "s" * 32, ["HS256"]) for n in (0, 4, 5)]
    assert [each["sub"] for each in claims] == ["wsctl-bench-1", "wsctl-bench-1", "wsctl-bench-2"]
    assert {(each["role"], *each["sessions"]) for each in claims} == {("user", "wsctl-bench-1")}
    publisher = jwt.decode(credentials.publisher(), "s" * 32, ["HS256"])
    assert publisher["permissions"] == ["monitor", "messages:publish"]
    assert publisher["exp"] - publisher["iat"] == 130


# What it makes of what happens


def results() -> Results:
    """Two connections, two messages that have been taken."""
    made = Results(PLAN)
    for number in (0, 1):
        made.connected(number, 0.01)
    for message in (0, 1):
        made.publishing(message, float(message))
        made.published(message, message + 0.001)
    return made


def test_everything_delivered_once() -> None:
    found = results()
    assert not found.is_complete
    for number in (0, 1):
        for message in (0, 1):
            found.received(number, message, message + 0.002)
    assert found.is_complete
    result = {**found.result(), "stopped": None}
    assert result["deliveries"]["expected"] == result["deliveries"]["received"] == 4
    assert result["receive_ms"]["max"] == 2.0
    assert is_ok(result)


def test_what_is_lost_and_what_comes_twice() -> None:
    found = results()
    for message in (0, 0, 1):
        found.received(0, message, 2.0)
    found.received(1, 0, 2.0)
    found.received(1, 77, 2.0)  # of an unknown connection
    result = {**found.result(), "stopped": None}
    deliveries = result["deliveries"]
    assert (deliveries["lost"], deliveries["duplicated"], deliveries["received"]) == (1, 1, 3)
    assert not is_ok(result)


def test_what_was_refused_is_not_lost() -> None:
    found = results()
    found.publishing(2, 2.0)
    found.not_published("publish: rate_limited")
    found.publishing(3, 3.0)
    result = found.result()
    assert result["deliveries"]["expected"] == 4
    assert (result["messages"]["refused"], result["messages"]["unanswered"]) == (1, 1)
    assert result["errors"] == {"publish: rate_limited": 1}


def test_it_is_too_bad_when_more_than_the_share_fails() -> None:
    found = Results(replace(PLAN, max_error_share=0.5))
    for _ in range(4):
        found.failed("connect: refused")
    assert not found.is_too_bad  # too few to say
    found.failed("connect: refused")
    assert found.is_too_bad
    for number in range(5):
        found.connected(number, 0.01)
    assert not found.is_too_bad


def test_percentiles_are_of_the_nearest_rank() -> None:
    assert percentiles([]) == {"p50": None, "p95": None, "p99": None, "max": None}
    values = percentiles([n / 1000 for n in range(1, 101)])
    assert values == {"p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0}


def test_one_message_without_an_answer_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    found = results()
    found.publishing(2, 2.0)
    result = {**found.result(), "stopped": None, "plan": {"connections": 2}}
    assert result["messages"]["unanswered"] == 1
    show(Output(), result)
    assert "not answered: 1 message\n" in capsys.readouterr().out
