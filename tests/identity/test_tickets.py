"""Tickets: used once, for a limited time, never longer than their token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wsserver.errors import TokenExpired, TokenInvalid, TokenRevoked
from wsserver.identity.claims import Claims
from wsserver.identity.revocations import Revocations
from wsserver.identity.tickets import Tickets

if TYPE_CHECKING:
    from tests.support.fake_clock import FakeClock


def claims_for(clock: FakeClock, lasts_s: float = 3600, sub: str = "u1") -> Claims:
    return Claims(sub=sub, exp=clock.wall() + lasts_s, jti="j1")


def test_redeemed_once(clock: FakeClock) -> None:
    tickets = Tickets(clock)
    claims = claims_for(clock)
    ticket, expires_at = tickets.issue(claims)
    assert expires_at == clock.wall() + 30
    assert len(ticket) >= 43
    assert tickets.redeem(ticket) is claims
    with pytest.raises(TokenInvalid):
        tickets.redeem(ticket)


def test_peeking_uses_nothing_up(clock: FakeClock) -> None:
    tickets = Tickets(clock)
    claims = claims_for(clock)
    ticket, _ = tickets.issue(claims)
    assert tickets.peek(ticket) is tickets.peek(ticket) is claims
    assert tickets.redeem(ticket) is claims
    for gone in (ticket, "unknown", "é"):
        with pytest.raises(TokenInvalid):
            tickets.peek(gone)


def test_expires(clock: FakeClock) -> None:
    tickets = Tickets(clock)
    early, _ = tickets.issue(claims_for(clock))
    late, _ = tickets.issue(claims_for(clock))
    clock.advance(29.9)
    tickets.redeem(early)
    clock.advance(0.1)
    with pytest.raises(TokenInvalid):
        tickets.redeem(late)


def test_own_ttl(clock: FakeClock) -> None:
    tickets = Tickets(clock)
    ticket, expires_at = tickets.issue(claims_for(clock), ttl_s=600)
    assert expires_at == clock.wall() + 600
    clock.advance(599)
    tickets.redeem(ticket)


def test_never_outlives_its_token(clock: FakeClock) -> None:
    tickets = Tickets(clock)
    claims = claims_for(clock, lasts_s=10)
    ticket, expires_at = tickets.issue(claims)
    assert expires_at == claims.exp
    clock.now_wall += 10  # the wall clock jumps: the token is over, the ticket's own time is not
    with pytest.raises(TokenInvalid):
        tickets.redeem(ticket)
    with pytest.raises(TokenExpired):
        tickets.issue(claims)


@pytest.mark.parametrize("ticket", ["", "x", "x" * 43, "x" * 100_000, "é", "\ud800", "\x00"])
def test_unknown(clock: FakeClock, ticket: str) -> None:
    with pytest.raises(TokenInvalid):
        Tickets(clock).redeem(ticket)


def test_token_revoked_meanwhile(clock: FakeClock) -> None:
    revocations = Revocations(clock)
    tickets = Tickets(clock, revocations=revocations)
    ticket, _ = tickets.issue(claims_for(clock))
    revocations.revoke_jti("j1")
    with pytest.raises(TokenRevoked):
        tickets.redeem(ticket)


def test_full_drops_expired_first_then_oldest(clock: FakeClock) -> None:
    tickets = Tickets(clock, capacity=3)
    first, _ = tickets.issue(claims_for(clock))
    brief, _ = tickets.issue(claims_for(clock), ttl_s=1)
    third, _ = tickets.issue(claims_for(clock))
    clock.advance(2)
    fourth, _ = tickets.issue(claims_for(clock))  # takes the place of the expired one
    assert len(tickets) == 3
    fifth, _ = tickets.issue(claims_for(clock))  # nothing has expired: the oldest goes
    assert len(tickets) == 3
    for gone in (first, brief):
        with pytest.raises(TokenInvalid):
            tickets.redeem(gone)
    for good in (third, fourth, fifth):
        tickets.redeem(good)


def test_ticket_itself_is_not_kept(clock: FakeClock) -> None:
    tickets = Tickets(clock)
    ticket, _ = tickets.issue(claims_for(clock))
    assert ticket not in repr(vars(tickets))


def test_no_user_pushes_out_the_tickets_of_others(clock: FakeClock) -> None:
    tickets = Tickets(clock, capacity=4)
    kept, _ = tickets.issue(claims_for(clock, sub="bob"))
    oldest, *_, newest = [tickets.issue(claims_for(clock, sub="mallory"))[0] for _ in range(10)]
    assert len(tickets) == 4
    assert tickets.peek(newest).sub == "mallory"
    with pytest.raises(TokenInvalid):
        tickets.peek(oldest)
    late, _ = tickets.issue(claims_for(clock, sub="carol"))
    assert [tickets.redeem(ticket).sub for ticket in (kept, late)] == ["bob", "carol"]
    assert len(tickets) == 2


def test_users_of_the_same_name_in_two_organizations_have_tickets_of_their_own(
    clock: FakeClock,
) -> None:
    tickets = Tickets(clock, capacity=3)
    exp = clock.wall() + 60
    kept, _ = tickets.issue(Claims(sub="u1", exp=exp, organization_id="a"))
    for _ in range(3):
        tickets.issue(Claims(sub="u1", exp=exp, organization_id="b"))
    assert tickets.redeem(kept).organization_id == "a"
