from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.support.fake_connections import fake_connection
from wsserver.identity.claims import Claims
from wsserver.realtime.connections.expiry import TokenExpiry

EXP = 1_700_000_030.5


@pytest.fixture
def expiry() -> TokenExpiry:
    return TokenExpiry()


def test_a_warning_comes_60_s_before_and_once(expiry: TokenExpiry) -> None:
    connection = fake_connection(exp=EXP)
    expiry.add(connection)
    assert expiry.due(EXP - 60.001) == ([], [])
    assert expiry.due(EXP - 60.0) == ([connection], [])
    assert expiry.due(EXP - 59.0) == ([], [])
    assert expiry.due(EXP - 0.001) == ([], [])
    assert expiry.due(EXP) == ([], [connection])


def test_a_token_is_over_after_the_leeway_and_warned_of_before_its_end() -> None:
    expiry = TokenExpiry(leeway_s=5.0)
    connection = fake_connection(exp=EXP)
    expiry.add(connection)
    assert expiry.due(EXP - 60.0) == ([connection], [])
    assert expiry.due(EXP + 4.999) == ([], [])
    assert expiry.due(EXP + 5.0) == ([], [connection])


def test_what_is_expired_at_first_sight_is_not_warned(expiry: TokenExpiry) -> None:
    connection = fake_connection(exp=EXP)
    expiry.add(connection)
    assert expiry.due(EXP + 1000) == ([], [connection])


def test_a_wall_clock_that_jumps_forward_is_noticed_immediately(expiry: TokenExpiry) -> None:
    connections = [fake_connection(exp=EXP + n * 600) for n in range(12)]
    for connection in connections:
        expiry.add(connection)
    assert expiry.due(EXP - 3600) == ([], [])
    warn, expired = expiry.due(EXP + 3590)
    assert expired == connections[:6]
    assert warn == connections[6:7]


def test_a_wall_clock_that_jumps_back_expires_no_connection(expiry: TokenExpiry) -> None:
    connection = fake_connection(exp=EXP)
    expiry.add(connection)
    assert expiry.due(EXP - 30) == ([connection], [])
    assert expiry.due(EXP - 3630) == ([], [])
    assert expiry.due(EXP - 30) == ([], [])
    assert expiry.due(EXP)[1] == [connection]


def test_newer_claims_are_warned_of_anew(expiry: TokenExpiry) -> None:
    connection: Any = fake_connection(exp=EXP)
    expiry.add(connection)
    expiry.due(EXP - 10)
    expiry.discard(connection)
    connection.claims = Claims(sub="u1", exp=EXP + 1000)
    expiry.add(connection)
    assert expiry.due(EXP + 900) == ([], [])
    assert expiry.due(EXP + 940) == ([connection], [])
    assert expiry.due(EXP + 1000) == ([], [connection])


def test_a_closed_connection_leaves_nothing_behind(expiry: TokenExpiry) -> None:
    connection = fake_connection(exp=EXP)
    expiry.add(connection)
    expiry.discard(connection)
    expiry.discard(connection)
    assert expiry.due(EXP + 1e6) == ([], [])
    assert expiry._buckets == {}


def test_discarded_connections_are_not_kept_for_long(expiry: TokenExpiry) -> None:
    connections = [fake_connection(exp=EXP) for _ in range(80)]
    for connection in connections:
        expiry.add(connection)
    for connection in connections[10:]:
        expiry.discard(connection)
    never_added = fake_connection(exp=EXP)
    references = [sys.getrefcount(each) for each in [*connections[10:], never_added]]
    assert sum(count > references[-1] for count in references) <= 2
    assert expiry.due(EXP) == ([], connections[:10])


def test_a_discarded_connection_is_neither_warned_nor_expired(expiry: TokenExpiry) -> None:
    connections = [fake_connection(exp=EXP) for _ in range(20)]
    for connection in connections:
        expiry.add(connection)
    expiry.discard(connections[3])
    expiry.discard(connections[3])
    del connections[3]
    assert expiry.due(EXP - 1) == (connections, [])
    assert expiry.due(EXP) == ([], connections)


def test_a_token_that_is_renewed_again_and_again_is_watched_once(expiry: TokenExpiry) -> None:
    connections = [fake_connection(exp=EXP) for _ in range(20)]
    for connection in connections:
        expiry.add(connection)
    renewed = connections[0]
    for exp in (EXP, EXP + 600, EXP, EXP + 1):
        expiry.discard(renewed)
        renewed.claims = Claims(sub="u1", exp=exp)
        expiry.add(renewed)
    assert expiry.due(EXP) == ([renewed], connections[1:])
    assert expiry.due(EXP + 1)[1].count(renewed) == 1
