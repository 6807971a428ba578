"""The permission table, cell by cell."""

from __future__ import annotations

from typing import Any

import pytest

from wsserver.errors import Forbidden
from wsserver.identity.claims import ROLES, Claims
from wsserver.identity.permissions import ALL_PERMISSIONS, DEFAULT_ROLES, Permissions

COLUMNS = ("admin", "service", "manager", "user")
TABLE = """
monitor                 yes yes -   -
stats:read              yes yes yes -
connections:read        yes yes yes -
connections:disconnect  yes -   -   -
connections:record      yes -   -   -
sessions:manage         yes yes -   -
sessions:any            yes -   -   -
messages:read           yes yes yes -
messages:publish        yes yes yes -
messages:moderate       yes -   yes -
users:erase             yes -   -   -
notifications:send      yes yes yes -
notifications:read      yes yes -   -
tokens:revoke           yes -   -   -
audit:read              yes -   -   -
"""
ROWS = [line.split() for line in TABLE.strip().splitlines()]
CELLS = [
    (role, permission, cell == "yes")
    for permission, *cells in ROWS
    for role, cell in zip(COLUMNS, cells, strict=True)
]


def claims(role: str = "user", **more: Any) -> Claims:
    return Claims(sub="u1", exp=2e9, role=role, **more)


def all_of(permissions: Permissions, asked: Claims) -> set[str]:
    return {name for name in ALL_PERMISSIONS if permissions.allows(asked, name)}


@pytest.mark.parametrize(("role", "permission", "allowed"), CELLS)
def test_cell(role: str, permission: str, allowed: bool) -> None:
    permissions = Permissions()
    asked = claims(role)
    assert permissions.allows(asked, permission) is allowed
    if allowed:
        permissions.require(asked, permission)
    else:
        with pytest.raises(Forbidden, match=permission):
            permissions.require(asked, permission)


def test_table_is_whole() -> None:
    assert {row[0] for row in ROWS} == ALL_PERMISSIONS
    assert set(COLUMNS) == set(ROLES) == set(DEFAULT_ROLES)


def test_token_narrows_and_never_widens() -> None:
    permissions = Permissions()
    asked = claims("manager", permissions=frozenset({"stats:read", "audit:read", "no-such"}))
    assert all_of(permissions, asked) == {"stats:read"}
    assert not permissions.allows(asked, "no-such")
    assert all_of(permissions, claims("admin", permissions=frozenset())) == set()


def test_configured_row_replaces_the_default_and_leaves_others() -> None:
    permissions = Permissions({"user": ["stats:read"], "manager": []})
    assert all_of(permissions, claims("user")) == {"stats:read"}
    assert all_of(permissions, claims("manager")) == set()
    assert all_of(permissions, claims("admin")) == ALL_PERMISSIONS


def test_every_unknown_name_is_listed() -> None:
    with pytest.raises(ValueError, match="root") as caught:
        Permissions({"root": ["monitor"], "user": ["fly", "stats:read"], "admin": ["swim"]})
    for name in ("'root'", "'fly'", "'swim'"):
        assert name in str(caught.value)
    assert "stats:read" not in str(caught.value)


@pytest.mark.parametrize(
    ("role", "organization_id", "expected"),
    [
        ("admin", None, None),
        ("admin", "o1", None),
        ("service", "o1", None),
        ("manager", "o1", "o1"),
        ("user", "o1", "o1"),
    ],
)
def test_confined_to(role: str, organization_id: str | None, expected: str | None) -> None:
    asked = claims(role, organization_id=organization_id)
    assert Permissions().confined_to(asked) == expected


@pytest.mark.parametrize("role", ["manager", "user"])
def test_confined_to_nothing(role: str) -> None:
    with pytest.raises(Forbidden, match="organization_id"):
        Permissions().confined_to(claims(role))
