"""Tokens of the client: signed as the server takes them, and renewed in time."""

from __future__ import annotations

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from wsserver.sdk import TokenSigner
from wsserver.sdk.tokens import TokenCache, expiry_of

SECRET = "0123456789abcdef0123456789abcdef"


def test_claims() -> None:
    signer = TokenSigner(SECRET, issuer="shop", audience="chat", key_id="k1")
    token = signer.sign(
        "ann", username="Ann", organization_id="o1", sessions=("s1",), ttl_s=60, jti="j"
    )
    claims = jwt.decode(token, SECRET, ["HS256"], audience="chat", issuer="shop")
    assert claims["exp"] - claims["iat"] == 60
    del claims["exp"], claims["iat"]
    assert claims == {
        "sub": "ann",
        "role": "user",
        "username": "Ann",
        "organization_id": "o1",
        "sessions": ["s1"],
        "iss": "shop",
        "aud": "chat",
        "jti": "j",
    }
    assert jwt.get_unverified_header(token)["kid"] == "k1"
    assert (
        jwt.decode(TokenSigner(SECRET).sign("a", sessions="*"), SECRET, ["HS256"])["sessions"]
        == "*"
    )


def test_a_private_key() -> None:
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    token = TokenSigner(pem, algorithm="EdDSA").sign("ann")
    assert jwt.decode(token, key.public_key(), ["EdDSA"])["sub"] == "ann"


def test_a_service_has_its_role_and_a_short_life() -> None:
    provide = TokenSigner(SECRET).service("shop", organization_id="o1")
    claims = jwt.decode(str(provide()), SECRET, ["HS256"])
    assert (claims["role"], claims["organization_id"]) == ("service", "o1")
    assert claims["exp"] - claims["iat"] == 600


def test_renewed_in_time() -> None:
    token = jwt.encode({"exp": 1000}, SECRET)
    cache = TokenCache(lambda: token)
    assert cache.current(0) is None
    cache.keep(token, 0)
    assert cache.current(969) == token
    assert cache.current(970) is None  # 30 s before its end
    short = jwt.encode({"exp": 1000}, SECRET)
    cache.keep(short, 990)
    assert cache.current(997) == short
    assert cache.current(998) is None  # a fifth of its time before
    cache.keep(token, 0)
    cache.forget()
    assert cache.current(0) is None


def test_a_fixed_token_is_used_for_ever() -> None:
    cache = TokenCache("opaque")
    cache.forget()
    assert cache.current(1e12) == "opaque"
    assert cache.provider is None


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "a.e30.c", "a.bnVsbA.c"])
def test_what_cannot_be_read_does_not_expire(token: str) -> None:
    assert expiry_of(token) == float("inf")
