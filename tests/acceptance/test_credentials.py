"""§2: credentials: keys of every kind, tokens in every place, tickets."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.acceptance.conftest import Connect
from tests.support.jwks_server import JwksServer
from tests.support.provider_thread import ProviderThread
from tests.support.running_server import API, RunningServer, Start
from tests.support.tokens import SECRET, token
from tests.support.waiting import poll
from tests.support.websocket_clients import V1, open_client

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
RSA_LATER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


@pytest.mark.parametrize(
    ("key", "configured", "good", "bad"),
    [
        (RSA, None, ["RS256"], ["PS256", "RS512", "HS256", "none"]),
        (RSA, ["RS256", "RS512"], ["RS256", "RS512"], ["RS384", "PS256", "HS256"]),
        (RSA, ["PS256"], ["PS256"], ["RS256", "PS384", "HS256"]),
        (EC, None, ["ES256"], ["HS256", "none"]),
        (ED, None, ["EdDSA"], ["HS256", "none"]),
    ],
    ids=["RS256", "RS256,RS512", "PS256", "ES256", "EdDSA"],
)
def test_public_key_files(
    start: Start,
    connect: Connect,
    tmp_path: Path,
    key: Any,
    configured: list[str] | None,
    good: list[str],
    bad: list[str],
) -> None:
    (tmp_path / "key.pem").write_bytes(public_pem(key))
    server = start(
        jwt_secret=None, jwt_public_key_file=tmp_path / "key.pem", jwt_algorithm=configured
    )
    for algorithm in good:
        client = connect(to=server, bearer=token("u1", key=key, algorithm=algorithm))
        assert client.established["user_id"] == "u1"
    for algorithm in bad:
        signed_with: Any = key
        if algorithm == "none":
            signed_with = None
        elif algorithm == "HS256":  # the public key taken for a secret
            forged = forge_hs256({"sub": "u1", "exp": 2**32}, public_pem(key))
            assert open_client(server, bearer=forged).closed()[0] == 4500
            continue
        attempt = token("u1", key=signed_with, algorithm=algorithm)
        assert open_client(server, bearer=attempt).closed()[0] == 4500
    server.stop()


def forge_hs256(payload: dict[str, Any], secret: bytes) -> str:
    """PyJWT refuses to sign with a public key; an attacker does not."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "HS256", "typ": "JWT"}, payload)
    ]
    signed = b".".join(parts)
    signature = base64.urlsafe_b64encode(hmac.digest(secret, signed, hashlib.sha256))
    return (signed + b"." + signature.rstrip(b"=")).decode()


def jwk(key: Any, kid: str) -> dict[str, Any]:
    members: dict[str, Any] = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**members, "kid": kid, "use": "sig"}


@pytest.fixture
def providers() -> Iterator[ProviderThread[JwksServer]]:
    with closing(ProviderThread(JwksServer)) as providers:
        yield providers


@pytest.fixture
def key_server(providers: ProviderThread[JwksServer]) -> JwksServer:
    return providers.provider


def test_jwks_are_fetched_cached_and_followed_when_they_rotate(
    start: Start, connect: Connect, key_server: JwksServer
) -> None:
    key_server.publish(jwk(RSA, "one"))
    server = start(jwt_secret=None, jwks_url=key_server.url("/jwks.json"))
    first = token("u1", key=RSA, algorithm="RS256", kid="one")
    for _ in range(3):
        connect(to=server, bearer=first)
    assert key_server.fetched <= 2  # at the start perhaps, and for the first token
    fetched = key_server.fetched
    connect("u2", to=server, bearer=token("u2", key=RSA, algorithm="RS256", kid="one"))
    assert key_server.fetched == fetched

    key_server.publish(jwk(RSA, "one"), jwk(RSA_LATER, "two"))
    connect("u1", to=server, bearer=token("u1", key=RSA_LATER, algorithm="RS256", kid="two"))
    assert key_server.fetched == fetched + 1

    for number in range(3):  # unknown ones cost no request each
        unknown = token("u1", key=RSA, algorithm="RS256", kid=f"unknown{number}")
        assert open_client(server, bearer=unknown).closed()[0] == 4500
    assert key_server.fetched <= fetched + 2
    wrong_key = token("u1", key=RSA, algorithm="RS256", kid="two")
    assert open_client(server, bearer=wrong_key).closed()[0] == 4500
    forged = token("u1", key=SECRET, algorithm="HS256", kid="one")
    assert open_client(server, bearer=forged).closed()[0] == 4500


