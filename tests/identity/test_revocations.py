"""Revocation of one token, and of all tokens of a user up to a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wsserver.errors import TokenRevoked
from wsserver.identity.claims import Claims
from wsserver.identity.revocations import Revocations

if TYPE_CHECKING:
    from tests.support.fake_clock import FakeClock


def claims(iat: float | None = None, jti: str | None = None, sub: str = "u1") -> Claims:
    return Claims(sub=sub, exp=2e9, iat=iat, jti=jti)


def test_jti(clock: FakeClock) -> None:
    revocations = Revocations(clock)
    revocations.check(claims(jti="j1"))
    revocations.revoke_jti("j1")
    with pytest.raises(TokenRevoked):
        revocations.check(claims(jti="j1"))
    assert not revocations.is_revoked(claims(jti="j2"))
    assert not revocations.is_revoked(claims())


@pytest.mark.parametrize(
    ("iat", "revoked"),
    [
        (None, True),  # may be older
        (0.0, True),
        (99.0, True),
        (100.0, True),  # the same second: cannot be distinguished from just before
        (100.4, True),
        (100.5, True),
        (100.6, False),
        (101.0, False),
    ],
)
def test_user_at_a_moment(clock: FakeClock, iat: float | None, revoked: bool) -> None:
    revocations = Revocations(clock)
    revocations.revoke_user("u1", 100.5)
    assert revocations.is_revoked(claims(iat)) is revoked
    assert not revocations.is_revoked(claims(iat, sub="u2"))


def test_default_moment_is_now(clock: FakeClock) -> None:
    revocations = Revocations(clock)
    assert revocations.revoke_user("u1") == clock.wall()
    assert revocations.is_revoked(claims(clock.wall()))
    assert not revocations.is_revoked(claims(clock.wall() + 1))


def test_moment_never_moves_back(clock: FakeClock) -> None:
    revocations = Revocations(clock)
    assert revocations.revoke_user("u1", 200.0) == 200.0
    assert revocations.revoke_user("u1", 100.0) == 200.0
    assert revocations.is_revoked(claims(150.0))


def test_load(clock: FakeClock) -> None:
    revocations = Revocations(clock)
    revocations.load(["j1", "j2"], [("u1", 100.0), ("u2", 50.0), ("u1", 90.0)])
    assert revocations.is_revoked(claims(999, jti="j2"))
    assert revocations.is_revoked(claims(95.0))
    assert not revocations.is_revoked(claims(60.0, sub="u2"))
