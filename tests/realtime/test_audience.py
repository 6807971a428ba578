"""Audiences: the filter of recipients, on delivery and on replay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsserver.identity.claims import Claims
from wsserver.realtime.messages.audience import EVERYBODY, Audience, read_audience, write_audience


def who(organization_id: str | None = None, role: str = "user", sub: str = "u1") -> Claims:
    return Claims(sub, 2e9, role=role, organization_id=organization_id)


@pytest.mark.parametrize(
    ("audience", "claims", "reason"),
    [
        (EVERYBODY, who(), None),
        (Audience(exclude_users=frozenset({"u1"})), who(), "excluded"),
        (Audience(exclude_users=frozenset({"u2"})), who(), None),
        (Audience("acme"), who("acme"), None),
        (Audience("acme"), who("other"), "other_organization"),
        (Audience("acme"), who(), "other_organization"),
        (Audience("acme", True), who(), None),
        (Audience("acme", True), who("acme"), None),
        (Audience("acme", True), who("other"), "other_organization"),
        (Audience(None, True), who("other"), None),
        (Audience(role="admin"), who(), "other_role"),
        (Audience(role="admin"), who(role="admin"), None),
        (Audience("acme", role="admin"), who("acme"), "other_role"),
        (Audience("acme", role="admin"), who(role="admin"), "other_organization"),
    ],
)
def test_who_is_meant(audience: Audience, claims: Claims, reason: str | None) -> None:
    assert audience.exclusion(claims) == reason
    assert audience.admits(claims) is (reason is None)


NAMES = st.none() | st.text(max_size=5)
AUDIENCES = st.builds(
    Audience, NAMES, st.booleans(), NAMES, st.frozensets(st.text(max_size=5), max_size=3)
)


@given(AUDIENCES)
def test_what_is_stored_is_what_is_read(audience: Audience) -> None:
    text = write_audience(audience if audience != EVERYBODY else None)
    assert (text is None) is (audience == EVERYBODY)
    assert (read_audience(text) or EVERYBODY) == audience
