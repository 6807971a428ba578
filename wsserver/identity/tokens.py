"""JWT verification: signature, time and claims, with a cache of verified tokens.

Tokens are parsed here, not by PyJWT, which tolerates trailing ``=`` and wrong types; the signatures
themselves are checked by the keys (``keys``).
"""

from __future__ import annotations

import binascii
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jwt
import msgspec
from jwt.utils import base64url_encode

from wsserver.clock import Clock
from wsserver.errors import TokenExpired, TokenInvalid
from wsserver.identity.claim_parser import audiences, parse_claims
from wsserver.identity.claims import Claims, as_signed
from wsserver.identity.keys import (
    FAMILIES,
    KeySource,
    VerifiedToken,
    VerifyKey,
    checked_secret,
)
from wsserver.identity.revocations import Revocations

LONGEST_TOKEN = 16 * 1024
"""Characters; longer tokens are refused unread."""

_TO_BASE64 = bytes.maketrans(b"-_+/=", b"+/!!!")
"""From base64url without padding; what only base64 has becomes what neither of them has."""
_LAST = {2: frozenset(b"AQgw"), 3: frozenset(b"AEIMQUYcgkosw048")}
"""By the characters in the last group: those that may end it, as their unused bits are zero."""
_UNSUPPORTED_HEADERS = ("crit", "b64")  # RFC 7515 §4.1.11: what isn't understood must be refused


class _Token(msgspec.Struct):
    algorithm: str
    kid: str | None
    payload: bytes
    signed: bytes
    signature: bytes


@dataclass(eq=False, repr=False)
class TokenVerifier:
    """Verifies tokens and returns their claims.

    Only the configured ``algorithms`` are accepted, or with none configured the key's own; the
    token's header never chooses. ``issuer`` and ``audience``, where given, must be in the token.
    ``leeway_s`` tolerates clocks that differ: it is added to ``exp`` and subtracted from ``nbf``; a
    later ``iat`` is accepted. ``user_claim`` names the claim with the user id. Up to
    ``cache_size`` verified tokens are remembered by their hash, so that the connections of one
    token share one ``Claims`` object; time, revocation and the key's retirement are checked each
    time. ``resolve`` puts the user's organization as it is now into the claims.

    Raises ``ValueError`` as ``algorithms_for`` does.
    """

    keys: KeySource
    algorithms: Sequence[str]
    clock: Clock
    issuer: str | None = None
    audience: str | None = None
    revocations: Revocations | None = None
    resolve: Callable[[Claims], Claims] = as_signed
    leeway_s: float = 0
    cache_size: int = 1_000
    user_claim: str = "sub"

    def __post_init__(self) -> None:
        self._algorithms = algorithms_for(self.keys, self.algorithms)
        self._cache: OrderedDict[bytes, VerifiedToken] = OrderedDict()

    async def verify(self, token: str) -> Claims:
        """The claims of a valid token.

        Raises ``TokenInvalid``, ``TokenExpired`` or ``TokenRevoked``, none of which quotes it, and
        ``KeysUnavailable`` while the keys could not be fetched yet.
        """
        if not self.keys.is_fresh():
            await self.keys.refresh()
        digest = _digest(token)
        claims = self._recall(digest)
        if claims is None:
            parsed = self._parse_allowed(token)
            key = await self.keys.find(parsed.kid, parsed.algorithm)
            claims = self._verify_anew(parsed, key, digest)
        return self.resolve(claims)

    def verify_now(self, token: str) -> Claims | None:
        """``verify`` without waiting; None if keys have to be fetched: it has to be awaited."""
        if not self.keys.is_fresh():
            return None
        digest = _digest(token)
        claims = self._recall(digest)
        if claims is None:
            parsed = self._parse_allowed(token)
            key = self.keys.known(parsed.kid, parsed.algorithm)
            if key is None:
                return None
            claims = self._verify_anew(parsed, key, digest)
        return self.resolve(claims)

    def _recall(self, digest: bytes) -> Claims | None:
        verified = self._cache.get(digest)
        if verified is None:
            return None
        if verified.key.is_retired:
            del self._cache[digest]
            return None
        self._cache.move_to_end(digest)
        self._check_moment(verified.claims)
        return verified.claims

    def _parse_allowed(self, token: str) -> _Token:
        parsed = _parse(token)
        allowed = self._algorithms or self.keys.algorithms
        if parsed.algorithm not in allowed:  # before a made-up one can cause a fetch
            raise TokenInvalid("the token's algorithm is not allowed")
        return parsed

    def _verify_anew(self, parsed: _Token, key: VerifyKey, digest: bytes) -> Claims:
        if self._algorithms is None and parsed.algorithm != key.own_algorithm:
            raise TokenInvalid("the token's algorithm is not allowed")
        if not key.verifies(parsed.algorithm, parsed.signed, parsed.signature):
            raise TokenInvalid("the token's signature is wrong")
        payload = _json_object(parsed.payload, "payload")
        claims = parse_claims(payload, self.user_claim)
        self._check_parties(payload)
        self._check_moment(claims)
        return self._remember(digest, claims, key)

    def _check_parties(self, payload: Mapping[str, Any]) -> None:
        if self.issuer is not None and payload.get("iss") != self.issuer:
            raise TokenInvalid("the token is from another issuer")
        if self.audience is not None and self.audience not in audiences(payload):
            raise TokenInvalid("the token is for another audience")

    def _check_moment(self, claims: Claims) -> None:
        now = self.clock.wall()
        if now >= claims.exp + self.leeway_s:
            raise TokenExpired
        if claims.nbf is not None and now < claims.nbf - self.leeway_s:
            raise TokenInvalid("the token is not valid yet")
        if self.revocations is not None:
            self.revocations.check(claims)

    def _remember(self, digest: bytes, claims: Claims, key: VerifyKey) -> Claims:
        known = self._cache.get(digest)
        if known is not None and known.key is key:  # verified by another task meanwhile: share
            return known.claims
        self._cache[digest] = VerifiedToken(claims, key)
        if len(self._cache) > self.cache_size:
            self._cache.popitem(last=False)
        return claims


