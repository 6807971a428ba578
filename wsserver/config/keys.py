"""Do the source of keys and the configured algorithms fit together?"""

from __future__ import annotations

from wsserver.config.faults import Faulty
from wsserver.config.files import read_key_file
from wsserver.config.names import FAMILIES, FAMILY_OF
from wsserver.config.settings import Settings

_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
MIN_RSA_BITS = 2048


def check_one_family(algorithms: tuple[str, ...]) -> None:
    """Raise ``Faulty`` for algorithms of several families."""
    families = {FAMILY_OF[name] for name in algorithms}
    if len(families) > 1:
        raise Faulty(f"mixes families ({', '.join(sorted(families))}); only one is allowed")


def possible_algorithms(settings: Settings) -> tuple[str, ...]:
    """Return what the source of keys can do, its default first. Raises ``Faulty``."""
    if settings.jwt_public_key_file is not None:
        return _of_public_key(read_key_file(settings.jwt_public_key_file))
    if settings.jwks_url is not None:
        return tuple(name for name, family in FAMILY_OF.items() if family != "HS")
    return FAMILIES["HS"]


def _of_public_key(pem: bytes) -> tuple[str, ...]:
    # 50 ms of import that only this source of keys needs.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if b"PRIVATE KEY-----" in pem:
        raise Faulty("holds a private key; the server needs the public one only")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise Faulty("holds no public key in PEM form") from None
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise Faulty(f"holds an RSA key of {key.key_size} bits; {MIN_RSA_BITS} are the least")
        return (*FAMILIES["RS"], *FAMILIES["PS"])
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return (_CURVES[key.curve.name],)
    if isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
        return FAMILIES["EdDSA"]
    raise Faulty("holds a key that no supported algorithm uses")
