"""JWKS keys, from a real HTTP server: rotation, outage, limits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import jwt
import msgspec
import pytest
from tornado.httpclient import AsyncHTTPClient

from tests.support.jwks_server import JwksServer
from tests.support.tokens import Signer
from wsserver.errors import KeysUnavailable, TokenInvalid
from wsserver.identity.claims import Claims
from wsserver.identity.jwks import JwksKeys, parse_jwks
from wsserver.identity.tokens import TokenVerifier

if TYPE_CHECKING:
    from tests.support.fake_clock import FakeClock

GOOD = {"sub": "u1", "exp": 2_000_000_000}


async def fetch(url: str) -> bytes:
    return (await AsyncHTTPClient().fetch(url)).body


@asynccontextmanager
async def published(clock: FakeClock, **more: Any) -> AsyncIterator[tuple[JwksServer, JwksKeys]]:
    publisher = JwksServer()
    publisher.start()
    keys = JwksKeys(publisher.url("/keys"), fetch, clock, **more)
    try:
        yield publisher, keys
    finally:
        publisher.gate.set()
        await keys.close()
        await publisher.stop()


async def refuse(checker: TokenVerifier, token: str) -> None:
    with pytest.raises(TokenInvalid):
        await checker.verify(token)


@pytest.mark.gen_test
async def test_fetched_when_first_needed_then_cached(clock: FakeClock, signer: Signer) -> None:
    async with published(clock) as (publisher, keys):
        publisher.publish(signer.jwk("RS256", "r"), signer.jwk("ES256", "e"))
        checker = TokenVerifier(keys, [], clock)
        assert publisher.fetched == 0
        for algorithm, kid in (("RS256", "r"), ("ES256", "e"), ("RS256", "r")):
            assert (await checker.verify(signer.sign(GOOD, algorithm, kid=kid))).sub == "u1"
        await refuse(checker, signer.sign(GOOD, "RS512", kid="r"))  # not the key's own
        assert publisher.fetched == 1


@pytest.mark.gen_test
async def test_configured_algorithm(clock: FakeClock, signer: Signer) -> None:
    async with published(clock) as (publisher, keys):
        publisher.publish(signer.jwk("RS256", "r"), signer.jwk("ES256", "e"))
        checker = TokenVerifier(keys, ["PS256"], clock)
        await checker.verify(signer.sign(GOOD, "PS256", kid="r"))
        await refuse(checker, signer.sign(GOOD, "RS256", kid="r"))
        await refuse(checker, signer.sign(GOOD, "ES256", kid="e"))
        with pytest.raises(ValueError, match="fit"):
            TokenVerifier(keys, ["HS256"], clock)


@pytest.mark.gen_test
async def test_public_key_as_hmac_secret_causes_no_fetch(clock: FakeClock, signer: Signer) -> None:
    async with published(clock) as (publisher, keys):
        publisher.publish(signer.jwk("RS256", "r"))
        checker = TokenVerifier(keys, [], clock)
        await checker.verify(signer.sign(GOOD, "RS256", kid="r"))
        clock.advance(60)
        token = signer.sign(GOOD, "HS256", key=signer.pem("RS256"), kid="unknown")
        await refuse(checker, token)
        assert publisher.fetched == 1


@pytest.mark.gen_test
async def test_without_kid_only_the_one_that_fits(clock: FakeClock, signer: Signer) -> None:
    async with published(clock) as (publisher, keys):
        publisher.publish(signer.jwk("RS256", "r"), signer.jwk("ES256", None))
        checker = TokenVerifier(keys, [], clock)
        await checker.verify(signer.sign(GOOD, "RS256"))
        await checker.verify(signer.sign(GOOD, "ES256"))
        publisher.publish(signer.jwk("RS256", "r"), signer.jwk("RS256", "r2"))
        clock.advance(301)
        await refuse(checker, signer.sign({**GOOD, "jti": "j"}, "RS256"))


@pytest.mark.gen_test
async def test_rotation(clock: FakeClock, signer: Signer) -> None:
    async with published(clock) as (publisher, keys):
        publisher.publish(signer.jwk("RS256", "old"))
        checker = TokenVerifier(keys, [], clock)
        old = signer.sign(GOOD, "RS256", kid="old")
        await checker.verify(old)
        publisher.publish(signer.jwk("RS256", "old"), signer.jwk("ES256", "new"))
        claims = await checker.verify(signer.sign(GOOD, "ES256", kid="new"))  # fetched at once
        assert claims.sub == "u1"
        assert publisher.fetched == 2
        assert checker.verify_now(old) is not None  # still published: still cached
        publisher.publish(signer.jwk("ES256", "new"))
        clock.advance(299)
        assert checker.verify_now(old) is not None
        clock.advance(1)
        assert checker.verify_now(old) is None  # the keys are due
        await refuse(checker, old)
        assert checker.verify_now(old) is None
        await checker.verify(signer.sign(GOOD, "ES256", kid="new"))


@pytest.mark.gen_test
async def test_same_kid_with_another_key(clock: FakeClock, signer: Signer) -> None:
    async with published(clock) as (publisher, keys):
        publisher.publish(signer.jwk("ES256", "k"))
        checker = TokenVerifier(keys, [], clock)
        token = signer.sign(GOOD, "ES256", kid="k")
        await checker.verify(token)
        publisher.publish(signer.jwk("EdDSA", "k"))
        clock.advance(300)
        await refuse(checker, token)
        await checker.verify(signer.sign(GOOD, "EdDSA", kid="k"))


@pytest.mark.gen_test
async def test_unknown_kids_fetch_once_in_30_s(clock: FakeClock, signer: Signer) -> None:
    async with published(clock) as (publisher, keys):
        publisher.publish(signer.jwk("ES256", "k"))
        checker = TokenVerifier(keys, [], clock)
        await checker.verify(signer.sign(GOOD, "ES256", kid="k"))
        assert publisher.fetched == 1
        for number in range(20):
            await refuse(checker, signer.sign(GOOD, "ES256", kid=f"made-up-{number}"))
        assert publisher.fetched == 2
        clock.advance(29.9)
        await refuse(checker, signer.sign(GOOD, "ES256", kid="made-up"))
        assert publisher.fetched == 2
        clock.advance(0.1)
        await refuse(checker, signer.sign(GOOD, "ES256", kid="made-up"))
        assert publisher.fetched == 3


@pytest.mark.gen_test
async def test_all_who_wait_share_one_fetch(clock: FakeClock, signer: Signer) -> None:
    async with published(clock) as (publisher, keys):
        publisher.publish(signer.jwk("ES256", "k"))
        publisher.gate.clear()
        checker = TokenVerifier(keys, [], clock)
        tokens = [signer.sign({**GOOD, "sub": f"u{i}"}, "ES256", kid="k") for i in range(9)]
        waiting = [asyncio.create_task(checker.verify(token)) for token in [*tokens, tokens[0]]]
        await publisher.arrived.wait()
        waiting[3].cancel()  # one who gives up does not end it for the others
        publisher.gate.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(results.pop(3), asyncio.CancelledError)
        claims = [result for result in results if isinstance(result, Claims)]
        assert [each.sub for each in claims] == [f"u{i}" for i in (0, 1, 2, 4, 5, 6, 7, 8, 0)]
        assert results[0] is results[-1]
        assert publisher.fetched == 1


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "breakage",
    [
        lambda publisher: publisher.answer_with(500),
        lambda publisher: publisher.answer_with(200, b"<html>"),
        lambda publisher: publisher.publish(),
    ],
    ids=["status 500", "not JSON", "empty"],
)
async def test_old_keys_outlive_an_outage(
    clock: FakeClock,
    signer: Signer,
    breakage: Callable[[JwksServer], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with published(clock) as (publisher, keys):
        publisher.publish(signer.jwk("ES256", "k"))
        checker = TokenVerifier(keys, [], clock)
        token = signer.sign(GOOD, "ES256", kid="k")
        await checker.verify(token)
        breakage(publisher)
        clock.advance(300)
        with caplog.at_level(logging.WARNING, "wsserver"):
            await checker.verify(token)
        assert "could not fetch the JWKS" in caplog.text
        assert "Traceback" not in caplog.text
        assert publisher.fetched == 2
        await checker.verify(signer.sign({**GOOD, "sub": "u2"}, "ES256", kid="k"))
        assert publisher.fetched == 2
        # The next try is made behind the caller's back.
        publisher.gate.clear()
        publisher.arrived.clear()
        clock.advance(30)
        assert (await checker.verify(token)).sub == "u1"
        await publisher.arrived.wait()
        assert publisher.fetched == 3
        publisher.publish(signer.jwk("EdDSA", "k2"))
        publisher.gate.set()
        await checker.verify(signer.sign(GOOD, "EdDSA", kid="k2"))
        assert publisher.fetched == 3
        await refuse(checker, token)


@pytest.mark.gen_test
async def test_no_keys_yet_is_not_the_clients_fault(clock: FakeClock, signer: Signer) -> None:
    async with published(clock) as (publisher, keys):
        publisher.answer_with(503)
        checker = TokenVerifier(keys, [], clock)
        token = signer.sign(GOOD, "ES256", kid="k")
        for _ in range(3):
            with pytest.raises(KeysUnavailable):
                await checker.verify(token)
        assert publisher.fetched == 1
        await refuse(checker, "not.a.token")
        publisher.publish(signer.jwk("ES256", "k"))
        clock.advance(2)
        await checker.verify(token)


@pytest.mark.gen_test
async def test_hanging_publisher_is_given_up(clock: FakeClock, signer: Signer) -> None:
    async with published(clock, fetch_timeout_s=0.05) as (publisher, keys):
        publisher.gate.clear()
        with pytest.raises(KeysUnavailable):
            await TokenVerifier(keys, [], clock).verify(signer.sign(GOOD, "ES256", kid="k"))


@pytest.mark.gen_test
async def test_close_ends_a_fetch_under_way(clock: FakeClock) -> None:
    async with published(clock) as (publisher, keys):
        publisher.gate.clear()
        waiting = asyncio.create_task(keys.refresh())
        await publisher.arrived.wait()
        await keys.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting


@pytest.mark.parametrize(
    ("algorithm", "members", "serves"),
    [
        ("RS256", {}, {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        ("RS256", {"alg": "PS512"}, {"PS512"}),
        ("ES384", {"use": "sig", "key_ops": ["verify"]}, {"ES384"}),
        ("EdDSA", {"key_ops": ["sign", "verify"], "x5c": ["?"]}, {"EdDSA"}),
    ],
)
def test_usable_key(
    signer: Signer, algorithm: str, members: dict[str, Any], serves: set[str]
) -> None:
    document = msgspec.json.encode({"keys": [signer.jwk(algorithm, "k", **members)]})
    (key,) = parse_jwks(document).values()
    assert (key.kid, set(key.algorithms)) == ("k", serves)
    assert key.own_algorithm in serves


UNUSABLE: list[dict[str, Any]] = [
    {"use": "enc"}, {"use": 1}, {"use": None}, {"key_ops": ["encrypt"]}, {"key_ops": []},
    {"key_ops": "verify"}, {"key_ops": None}, {"kid": 1}, {"kid": ["k"]}, {"kty": "oct"},
    {"kty": "RSA"}, {"kty": "XXX"}, {"kty": None}, {"kty": ["EC"]}, {"alg": "HS256"},
    {"alg": "RS256"}, {"alg": "none"}, {"alg": None}, {"alg": []}, {"alg": "ES384"},
    {"crv": "secp256k1"},
    {"crv": "P-384"}, {"crv": None}, {"x": ""}, {"x": None}, {"x": 1}, {"x": "é"}, {"x": "!!!"},
    {"x": "AAAA"}, {"y": "A" * 43},
]  # fmt: skip


@pytest.mark.parametrize("members", UNUSABLE, ids=repr)
def test_unusable_key_is_left_out(signer: Signer, members: dict[str, Any]) -> None:
    odd = {**signer.jwk("ES256", "odd"), **members}
    good = signer.jwk("EdDSA", "good")
    found = parse_jwks(msgspec.json.encode({"keys": [odd, good]}))
    assert [key.kid for key in found.values()] == ["good"]
    with pytest.raises(ValueError, match="no key"):
        parse_jwks(msgspec.json.encode({"keys": [odd]}))


def test_symmetric_and_short_keys_are_left_out(signer: Signer) -> None:
    odd: list[Any] = [
        {"kty": "oct", "k": "A" * 64, "kid": "k", "alg": "HS256"},
        {"kty": "RSA", "n": "A" * 43, "e": "AQAB", "kid": "k"},
        {"kty": "RSA", "n": "_" * 171, "e": "AQAB", "kid": "k"},
        {"kty": "RSA", "n": "", "e": "", "kid": "k"},
        {"kty": "OKP", "crv": "X25519", "x": "A" * 43, "kid": "k"},
        None, 1, "k", [], {},
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no key"):
        parse_jwks(msgspec.json.encode({"keys": odd}))


def test_private_members_are_ignored(signer: Signer) -> None:
    private = jwt.get_algorithm_by_name("RS256").to_jwk(signer.rsa, as_dict=True)
    private.pop("key_ops")
    (key,) = parse_jwks(msgspec.json.encode({"keys": [{**private, "kid": "k"}]})).values()
    assert not hasattr(key.material, "private_numbers")


@pytest.mark.parametrize(
    "document",
    [
        b"", b"{", b"null", b"[]", b"1", b"{}", b'{"keys": null}', b'{"keys": {}}', b'{"keys": []}',
        b'{"keys": "RSA"}', b"\xff", b"[" * 100_000, b" " * ((1 << 20) + 1), b'{"keys":[1e400]}',
    ],
)  # fmt: skip
def test_malformed_document(document: bytes) -> None:
    with pytest.raises(ValueError, match="document"):
        parse_jwks(document)
