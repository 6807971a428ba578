"""JWKS keys (RFC 7517): fetched from a URL, cached, rotated by ``kid``."""

from __future__ import annotations

import asyncio
import codecs
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from wsserver.clock import Clock
from wsserver.errors import KeysUnavailable, TokenInvalid
from wsserver.identity.keys import PUBLIC_KEY_ALGORITHMS, VerifyKey, public_key
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

_LARGEST_BYTES = 1 << 20
_RETRY_WITHOUT_KEYS_S = 2.0  # no token can be verified: retry sooner than with old keys

# The public members of each key type; others, above all private exponents, are left out.
# Symmetric keys ("oct") are missing on purpose: what a URL publishes is not a secret.
_PUBLIC_MEMBERS = {
    "RSA": ("kty", "n", "e"),
    "EC": ("kty", "crv", "x", "y"),
    "OKP": ("kty", "crv", "x"),
}
_READERS = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}


@dataclass(eq=False, repr=False)
class JwksKeys:
    """The keys that ``url`` publishes.

    ``fetch`` gets the URL and returns the document's bytes; any exception counts as an outage. The
    keys are fetched when first needed and again after ``ttl_s``. An unknown ``kid`` fetches them
    immediately, but at most once in ``unknown_kid_s``, so that made-up ones cause no load. All
    callers share one fetch. After a failure the old keys stay in use, the next fetch is after
    ``retry_s``, and until one succeeds no token that the old keys verify waits for it.
    """

    url: str
    fetch: Callable[[str], Awaitable[bytes]]
    clock: Clock
    ttl_s: float = 300
    unknown_kid_s: float = 30
    retry_s: float = 30
    fetch_timeout_s: float = 5

    def __post_init__(self) -> None:
        self._keys: dict[bytes, VerifyKey] = {}
        self._due = self.clock.monotonic()
        self._unknown_kid_due = self.clock.monotonic()
        self._failing = False
        self._tasks = Tasks()
        self._flight: asyncio.Task[None] | None = None

    @property
    def algorithms(self) -> frozenset[str]:
        """All public-key algorithms; each key serves those that fit it."""
        return PUBLIC_KEY_ALGORITHMS

    @property
    def own_algorithm(self) -> None:
        """None: each key has its own."""

    def is_fresh(self) -> bool:
        """Whether no fetch is due: the last one was within ``ttl_s``, or has just failed."""
        return self.clock.monotonic() < self._due

    async def refresh(self) -> None:
        """Fetch the keys if they are due; never raises.

        Returns without waiting when there are old keys and the last fetch failed, so that an
        outage delays requests only once.
        """
        if self.is_fresh():
            return
        flight = self._start()
        if not (self._failing and self._keys):
            await asyncio.shield(flight)  # cancelling one caller must not cancel it for the others

    async def find(self, kid: str | None, algorithm: str) -> VerifyKey:
        """The key named ``kid`` for this algorithm; without ``kid``, the only one that fits.

        Raises ``TokenInvalid`` if there is none, also after fetching again, and
        ``KeysUnavailable`` if no keys were ever fetched.
        """
        await self.refresh()
        key = self.known(kid, algorithm)
        if key is None and self._keys and self.clock.monotonic() >= self._unknown_kid_due:
            self._unknown_kid_due = self.clock.monotonic() + self.unknown_kid_s
            self._start()
        if key is None and self._flight is not None:
            await asyncio.shield(self._flight)
            key = self.known(kid, algorithm)
        if not self._keys:
            raise KeysUnavailable
        if key is None:
            raise TokenInvalid("no key fits the token")
        return key

    def known(self, kid: str | None, algorithm: str) -> VerifyKey | None:
        """The key that ``find`` returns, if it has been fetched."""
        fitting = [key for key in self._keys.values() if algorithm in key.algorithms]
        if kid is None:
            return fitting[0] if len(fitting) == 1 else None
        return next((key for key in fitting if key.kid == kid), None)

    async def close(self) -> None:
        """Cancel a pending fetch."""
        await self._tasks.cancel()

    def _start(self) -> asyncio.Task[None]:
        if self._flight is None:
            self._flight = self._tasks.spawn(self._load(), name="jwks")
        return self._flight

    async def _load(self) -> None:
        try:
            async with asyncio.timeout(self.fetch_timeout_s):
                document = await self.fetch(self.url)
            fetched = parse_jwks(document)
        except TimeoutError:
            self._failed(TimeoutError(f"no answer within {self.fetch_timeout_s:g} s"))
        except Exception as error:  # noqa: BLE001 - an injected fetch; old keys outlive any failure
            self._failed(error)
        else:
            self._replace(fetched)
        finally:
            self._flight = None

    def _failed(self, error: Exception) -> None:
        self._failing = True
        wait_s = self.retry_s if self._keys else _RETRY_WITHOUT_KEYS_S
        self._due = self.clock.monotonic() + wait_s
        log.warning(
            "could not fetch the JWKS keys=%d retry_in_s=%g error=%s detail=%.200r",
            len(self._keys), wait_s, type(error).__name__, str(error),
        )  # fmt: skip

    def _replace(self, fetched: dict[bytes, VerifyKey]) -> None:
        self._failing = False
        self._due = self.clock.monotonic() + self.ttl_s
        for identity, key in self._keys.items():
            if identity not in fetched:
                key.is_retired = True
        # A key that is still there stays the same object, and tokens it verified stay cached.
        self._keys = {identity: self._keys.get(identity, key) for identity, key in fetched.items()}


