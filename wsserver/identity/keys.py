"""Keys that verify tokens, and the algorithms that each may be used for.

The algorithms belong to the key, and a token's header has to agree with them, so that a public key
is never used as an HMAC secret (RFC 8725 §3.1).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from msgspec import Struct

from wsserver.errors import TokenInvalid
from wsserver.identity.claims import Claims

FAMILIES: Final = {
    "HS256": "HMAC", "HS384": "HMAC", "HS512": "HMAC",
    "RS256": "RSA", "RS384": "RSA", "RS512": "RSA",
    "PS256": "RSA-PSS", "PS384": "RSA-PSS", "PS512": "RSA-PSS",
    "ES256": "ECDSA", "ES384": "ECDSA", "ES512": "ECDSA",
    "EdDSA": "EdDSA",
}  # fmt: skip
"""Every algorithm that can be configured, with its family (RFC 7518 §3.1, RFC 8037 §3.1)."""

_HASHES: Final = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
HMAC_ALGORITHMS: Final = frozenset(_HASHES)
PUBLIC_KEY_ALGORITHMS: Final = frozenset(FAMILIES) - HMAC_ALGORITHMS

SHORTEST_SECRET_BYTES: Final = 32
SHORTEST_RSA_BITS: Final = 2048  # RFC 7518 §3.3

_RSA_ALGORITHMS = frozenset(name for name in FAMILIES if name[:2] in ("RS", "PS"))
# RFC 7518 §3.4 ties each algorithm to one curve.
_CURVES: dict[type, str] = {SECP256R1: "ES256", SECP384R1: "ES384", SECP521R1: "ES512"}


@dataclass(slots=True, eq=False)
class VerifyKey:
    """A verification key with its algorithms, and whether it is still trusted."""

    kid: str | None
    own_algorithm: str
    """The algorithm accepted where none is configured."""
    algorithms: frozenset[str]
    """All algorithms that fit the key."""
    material: Any = field(repr=False)
    """Secret bytes, or a public key of ``cryptography``."""
    is_retired: bool = False
    """Set when its source dropped it: tokens that it verified have to be verified again."""
    _keyed: dict[str, hmac.HMAC] = field(default_factory=dict, init=False, repr=False)
    """Of a secret: what has taken it in, by algorithm, to be copied for each signature."""

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether this is the key's signature of these bytes, by one of its ``algorithms``.

        Signatures of public keys are verified by PyJWT and cryptography.
        """
        if algorithm in _HASHES:
            keyed = self._keyed.get(algorithm)
            if keyed is None:
                keyed = hmac.new(self.material, digestmod=_HASHES[algorithm])
                self._keyed[algorithm] = keyed
            expected = keyed.copy()
            expected.update(signed)
            return hmac.compare_digest(signature, expected.digest())
        try:
            return jwt.get_algorithm_by_name(algorithm).verify(signed, self.material, signature)
        except (ValueError, UnsupportedAlgorithm):  # a signature of impossible shape
            return False


class VerifiedToken(Struct, gc=False):
    """What is remembered of a token that was verified; here, as compiled structs lose options."""

    claims: Claims
    key: VerifyKey


class KeySource(Protocol):
    """A source of verification keys, found by ``kid``."""

    @property
    def algorithms(self) -> frozenset[str]:
        """All algorithms that keys of this source may have."""

    @property
    def own_algorithm(self) -> str | None:
        """The default algorithm, or None where each key has its own."""

    def is_fresh(self) -> bool:
        """Whether the keys can be used without a fetch."""

    async def refresh(self) -> None:
        """Bring the keys up to date if they are not; never raises."""

    async def find(self, kid: str | None, algorithm: str) -> VerifyKey:
        """The key for a token with this header.

        Raises ``TokenInvalid`` if there is none, ``KeysUnavailable`` if none could be fetched yet.
        """

    def known(self, kid: str | None, algorithm: str) -> VerifyKey | None:
        """``find`` without a fetch; None: there is no such key now."""

    async def close(self) -> None:
        """Cancel pending fetches."""


class _OneKey:
    """A source with one key, for tokens with any ``kid``."""

    def __init__(self, key: VerifyKey) -> None:
        self._key = key

    @property
    def algorithms(self) -> frozenset[str]:
        """All algorithms of the key."""
        return self._key.algorithms

    @property
    def own_algorithm(self) -> str:
        """The key's default algorithm."""
        return self._key.own_algorithm

    def is_fresh(self) -> bool:
        """Always true: the key never changes."""
        return True

    async def refresh(self) -> None:
        """Do nothing: the key never changes."""

    async def close(self) -> None:
        """Do nothing: there are no fetches."""

    async def find(self, kid: str | None, algorithm: str) -> VerifyKey:
        """The one key; ``TokenInvalid`` for an algorithm that is not the key's."""
        key = self.known(kid, algorithm)
        if key is None:
            raise TokenInvalid("the token's algorithm is not allowed")
        return key

    def known(self, kid: str | None, algorithm: str) -> VerifyKey | None:
        """The one key, if it is for this algorithm."""
        return self._key if algorithm in self._key.algorithms else None


class SecretKeys(_OneKey):
    """A shared secret of at least 32 bytes, for HS256, HS384 and HS512.

    Raises ``ValueError`` (never quoting the secret) if it is shorter, or is a key file's content.
    """

    def __init__(self, secret: bytes) -> None:
        super().__init__(VerifyKey(None, "HS256", HMAC_ALGORITHMS, checked_secret(secret)))


class FileKeys(_OneKey):
    """A public key in PEM: RSA of at least 2048 bits, P-256, P-384, P-521, Ed25519 or Ed448.

    Raises ``ValueError`` for anything else, also for a private key.
    """

    def __init__(self, pem: bytes) -> None:
        if b"PRIVATE KEY" in pem:
            raise ValueError("this is a private key; only the public key is needed")
        try:
            key = load_pem_public_key(pem)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError("not a public key in PEM format") from None
        super().__init__(public_key(None, key))


def checked_secret(secret: bytes) -> bytes:
    """The secret, if it is fit for HMAC; otherwise ``ValueError``."""
    if len(secret) < SHORTEST_SECRET_BYTES:
        raise ValueError(f"the secret has {len(secret)} bytes, at least 32 are needed")
    try:
        jwt.get_algorithm_by_name("HS256").prepare_key(secret)
    except jwt.InvalidKeyError:
        raise ValueError("the secret is a public key, certificate or JWK") from None
    return secret


def public_key(kid: str | None, key: object) -> VerifyKey:
    """A public key of ``cryptography`` with the algorithms that fit its type.

    Raises ``ValueError`` for other types, other curves and short RSA keys.
    """
    if isinstance(key, RSAPublicKey):
        if key.key_size < SHORTEST_RSA_BITS:
            raise ValueError(f"the RSA key has {key.key_size} bits, at least 2048 are needed")
        return VerifyKey(kid, "RS256", _RSA_ALGORITHMS, key)
    if isinstance(key, EllipticCurvePublicKey):
        algorithm = _CURVES.get(type(key.curve))
        if algorithm is None:
            raise ValueError(f"the curve {key.curve.name} is not supported")
        return VerifyKey(kid, algorithm, frozenset({algorithm}), key)
    if isinstance(key, Ed25519PublicKey | Ed448PublicKey):
        return VerifyKey(kid, "EdDSA", frozenset({"EdDSA"}), key)
    raise ValueError("this type of key cannot verify tokens")
