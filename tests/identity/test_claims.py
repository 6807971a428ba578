"""Claims are checked strictly: one type each, or the token is refused."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from wsserver.errors import TokenInvalid
from wsserver.identity.claim_parser import parse_claims
from wsserver.identity.claims import ROLES, Claims

GOOD: dict[str, Any] = {"sub": "u1", "exp": 2_000_000_000}

WRONG_VALUES: dict[str, list[Any]] = {
    "sub": ["", 1, None, True, ["u1"], {}, "a b", "x" * 129, "١٢", "u\n", ".", ".."],
    "exp": [
        None, "99999999999", "", True, False, 10**400, -(10**400), -1, 2**63,
        float("inf"), float("nan"), float("-inf"), 1e300, [1], {},
    ],
    "nbf": [None, "1", True, 10**400, float("nan"), [], -1],
    "iat": [None, "1", True, 10**400, float("inf"), {}, -1],
    "role": ["ADMIN", "admin ", " admin", "root", "", None, 1, True, ["admin"], {"a": 1}],
    "username": [None, 1, True, ["a"], {}, "\ud800"],
    "organization_id": [None, 1, "", "a b", "*", "x" * 129, ["o"], ".."],
    "sessions": [
        None, 1, True, "", "s1", "**", {"s1": 1}, [1], [None], ["*"], ["a b"], [""], [["s"]],
        ["s1", "."],
    ],
    "permissions": [None, 1, "monitor", "*", {"a": 1}, [1], [None], [["a"]]],
    "jti": [None, 1, True, ["j"], {}],
    "iss": [None, 1, ["me"], {}, True],
    "aud": [None, 1, {}, [1], ["a", None], True],
}  # fmt: skip
WRONG: list[dict[str, Any]] = [
    {name: value} for name, values in WRONG_VALUES.items() for value in values
]


@pytest.mark.parametrize(
    "wrong", WRONG, ids=lambda wrong: repr(wrong)[:40].encode("ascii", "replace").decode()
)
def test_wrong_claim_is_token_invalid(wrong: dict[str, Any]) -> None:
    with pytest.raises(TokenInvalid, match=f'"{next(iter(wrong))}"'):
        parse_claims({**GOOD, **wrong})


@pytest.mark.parametrize("name", ["sub", "exp"])
def test_required(name: str) -> None:
    with pytest.raises(TokenInvalid, match=name):
        parse_claims({key: value for key, value in GOOD.items() if key != name})


def test_least() -> None:
    claims = parse_claims(GOOD)
    assert claims == Claims(sub="u1", exp=2e9)
    assert (claims.role, claims.sessions, claims.permissions) == ("user", frozenset(), None)
    assert isinstance(claims.exp, float)


def test_everything() -> None:
    claims = parse_claims(
        {
            **GOOD, "role": "manager", "username": "张三", "organization_id": "o1",
            "sessions": ["s1", "s2"], "permissions": ["stats:read", "no-such"], "jti": "j1",
            "iat": 1, "nbf": 1.5, "iss": "me", "aud": ["a", "b"], "extra": {"any": [None]},
        }
    )  # fmt: skip
    assert claims == Claims(
        sub="u1", exp=2e9, role="manager", username="张三", organization_id="o1",
        sessions=frozenset({"s1", "s2"}), permissions=frozenset({"stats:read", "no-such"}),
        jti="j1", iat=1.0, nbf=1.5,
    )  # fmt: skip


@pytest.mark.parametrize("role", ROLES)
def test_roles_share_one_string(role: str) -> None:
    copy = "".join(list(role))
    assert parse_claims({**GOOD, "role": copy}).role is sys.intern(role)


def test_empty_sets_are_shared() -> None:
    first = parse_claims({**GOOD, "sessions": []})
    second = parse_claims(GOOD)
    assert first.sessions is second.sessions
    assert parse_claims({**GOOD, "permissions": []}).permissions == frozenset()


@pytest.mark.parametrize(
    ("sessions", "session_id", "opens"),
    [
        ("*", "s1", True),
        (["s1"], "s1", True),
        (["s1"], "s2", False),
        ([], "s1", False),
        ("*", "*", True),
    ],
)
def test_opens(sessions: Any, session_id: str, opens: bool) -> None:
    assert parse_claims({**GOOD, "sessions": sessions}).opens(session_id) is opens


def test_no_dict_per_object() -> None:
    assert not hasattr(parse_claims(GOOD), "__dict__")


@pytest.mark.parametrize("own", ["o1", None])
def test_an_entered_organization_replaces_the_tokens_own_and_gives_it_back(own: str | None) -> None:
    signed = Claims(sub="u1", exp=1.0, organization_id=own)
    assert signed.belonging_to(None) is signed
    entered = signed.belonging_to("o2")
    assert (entered.organization_id, entered.token_organization_id) == ("o2", own)
    assert entered.belonging_to("o2") is entered
    moved = entered.belonging_to("o3")
    assert (moved.organization_id, moved.token_organization_id) == ("o3", own)
    assert moved.belonging_to(None) == signed


def test_to_be_entered_where_the_token_says_so_changes_nothing() -> None:
    signed = Claims(sub="u1", exp=1.0, organization_id="o1")
    assert signed.belonging_to("o1") is signed
    assert signed.belonging_to("o2").belonging_to("o1") == signed
