"""Settings of the keys that tokens are verified with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.support.loaded_settings import SECRET
from wsserver.config import (
    ConfigFaults,
    load_settings,
    secret_bytes,
)


def key_faults(environ: Mapping[str, str]) -> list[str]:
    with pytest.raises(ConfigFaults) as caught:
        load_settings(None, environ, {}, False)
    return [f"{fault.key}: {fault.message}" for fault in caught.value.faults]


def public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def test_a_source_of_keys_is_required() -> None:
    (fault,) = key_faults({})
    assert fault.startswith("jwt_secret: is missing")


def test_two_sources_of_keys_are_one_too_many() -> None:
    Path("secret").write_text(SECRET)
    environ = {"WSSERVER_JWT_SECRET": SECRET, "WSSERVER_JWT_SECRET_FILE": "secret"}
    assert key_faults(environ) == [
        "jwt_secret_file: is a second source of keys: jwt_secret is set too"
    ]


def test_a_secret_file_s_line_break_is_not_the_secret_s() -> None:
    Path("secret").write_text(SECRET + "\r\n")
    settings = load_settings(None, {"WSSERVER_JWT_SECRET_FILE": "secret"}, {}, False)
    assert secret_bytes(settings) == SECRET.encode()
    Path("secret").write_text("s" * 31 + "\n")
    assert key_faults({"WSSERVER_JWT_SECRET_FILE": "secret"}) == [
        "jwt_secret_file: cannot be used: the secret has 31 bytes, at least 32 are needed"
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [("none", "is a file that does not exist"), (".", "is not a regular file")],
)
@pytest.mark.parametrize("key", ["jwt_secret_file", "jwt_public_key_file"])
def test_key_files_must_be_files(key: str, value: str, message: str) -> None:
    assert key_faults({f"WSSERVER_{key.upper()}": value}) == [f"{key}: {message}"]


@pytest.mark.parametrize(
    ("key", "default", "wrong"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "ES256", "ES384"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384", "ES256"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA", "RS256"),
        (rsa.generate_private_key(65537, 2048), "RS256", "HS256"),
    ],
    ids=["p256", "p384", "ed25519", "rsa"],
)
def test_a_public_key_decides_the_algorithm(key: Any, default: str, wrong: str) -> None:
    Path("key.pem").write_bytes(public_pem(key))
    environ = {"WSSERVER_JWT_PUBLIC_KEY_FILE": "key.pem"}
    assert load_settings(None, environ, {}, False).jwt_algorithm == (default,)
    (fault,) = key_faults(environ | {"WSSERVER_JWT_ALGORITHM": wrong})
    assert fault.startswith(f"jwt_algorithm: {wrong} cannot be used with jwt_public_key_file")


def test_an_rsa_key_may_be_used_with_ps_but_not_with_both() -> None:
    Path("key.pem").write_bytes(public_pem(rsa.generate_private_key(65537, 2048)))
    environ = {"WSSERVER_JWT_PUBLIC_KEY_FILE": "key.pem"}
    ps = load_settings(None, environ | {"WSSERVER_JWT_ALGORITHM": "PS256,PS512"}, {}, False)
    assert ps.jwt_algorithm == ("PS256", "PS512")
    (fault,) = key_faults(environ | {"WSSERVER_JWT_ALGORITHM": "RS256,PS256"})
    assert fault == "jwt_algorithm: mixes families (RSA, RSA-PSS); only one is allowed"


def test_keys_that_are_of_the_wrong_kind() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    cases = {
        pem: "this is a private key; only the public key is needed",
        b"nothing": "not a public key in PEM format",
        public_pem(ec.generate_private_key(ec.SECP256K1())): (
            "the curve secp256k1 is not supported"
        ),
        public_pem(rsa.generate_private_key(65537, 1024)): (
            "the RSA key has 1024 bits, at least 2048 are needed"
        ),
    }
    for content, message in cases.items():
        Path("key.pem").write_bytes(content)
        assert key_faults({"WSSERVER_JWT_PUBLIC_KEY_FILE": "key.pem"}) == [
            f"jwt_public_key_file: cannot be used: {message}"
        ]
    Path("key.pem").write_bytes(public_pem(private))
    (fault,) = key_faults({"WSSERVER_JWT_SECRET_FILE": "key.pem"})
    assert "the secret is a public key" in fault


@pytest.mark.parametrize(
    "url",
    [
        "http://login.example.com/jwks",
        "ftp://login.example.com/jwks",
        "file:///etc/passwd",
        "https://",
        "login.example.com",
        "https://login.example.com:99999/",
        "https://[::1/",
        "https://login.example.com/a b",
    ],
)
def test_bad_jwks_urls(url: str) -> None:
    (fault,) = key_faults({"WSSERVER_JWKS_URL": url})
    assert fault.startswith("jwks_url: must be")
    assert "login" not in fault or "login.example.com/jwks.json" in fault


@pytest.mark.parametrize(
    "url", ["https://login.example.com/jwks", "http://127.0.0.1:80/", "http://[::1]/"]
)
def test_good_jwks_urls(url: str) -> None:
    settings = load_settings(None, {"WSSERVER_JWKS_URL": url}, {}, False)
    assert (settings.jwks_url, settings.jwt_algorithm) == (url, ())
    (fault,) = key_faults({"WSSERVER_JWKS_URL": url, "WSSERVER_JWT_ALGORITHM": "HS256"})
    assert fault.startswith("jwt_algorithm: HS256 cannot be used with jwks_url")
