"""Extraction of the one credential of a request."""

from __future__ import annotations

from typing import Any

import pytest

from wsserver.errors import AuthAmbiguous, TokenInvalid, TokenMissing
from wsserver.identity.extract import Credential, extract_credential


def extract(allow_query_token: bool = True, /, **given: list[str]) -> Credential:
    places: dict[str, list[str]] = {
        "authorization": [], "subprotocols": [], "ticket": [], "token": [], **given
    }  # fmt: skip
    return extract_credential(**places, allow_query_token=allow_query_token)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"authorization": ["Bearer a.b.c"]}, Credential("token", "a.b.c")),
        ({"authorization": ["bearer a.b.c"]}, Credential("token", "a.b.c")),
        ({"authorization": ["BEARER   a.b.c "]}, Credential("token", "a.b.c")),
        ({"subprotocols": ["wsserver.v1", "bearer.a.b.c"]}, Credential("token", "a.b.c")),
        ({"subprotocols": ["wsserver.v1, bearer.a.b.c"]}, Credential("token", "a.b.c")),
        ({"subprotocols": ["bearer.a.b.c"]}, Credential("token", "a.b.c")),
        ({"ticket": ["t1"]}, Credential("ticket", "t1")),
        ({"token": ["a.b.c"]}, Credential("token", "a.b.c")),
        ({"token": ["a"], "subprotocols": ["wsserver.v1", "bearer"]}, Credential("token", "a")),
    ],
)
def test_found(given: dict[str, Any], expected: Credential) -> None:
    assert extract(**given) == expected


@pytest.mark.parametrize("given", [{}, {"subprotocols": ["wsserver.v1"]}, {"subprotocols": [""]}])
def test_missing(given: dict[str, Any]) -> None:
    with pytest.raises(TokenMissing):
        extract(**given)


ONE = {
    "authorization": "Bearer t", "subprotocols": "bearer.t", "ticket": "t", "token": "t"
}  # fmt: skip
PAIRS = [(a, b) for a in ONE for b in ONE if a < b]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_two_places_even_with_the_same_token(first: str, second: str) -> None:
    with pytest.raises(AuthAmbiguous):
        extract(**{first: [ONE[first]], second: [ONE[second]]})


@pytest.mark.parametrize("place", ONE)
def test_twice_in_one_place(place: str) -> None:
    with pytest.raises(AuthAmbiguous):
        extract(**{place: [ONE[place], ONE[place]]})


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_empty_counts_as_given(first: str, second: str) -> None:
    empty = {"authorization": "", "subprotocols": "bearer.", "ticket": "", "token": ""}
    with pytest.raises(AuthAmbiguous):
        extract(**{first: [empty[first]], second: [ONE[second]]})


def test_two_bearer_subprotocols_in_one_header() -> None:
    with pytest.raises(AuthAmbiguous):
        extract(subprotocols=["bearer.a, wsserver.v1, bearer.b"])


@pytest.mark.parametrize(
    "given",
    [
        *(
            {"authorization": [value]}
            for value in (
                "", " ", "Bearer", "Bearer ", "a.b.c", "Basic dTpw", "Bearer a b", "Bearer a,b",
                "Bearer a, Bearer b", "Bearer\ta", "Bearer é", "Bearer a\n", "Bearer\u00a0a",
                "Bearera",
            )
        ),
        {"subprotocols": ["wsserver.v1", "bearer."]},
        {"ticket": [""]},
        {"token": [""]},
    ],
)  # fmt: skip
def test_malformed_or_empty(given: dict[str, Any]) -> None:
    with pytest.raises(TokenInvalid):
        extract(**given)


def test_query_token_switched_off() -> None:
    with pytest.raises(TokenMissing):
        extract(False, token=["t"])
    found = extract(False, token=["t"], authorization=["Bearer a"])
    assert found == Credential("token", "a")
    assert extract(False, ticket=["t"]).kind == "ticket"


def test_repr_hides_the_value() -> None:
    assert "canary" not in repr(extract(authorization=["Bearer canary"]))


def test_error_does_not_quote_the_header() -> None:
    with pytest.raises(TokenInvalid) as caught:
        extract(authorization=["canary"])
    assert "canary" not in str(caught.value)
