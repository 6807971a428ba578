"""Verification keys: which ones are accepted, and their algorithms."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from tests.support.tokens import SECRET, Signer, pem_of
from wsserver.errors import TokenInvalid
from wsserver.identity.keys import FAMILIES, FileKeys, SecretKeys
from wsserver.identity.tokens import algorithms_for


def test_secret_of_32_bytes_serves_hmac_alone() -> None:
    keys = SecretKeys(SECRET.encode())
    assert keys.algorithms == {"HS256", "HS384", "HS512"}
    assert keys.own_algorithm == "HS256"


@pytest.mark.parametrize("length", [0, 1, 31])
def test_short_secret(length: int) -> None:
    with pytest.raises(ValueError, match="at least 32"):
        SecretKeys(b"x" * length)


def test_a_public_key_is_not_accepted_as_a_secret(signer: Signer) -> None:
    with pytest.raises(ValueError, match="public key"):
        SecretKeys(signer.pem("RS256"))
    with pytest.raises(ValueError, match="JWK"):
        SecretKeys(b'{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}')


@pytest.mark.parametrize(
    ("algorithm", "serves"),
    [
        ("RS256", {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        ("ES256", {"ES256"}),
        ("ES384", {"ES384"}),
        ("ES512", {"ES512"}),
        ("EdDSA", {"EdDSA"}),
    ],
)
def test_public_key_file(signer: Signer, algorithm: str, serves: set[str]) -> None:
    keys = FileKeys(signer.pem(algorithm))
    assert keys.algorithms == serves
    assert keys.own_algorithm == algorithm


def test_ed448(signer: Signer) -> None:
    assert FileKeys(pem_of(signer.ed448)).own_algorithm == "EdDSA"


def test_unfit_key_files(signer: Signer) -> None:
    private = signer.rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    unfit = {
        "private key": private,
        "PEM": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "2048": pem_of(rsa.generate_private_key(public_exponent=65537, key_size=1024)),
        "secp256k1": pem_of(ec.generate_private_key(ec.SECP256K1())),
        "cannot verify": pem_of(x25519.X25519PrivateKey.generate()),
    }
    for reason, pem in unfit.items():
        with pytest.raises(ValueError, match=reason):
            FileKeys(pem)
    for garbage in (b"", b"secret", b"\xff\x00", SECRET.encode()):
        with pytest.raises(ValueError, match="PEM"):
            FileKeys(garbage)


def test_repr_hides_the_secret() -> None:
    keys = SecretKeys(SECRET.encode())
    assert SECRET not in repr(vars(keys))


def test_default_algorithm_is_the_keys_own(signer: Signer) -> None:
    assert algorithms_for(SecretKeys(SECRET.encode()), []) == frozenset({"HS256"})
    assert algorithms_for(FileKeys(signer.pem("RS256")), []) == frozenset({"RS256"})
    assert algorithms_for(FileKeys(signer.pem("ES384")), []) == frozenset({"ES384"})


@pytest.mark.parametrize(
    "configured",
    [["none"], ["hs256"], [""], ["HS256", "none"], ["RS256"], ["HS256", "RS256"], ["ES256K"]],
)
def test_unfit_algorithms_for_a_secret(configured: list[str]) -> None:
    with pytest.raises(ValueError, match=r"unknown|family|fit"):
        algorithms_for(SecretKeys(SECRET.encode()), configured)


def test_unfit_algorithms_for_a_public_key(signer: Signer) -> None:
    keys = FileKeys(signer.pem("RS256"))
    assert algorithms_for(keys, ["RS256", "RS512"]) == frozenset({"RS256", "RS512"})
    assert algorithms_for(keys, ["PS256"]) == frozenset({"PS256"})
    for configured in (["HS256"], ["ES256"], ["RS256", "PS256"]):
        with pytest.raises(ValueError, match=r"family|fit"):
            algorithms_for(keys, configured)


def test_every_fault_is_named() -> None:
    with pytest.raises(ValueError, match="none") as caught:
        algorithms_for(SecretKeys(SECRET.encode()), ["none", "RS256", "HS256"])
    for part in ("'none'", "family", "RS256 does not fit"):
        assert part in str(caught.value)


@pytest.mark.gen_test
async def test_one_key_refuses_other_families() -> None:
    keys = SecretKeys(SECRET.encode())
    assert (await keys.find("any-kid", "HS512")).algorithms == keys.algorithms
    for algorithm in FAMILIES.keys() - keys.algorithms:
        with pytest.raises(TokenInvalid):
            await keys.find(None, algorithm)