def test_without_keys_no_token_can_be_verified_and_that_is_temporary(
    start: Start, providers: ProviderThread[JwksServer], key_server: JwksServer
) -> None:
    server = start(jwt_secret=None, jwks_url=key_server.url("/%6awks.json"))
    providers.run(key_server.stop())
    good = token("u1", key=RSA, algorithm="RS256", kid="one")
    answer = server.get("/stats", good)
    assert answer.problem == (503, "keys_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert open_client(server, bearer=good).closed()[0] == 1013
    assert server.request("GET", f"{API}/health").status == 200


# The four doors


@pytest.mark.parametrize("v1", [True, False], ids=["v1", "plain"])
def test_a_token_comes_in_through_four_doors(server: RunningServer, v1: bool) -> None:
    good = token("u1")
    offers = (V1,) if v1 else ()
    ticket = server.post("/tickets", bearer=good).ok["ticket"]
    for client in (
        open_client(server, bearer=good, offers=offers),
        open_client(server, offers=(*offers, f"bearer.{good}"))
        if v1
        else open_client(server, bearer=good),
        open_client(server, offers=(f"bearer.{good}", V1)),
        open_client(server, f"/ws/chat?ticket={ticket}", offers=offers),
        open_client(server, f"/ws/chat?token={good}", offers=offers),
    ):
        assert client.push("connection_established")["user_id"] == "u1"
        assert client.socket.subprotocol in (V1, None)  # the token is never echoed
        client.close()


def test_two_tokens_are_one_too_many(server: RunningServer) -> None:
    good = token("u1")
    ticket = server.post("/tickets", bearer=good).ok["ticket"]
    for path, bearer, offers in (
        (f"/ws/chat?token={good}", good, (V1,)),
        (f"/ws/chat?ticket={ticket}", good, (V1,)),
        (f"/ws/chat?ticket={ticket}&token={good}", None, (V1,)),
        (f"/ws/chat?token={good}&token={good}", None, (V1,)),
        ("/ws/chat", good, (V1, f"bearer.{good}")),
        (f"/ws/chat?token={good}", None, (V1, f"bearer.{good}")),
    ):
        assert open_client(server, path, bearer=bearer, offers=offers).closed()[0] == 4501
    # None of them used the ticket up.
    client = open_client(server, f"/ws/chat?ticket={ticket}")
    client.push("connection_established")
    client.close()
    both = {"Authorization": f"Bearer {good}"}
    answer = server.request("GET", f"/ws/chat?token={good}", headers=both)
    assert answer.problem == (400, "auth_ambiguous")


def test_a_ticket_is_good_once(server: RunningServer) -> None:
    answer = server.post("/tickets", bearer=token("u7", sessions=["s7"])).ok
    assert answer["expires_at"].endswith("Z")
    path = f"/ws/chat/session/s7?ticket={answer['ticket']}"
    probe = server.request("GET", path)
    assert probe.problem == (426, "upgrade_required")  # and leaves it unused
    client = open_client(server, path)
    assert client.push("connection_established")["user_id"] == "u7"
    client.close()
    code, reason = open_client(server, path).closed()
    assert code == 4500
    assert "ticket" in reason
    assert server.request("GET", path).problem == (401, "token_invalid")


def test_a_ticket_does_not_outlive_its_token(start: Start) -> None:
    server = start(jwt_leeway_s=0)
    ticket = server.post("/tickets", bearer=token("u1", exp_in=1)).ok["ticket"]
    path = f"/ws/chat?ticket={ticket}"
    status = poll(lambda: server.request("GET", path).status, lambda is_: is_ != 426)
    assert status == 401
    assert open_client(server, path).closed()[0] == 4500


def test_query_tokens_can_be_switched_off(start: Start, connect: Connect) -> None:
    server = start(allow_query_token=False)
    good = token("u1")
    code, _ = open_client(server, f"/ws/chat?token={good}").closed()
    assert code == 4500
    assert server.request("GET", f"/ws/chat?token={good}").problem == (401, "token_missing")
    connect(to=server)  # the other doors stay open
    ticket = server.post("/tickets", bearer=good).ok["ticket"]
    client = open_client(server, f"/ws/chat?ticket={ticket}")
    client.push("connection_established")
    client.close()


# What a token may not say


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": None},
        {"exp": "99999999999"},
        {"exp": True},
        {"exp": 10**400},
        {"sub": ""},
        {"sub": 1},
        {"sub": None},
        {"sub": "a b"},
        {"role": "ADMIN"},
        {"role": ["admin"]},
        {"role": "admin "},
        {"sessions": "s1"},
        {"sessions": [1]},
        {"permissions": "monitor"},
        {"iss": ["x"]},
        {"aud": 5},
        {"jti": 7},
        {"nbf": "soon"},
        {"nbf": 2**33},
        {"iat": "now"},
        {"username": 5},
        {"organization_id": ["o"]},
    ],
    ids=str,
)
def test_odd_claims_are_no_token(server: RunningServer, claims: dict[str, Any]) -> None:
    options: dict[str, Any] = {"sub": "u1", **claims}
    if options.get("exp", 0) is None:
        options = {"sub": "u1", "exp_in": None}
    odd = token(**options)
    assert server.post("/tickets", bearer=odd).problem == (401, "token_invalid")
    assert open_client(server, bearer=odd).closed()[0] == 4500


@pytest.mark.parametrize("algorithm", ["none", "HS384", "HS512"])
def test_only_the_configured_algorithm(server: RunningServer, algorithm: str) -> None:
    key = None if algorithm == "none" else SECRET * 3
    attempt = token("u1", key=key, algorithm=algorithm)
    assert server.post("/tickets", bearer=attempt).problem == (401, "token_invalid")


def test_issuer_and_audience_where_configured(start: Start, connect: Connect) -> None:
    server = start(jwt_issuer="https://id.example", jwt_audience="chat")
    connect(to=server, iss="https://id.example", aud=["other", "chat"])
    wrong: list[dict[str, Any]] = [
        {},
        {"iss": "https://id.example"},
        {"iss": "https://evil", "aud": "chat"},
    ]
    for claims in wrong:
        assert open_client(server, bearer=token("u1", **claims)).closed()[0] == 4500