def algorithms_for(keys: KeySource, configured: Sequence[str]) -> frozenset[str] | None:
    """The algorithms to accept: those configured, else the source's own, None for each key's own.

    Raises ``ValueError`` naming every fault: unknown algorithms (``none`` is one), several
    families, one that the keys cannot serve.
    """
    if not configured:
        return None if keys.own_algorithm is None else frozenset({keys.own_algorithm})
    faults = [f"unknown algorithm {name!r}" for name in configured if name not in FAMILIES]
    known = [name for name in configured if name in FAMILIES]
    if len({FAMILIES[name] for name in known}) > 1:
        faults.append(f"algorithms of more than one family: {', '.join(known)}")
    faults += [f"{name} does not fit the key" for name in known if name not in keys.algorithms]
    if faults:
        raise ValueError("; ".join(faults))
    return frozenset(known)


def sign_hmac(secret: bytes, payload: Mapping[str, Any], algorithm: str = "HS256") -> str:
    """Sign a token with HS256, HS384 or HS512, for development and tests.

    Raises ``ValueError`` for a secret of less than 32 bytes.
    """
    # By hand, as above: PyJWT's own encoder warns of secrets that the contract accepts for HS512.
    header = {"alg": algorithm, "typ": "JWT"}
    parts = [base64url_encode(msgspec.json.encode(part)) for part in (header, payload)]
    key = checked_secret(secret)
    signature = jwt.get_algorithm_by_name(algorithm).sign(b".".join(parts), key)
    return b".".join((*parts, base64url_encode(signature))).decode()


def _parse(token: str) -> _Token:
    """Parse a token. ``jku``, ``x5u`` and ``jwk`` in its header are ignored."""
    signed, _, signature = token.encode().rpartition(b".")
    header, _, payload = signed.partition(b".")
    if not (header and payload and signature):
        raise TokenInvalid("the token is malformed")
    algorithm, kid = _parse_header(header)
    return _Token(algorithm, kid, _decode(payload), signed, _decode(signature))


@lru_cache(maxsize=100)
def _parse_header(part: bytes) -> tuple[str, str | None]:
    """The algorithm and the ``kid``; cached, as the tokens of an issuer have one header."""
    header = _json_object(_decode(part), "header")
    for name in _UNSUPPORTED_HEADERS:
        if name in header:
            raise TokenInvalid(f'the token header "{name}" is not supported')
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str):
        raise TokenInvalid("the token names no algorithm")
    if "kid" in header and not isinstance(kid, str):
        raise TokenInvalid('the token header "kid" must be a string')
    return algorithm, kid


def _decode(part: bytes) -> bytes:
    """Base64url without padding (RFC 7515 §2), in its only spelling."""
    rest = len(part) % 4
    # Left-over bits that are not zero would give one token several spellings.
    if rest == 1 or (rest and part[-1] not in _LAST[rest]):
        raise TokenInvalid("the token is malformed")
    try:
        return binascii.a2b_base64(
            part.translate(_TO_BASE64) + b"=="[: -rest % 4], strict_mode=True
        )
    except binascii.Error:
        raise TokenInvalid("the token is malformed") from None


def _json_object(data: bytes, part: str) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise TokenInvalid(f"the token's {part} is not JSON") from None
    if not isinstance(decoded, dict):
        raise TokenInvalid(f"the token's {part} is not a JSON object")
    return decoded


def _digest(token: str) -> bytes:
    """What a token is remembered by; raises ``TokenInvalid`` for one that cannot be valid."""
    if len(token) > LONGEST_TOKEN or not token.isascii():
        raise TokenInvalid("the token is malformed")
    return hashlib.sha256(token.encode()).digest()
