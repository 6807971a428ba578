"""Token verification: valid ones of every family, and malformed ones."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tornado.ioloop import IOLoop

from tests.support.tokens import SECRET, Signer
from wsserver.clock import Clock
from wsserver.errors import TokenExpired, TokenInvalid, TokenRevoked
from wsserver.identity.claims import Claims
from wsserver.identity.keys import FAMILIES, FileKeys, SecretKeys
from wsserver.identity.revocations import Revocations
from wsserver.identity.tokens import LONGEST_TOKEN, TokenVerifier, sign_hmac

if TYPE_CHECKING:
    from tests.support.fake_clock import FakeClock

LATER = 2_000_000_000
GOOD = {"sub": "u1", "exp": LATER}


def verifier(clock: Clock, *algorithms: str, **more: Any) -> TokenVerifier:
    return TokenVerifier(SecretKeys(SECRET.encode()), algorithms, clock, **more)


def verify(checker: TokenVerifier, token: str) -> Claims:
    """Run ``verify`` to its end; with a key at hand it never waits for anything."""
    running = checker.verify(token)
    try:
        running.send(None)
    except StopIteration as stop:
        claims: Claims = stop.value
        return claims
    raise AssertionError("verify waited")


def refuse(checker: TokenVerifier, token: str) -> None:
    """It is refused, and the refusal quotes nothing of it."""
    with pytest.raises(TokenInvalid) as caught:
        verify(checker, token)
    for part in token.split("."):
        assert len(part) < 8 or part not in str(caught.value)


@pytest.mark.parametrize("algorithm", FAMILIES)
def test_every_algorithm(clock: FakeClock, signer: Signer, algorithm: str) -> None:
    is_secret = algorithm.startswith("HS")
    keys = SecretKeys(SECRET.encode()) if is_secret else FileKeys(signer.pem(algorithm))
    checker = TokenVerifier(keys, [algorithm], clock)
    token = signer.sign(GOOD, algorithm)
    assert verify(checker, token).sub == "u1"
    head, body, signature = token.split(".")
    first = "A" if signature[0] != "A" else "B"
    refuse(checker, f"{head}.{body}.{first}{signature[1:]}")
    # Any other algorithm, of the same family too, even signed with the right key.
    for other in FAMILIES.keys() - {algorithm}:
        refuse(checker, signer.sign(GOOD, other))


def test_own_algorithm_without_configuration(clock: FakeClock, signer: Signer) -> None:
    checker = TokenVerifier(FileKeys(signer.pem("RS256")), [], clock)
    assert verify(checker, signer.sign(GOOD, "RS256")).sub == "u1"
    refuse(checker, signer.sign(GOOD, "RS512"))
    refuse(checker, signer.sign(GOOD, "PS256"))
    refuse(verifier(clock), signer.sign(GOOD, "HS512"))


def test_several_of_one_family(clock: FakeClock, signer: Signer) -> None:
    checker = verifier(clock, "HS256", "HS512")
    for algorithm in ("HS256", "HS512"):
        assert verify(checker, signer.sign(GOOD, algorithm)).sub == "u1"
    refuse(checker, signer.sign(GOOD, "HS384"))


def test_alg_none(clock: FakeClock, signer: Signer) -> None:
    encode = jwt.utils.base64url_encode
    for name in ("none", "None", "NONE", ""):
        head = encode(json.dumps({"alg": name, "typ": "JWT"}).encode()).decode()
        body = encode(json.dumps(GOOD).encode()).decode()
        good_signature = signer.sign(GOOD).rsplit(".", 1)[1]
        for signature in ("", "AAAA", good_signature):
            refuse(verifier(clock), f"{head}.{body}.{signature}")
        refuse(verifier(clock), f"{head}.{body}")


def test_public_key_used_as_hmac_secret(clock: FakeClock, signer: Signer) -> None:
    pem = signer.pem("RS256")
    for key in (pem, pem.strip(), pem.replace(b"\n", b"\r\n")):
        token = signer.sign(GOOD, "HS256", key=key)
        for algorithms in ([], ["RS256"]):
            refuse(TokenVerifier(FileKeys(pem), algorithms, clock), token)


@pytest.mark.parametrize(
    "headers",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": None},
        {"crit": ["b64"], "b64": True},
        {"b64": False},
        {"kid": 1},
        {"kid": None},
        {"kid": ["a"]},
        {"kid": {}},
        {"alg": None},
        {"alg": 1},
        {"alg": ["HS256"]},
        {"alg": {"HS256": 1}},
        {"alg": "hs256"},
        {"alg": "HS256 "},
    ],
)
def test_odd_headers(clock: FakeClock, signer: Signer, headers: dict[str, Any]) -> None:
    header = json.dumps({"alg": "HS256", **headers}).encode()
    body = json.dumps(GOOD).encode()
    refuse(verifier(clock), signer.sign_raw(header, body, "HS256", SECRET.encode()))


@pytest.mark.parametrize(
    "kid", ["", "../../etc/passwd", "' OR 1=1", "http://evil.example/k", "x" * 5000, "\x00", "张"]
)
def test_kid_reaches_nothing_but_the_key_held(clock: FakeClock, signer: Signer, kid: str) -> None:
    more: dict[str, Any] = {
        "jku": "http://evil.example/",
        "x5u": "file:///etc/passwd",
        "jwk": {"kty": "oct"},
    }
    assert verify(verifier(clock), signer.sign(GOOD, kid=kid, **more)).sub == "u1"
    refuse(verifier(clock), signer.sign(GOOD, key=b"y" * 32, kid=kid, **more))


@pytest.mark.parametrize(
    "header",
    [b"", b"{", b"[]", b"null", b'"HS256"', b"\xff", b"[" * 10_000, b'{"alg":' * 1000, b"{}"],
)
def test_a_header_that_is_not_an_object(clock: FakeClock, signer: Signer, header: bytes) -> None:
    token = signer.sign_raw(header, json.dumps(GOOD).encode(), "HS256", SECRET.encode())
    refuse(verifier(clock), token)


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff", b"{}", b"[" * 10_000, b'{"a":' * 2000,
        b'{"sub":"u1","exp":NaN}', b'{"sub":"u1","exp":Infinity}', b'{"sub":"u1","exp":1e400}',
        b'{"sub":"u1","exp":1' + b"0" * 400 + b"}", b'{"sub":"u1","exp":' + b"9" * 5000 + b"}",
        b'{"sub":"u1","exp":"99999999999"}', b'{"sub":"u1","exp":true}', b'{"sub":"u1"}',
        b'{"sub":"","exp":2000000000}', b'{"sub":1,"exp":2000000000}', b'{"exp":2000000000}',
        b'{"sub":"u1","exp":2000000000,"iss":["me"]}', b'{"sub":"u1","exp":2000000000,"aud":[1]}',
        b'{"sub":"u1","exp":2000000000,"role":"ADMIN"}',
        b'{"sub":"u1","exp":2000000000,"role":["admin"]}',
        b'{"sub":"u1","exp":2000000000,"role":"admin "}',
        b'{"sub":"u1","exp":2000000000,"username":"\\ud800"}',
        b'{"sub":"u1","exp":2000000000,"username":"\\udc00\\ud800x"}',
        b'\xef\xbb\xbf{"sub":"u1","exp":2000000000}',
        '{"sub":"u1","exp":2000000000}'.encode("utf-16"),
    ],
)  # fmt: skip
def test_odd_payloads(clock: FakeClock, signer: Signer, payload: bytes) -> None:
    refuse(verifier(clock), signer.sign(payload))


def test_of_duplicate_keys_the_last_counts(clock: FakeClock, signer: Signer) -> None:
    payload = b'{"sub":"u1","sub":"u2","exp":2000000000}'
    assert verify(verifier(clock), signer.sign(payload)).sub == "u2"
    header = b'{"alg":"none","alg":"HS256"}'
    token = signer.sign_raw(header, json.dumps(GOOD).encode(), "HS256", SECRET.encode())
    assert verify(verifier(clock), token).sub == "u1"
    header = b'{"alg":"HS256","alg":"none"}'
    token = signer.sign_raw(header, payload, "HS256", SECRET.encode())
    refuse(verifier(clock), token)


def test_spelling(clock: FakeClock, signer: Signer) -> None:
    token = signer.sign(GOOD)
    head, body, signature = token.split(".")
    last = signature[-1]
    sibling = chr(ord(last) + 1)  # differs only in bits that base64 leaves over
    for odd in (
        "", ".", "..", "...", "a.b.c", "abc", f"{token}=", f"{head}=.{body}.{signature}",
        f"{head}.{body}=.{signature}", f"{token}.", f".{token}", f"{token}.x", f" {token}",
        f"{token}\n", f"{token}\x00", f"{head}.{body}", f"{head}.{body}.", f"{head}..{signature}",
        f"{head}.{body}.{signature[:-1]}", f"{head}.{body}.{signature}A", token.replace(".", ".."),
        f"{head}.{body}.{signature[:-1]}{sibling}", f"{head}.{body}.{signature[:-1]}+",
        f"{head}.{body}.{signature[:-1]}é", "\ud800", "é.é.é", "a" * 5, "a.a.a",
        "a" * (LONGEST_TOKEN + 1), token + "A" * LONGEST_TOKEN,
    ):  # fmt: skip
        refuse(verifier(clock), odd)


def test_length_limit(clock: FakeClock, signer: Signer) -> None:
    def of_size(size: int) -> str:
        return signer.sign({**GOOD, "username": "x" * size})

    fits = of_size(12_000)
    assert len(fits) <= LONGEST_TOKEN
    assert verify(verifier(clock), fits).sub == "u1"
    refuse(verifier(clock), of_size(13_000))


def test_time(clock: FakeClock, signer: Signer) -> None:
    now = clock.wall()
    checker = verifier(clock)
    assert verify(checker, signer.sign({"sub": "u1", "exp": now + 0.5})).exp == now + 0.5
    for exp in (0, now - 1, now):
        with pytest.raises(TokenExpired):
            verify(checker, signer.sign({"sub": "u1", "exp": exp}))
    refuse(checker, signer.sign({**GOOD, "nbf": now + 1}))
    verify(checker, signer.sign({**GOOD, "nbf": now}))
    verify(checker, signer.sign({**GOOD, "iat": now + 9999}))


def test_leeway(clock: FakeClock, signer: Signer) -> None:
    now = clock.wall()
    checker = verifier(clock, leeway_s=10)
    verify(checker, signer.sign({"sub": "u1", "exp": now - 9, "nbf": now + 9}))
    with pytest.raises(TokenExpired):
        verify(checker, signer.sign({"sub": "u1", "exp": now - 10}))
    refuse(checker, signer.sign({**GOOD, "nbf": now + 11}))


def test_the_user_id_may_be_in_another_claim(clock: FakeClock, signer: Signer) -> None:
    checker = verifier(clock, user_claim="email")
    named = {**GOOD, "sub": "auth0|1", "email": "ann+chat@example.com"}
    assert verify(checker, signer.sign(named)).sub == "ann+chat@example.com"
    verify(checker, signer.sign({**named, "sub": 7}))  # it is not looked at
    for wrong in ({"email": "张三"}, {"email": 7}, {"email": "a b"}):
        refuse(checker, signer.sign({**named, **wrong}))
    with pytest.raises(TokenInvalid, match='claim "email" is missing'):
        verify(checker, signer.sign(GOOD))


def test_issuer_and_audience(clock: FakeClock, signer: Signer) -> None:
    checker = verifier(clock, issuer="me", audience="chat")
    verify(checker, signer.sign({**GOOD, "iss": "me", "aud": "chat"}))
    verify(checker, signer.sign({**GOOD, "iss": "me", "aud": ["x", "chat"]}))
    for parties in (
        {}, {"iss": "me"}, {"aud": "chat"}, {"iss": "you", "aud": "chat"},
        {"iss": "", "aud": "chat"},
        {"iss": "me", "aud": []}, {"iss": "me", "aud": "chat2"}, {"iss": "me", "aud": ["cha", "t"]},
        {"iss": ["me"], "aud": "chat"}, {"iss": "me", "aud": {"chat": 1}},
    ):  # fmt: skip
        refuse(checker, signer.sign({**GOOD, **parties}))
    verify(verifier(clock), signer.sign({**GOOD, "iss": "anyone", "aud": "anything"}))


def test_cache_shares_claims_and_still_looks_at_the_clock(clock: FakeClock, signer: Signer) -> None:
    checker = verifier(clock)
    token = signer.sign({"sub": "u1", "exp": clock.wall() + 10, "nbf": clock.wall()})
    claims = checker.verify_now(token)
    assert claims is not None
    assert verify(checker, token) is claims
    assert checker.verify_now(token) is claims
    clock.advance(-1)
    refuse(checker, token)
    clock.advance(11)
    for ask in (checker.verify_now, lambda token: verify(checker, token)):
        with pytest.raises(TokenExpired):
            ask(token)


def test_cache_still_looks_at_revocations(clock: FakeClock, signer: Signer) -> None:
    revocations = Revocations(clock)
    checker = verifier(clock, revocations=revocations)
    one = signer.sign({**GOOD, "jti": "j1", "iat": clock.wall() + 5})
    old = signer.sign({**GOOD, "iat": clock.wall() - 5})
    for token in (one, old):
        verify(checker, token)
    revocations.revoke_user("u1")
    assert checker.verify_now(one) is not None
    for ask in (checker.verify_now, lambda token: verify(checker, token)):
        with pytest.raises(TokenRevoked):
            ask(old)
    revocations.revoke_jti("j1")
    with pytest.raises(TokenRevoked):
        checker.verify_now(one)
    with pytest.raises(TokenRevoked):
        verify(verifier(clock, revocations=revocations), one)


def test_cache_is_bounded_and_forgets_the_least_used(clock: FakeClock, signer: Signer) -> None:
    checker = verifier(clock, cache_size=2)
    first, second, third = (signer.sign({**GOOD, "sub": f"u{i}"}) for i in range(3))
    kept, dropped = verify(checker, first), verify(checker, second)
    checker.verify_now(first)
    latest = verify(checker, third)
    assert checker.verify_now(first) is kept
    assert checker.verify_now(third) is latest
    assert checker.verify_now(second) is not dropped


def test_refused_tokens_are_not_cached(clock: FakeClock, signer: Signer) -> None:
    checker = verifier(clock)
    token = signer.sign(GOOD, key=b"y" * 32)
    for _ in range(2):
        refuse(checker, token)
        with pytest.raises(TokenInvalid):
            checker.verify_now(token)


def test_sign_hmac(clock: FakeClock) -> None:
    token = sign_hmac(SECRET.encode(), {**GOOD, "username": "张三"})
    assert verify(verifier(clock), token).username == "张三"
    head, body, signature = token.split(".")
    expected = hmac.new(SECRET.encode(), f"{head}.{body}".encode(), hashlib.sha256).digest()
    assert jwt.utils.base64url_decode(signature) == expected
    with pytest.raises(ValueError, match="at least 32"):
        sign_hmac(b"short", GOOD)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
CLAIM_NAMES = st.sampled_from(
    ["sub", "exp", "role", "username", "organization_id", "sessions", "permissions", "jti", "iat",
     "nbf", "iss", "aud"]
)  # fmt: skip


def outcome(token: str) -> Claims | None:
    checker = TokenVerifier(SecretKeys(SECRET.encode()), [], Clock(), issuer=None, leeway_s=1)
    try:
        claims = verify(checker, token)
    except (TokenInvalid, TokenExpired):
        return None
    assert verify(checker, token) is claims
    return claims


@settings(max_examples=150, deadline=None)
@given(JSON | st.dictionaries(CLAIM_NAMES, JSON))
def test_any_json_signed_correctly(payload: Any) -> None:
    body = json.dumps(payload).encode()
    outcome(Signer.sign_raw(b'{"alg":"HS256"}', body, "HS256", SECRET.encode()))


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(CLAIM_NAMES, JSON, max_size=2))
def test_good_claims_with_some_spoilt(spoilt: dict[str, Any]) -> None:
    body = json.dumps({"sub": "u1", "exp": 99_999_999_999, **spoilt}).encode()
    claims = outcome(Signer.sign_raw(b'{"alg":"HS256"}', body, "HS256", SECRET.encode()))
    if claims is not None:
        assert claims.role in ("user", "manager", "admin", "service")


@settings(max_examples=150, deadline=None)
@given(JSON)
def test_any_json_as_header(header: Any) -> None:
    body = json.dumps(GOOD).encode()
    text = json.dumps(header).encode()
    outcome(Signer.sign_raw(text, body, "HS256", SECRET.encode()))


@settings(max_examples=200, deadline=None)
@given(st.text() | st.from_regex(r"[A-Za-z0-9_=-]*\.[A-Za-z0-9_=-]*\.[A-Za-z0-9_=-]*"))
def test_any_text_as_token(token: str) -> None:
    assert outcome(token) is None


def test_verify_can_be_awaited(clock: FakeClock, signer: Signer, io_loop: IOLoop) -> None:
    checker = verifier(clock)
    assert io_loop.run_sync(lambda: checker.verify(signer.sign(GOOD))).sub == "u1"