def parse_jwks(document: bytes) -> dict[bytes, VerifyKey]:
    """The usable signing keys of a JWK Set (RFC 7517 §5), each under bytes that identify it.

    Keys of other types, for other uses and malformed ones are left out, as §5 asks. Raises
    ``ValueError`` if it is not a JWK Set or has no usable key: an empty set is taken for a mistake
    of the publisher, not as an order to refuse all tokens.
    """
    if len(document) > _LARGEST_BYTES:
        raise ValueError("the document is larger than 1 MiB")
    try:
        decoded = msgspec.json.decode(document.removeprefix(codecs.BOM_UTF8))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ValueError("the document is not JSON") from None
    members = decoded.get("keys") if isinstance(decoded, dict) else None
    if not isinstance(members, list):
        raise ValueError('the document has no list "keys"')
    keys: dict[bytes, VerifyKey] = {}
    for jwk in members:
        try:
            key = _parse_jwk(jwk)
        except (ValueError, jwt.PyJWTError):
            continue
        keys[_identity(key)] = key
    if not keys:
        raise ValueError("the document has no key that can verify tokens")
    return keys


def _parse_jwk(jwk: Any) -> VerifyKey:
    if not isinstance(jwk, dict):
        raise ValueError("a key must be an object")
    if jwk.get("use", "sig") != "sig":
        raise ValueError("the key is for another use")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("the key is for other operations")
    kid = jwk.get("kid")
    if not (kid is None or isinstance(kid, str)):
        raise ValueError("kid must be a string")
    kty = jwk.get("kty")
    if not isinstance(kty, str) or kty not in _PUBLIC_MEMBERS:
        raise ValueError("the type of key is not supported")
    public = {name: jwk.get(name) for name in _PUBLIC_MEMBERS[kty]}
    if not all(isinstance(value, str) and value.isascii() for value in public.values()):
        raise ValueError("the key lacks a member")
    key = public_key(kid, jwt.get_algorithm_by_name(_READERS[kty]).from_jwk(public))
    if "alg" in jwk:
        if not isinstance(jwk["alg"], str) or jwk["alg"] not in key.algorithms:
            raise ValueError("the key's alg does not fit its type")
        key.own_algorithm = jwk["alg"]
        key.algorithms = frozenset({jwk["alg"]})
    return key


def _identity(key: VerifyKey) -> bytes:
    """Same ``kid``, same material, same algorithms: the same key."""
    der: bytes = key.material.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return msgspec.json.encode([key.kid, sorted(key.algorithms)]) + der
