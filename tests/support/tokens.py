"""Signed tokens, made by PyJWT instead of the server's own code, and keys of every family."""

from __future__ import annotations

import time
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SECRET = "0123456789abcdef0123456789abcdef"


def token(
    sub: Any = "u1",
    *,
    exp_in: float | None = 3600,
    key: Any = SECRET,
    algorithm: str = "HS256",
    kid: str | None = None,
    **claims: Any,
) -> str:
    """A signed token; ``exp_in`` are seconds from now, None leaves ``exp`` out."""
    payload = {"sub": sub, **claims}
    if exp_in is not None:
        payload.setdefault("exp", time.time() + exp_in)
    if sub is None:
        del payload["sub"]
    headers = {"kid": kid} if kid is not None else None
    # PyJWT refuses to sign a sub that is not a string; the server has to refuse those itself.
    signer = jwt.PyJWS()
    return signer.encode(msgspec.json.encode(payload), key, algorithm=algorithm, headers=headers)


def pem_of(private: Any) -> bytes:
    pem: bytes = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


class Signer:
    """Signs any payload and header, also malformed ones, with a key of each algorithm."""

    def __init__(self) -> None:
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.private: dict[str, Any] = {
            **dict.fromkeys(["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"], self.rsa),
            "ES256": ec.generate_private_key(ec.SECP256R1()),
            "ES384": ec.generate_private_key(ec.SECP384R1()),
            "ES512": ec.generate_private_key(ec.SECP521R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate(),
        }
        self.ed448 = ed448.Ed448PrivateKey.generate()

    def pem(self, algorithm: str) -> bytes:
        return pem_of(self.private[algorithm])

    def sign(
        self,
        payload: Any,
        algorithm: str = "HS256",
        key: Any = None,
        **headers: Any,
    ) -> str:
        body = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
        if key is None:
            key = self.private.get(algorithm, SECRET.encode())
        header = {"typ": "JWT", "alg": algorithm, **headers}
        return self.sign_raw(msgspec.json.encode(header), body, algorithm, key)

    @staticmethod
    def sign_raw(header: bytes, body: bytes, algorithm: str, key: Any) -> str:
        encode = jwt.utils.base64url_encode
        signed = encode(header) + b"." + encode(body)
        signature = jwt.get_algorithm_by_name(algorithm).sign(signed, key)
        return (signed + b"." + encode(signature)).decode()

    def jwk(self, algorithm: str, kid: str | None, **members: Any) -> dict[str, Any]:
        public = self.private[algorithm].public_key()
        jwk: dict[str, Any] = jwt.get_algorithm_by_name(algorithm).to_jwk(public, as_dict=True)
        jwk.pop("key_ops", None)
        return {**jwk, **({} if kid is None else {"kid": kid}), **members}
