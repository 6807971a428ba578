"""VAPID keys (RFC 8292), with which the server identifies itself to push services."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)

from wsserver.config.faults import Faulty
from wsserver.config.files import read_key_file

_RAW_BYTES = 32
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+={0,2}")


def vapid_key(text: str) -> ec.EllipticCurvePrivateKey:
    """Read the private key on P-256: base64url of its 32 bytes, or of DER, or a file.

    A file holds PEM, or one of these texts. Raises ``Faulty``, which does not quote it.
    """
    key = _from_base64url(text)
    if key is not None:
        return key
    content = read_key_file(Path(text))
    if content.lstrip().startswith(b"-----BEGIN"):
        return _checked(lambda: load_pem_private_key(content, password=None))
    key = _from_base64url(content.decode("ascii", "replace").strip())
    if key is None:
        raise Faulty("names a file without a private key")
    return key


def public_half(key: ec.EllipticCurvePrivateKey) -> str:
    """The public key, base64url: ``applicationServerKey`` of ``pushManager.subscribe``."""
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return base64.urlsafe_b64encode(point).rstrip(b"=").decode()


def vapid_subject(text: str) -> str:
    """Check the contact for push services: ``mailto:`` or ``https:`` (RFC 8292 §2.1)."""
    if not re.fullmatch(r"mailto:[^@\s]+@[^@\s]+|https://[^\s/]+\S*", text):
        raise Faulty(
            f"must be like mailto:ops@example.com or https://example.com, not {text[:80]!r}"
        )
    return text


def _from_base64url(text: str) -> ec.EllipticCurvePrivateKey | None:
    """The key; None if the text is not base64url of a plausible length, so maybe a file name."""
    if not _BASE64URL.fullmatch(text):
        return None
    bare = text.rstrip("=")
    try:
        content = base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except ValueError:
        return None
    if len(content) == _RAW_BYTES:
        return _checked(
            lambda: ec.derive_private_key(int.from_bytes(content, "big"), ec.SECP256R1())
        )
    if content[:1] == b"\x30" and len(content) > 2 * _RAW_BYTES:
        return _checked(lambda: load_der_private_key(content, password=None))
    return None


def _checked(load: Callable[[], object]) -> ec.EllipticCurvePrivateKey:
    try:
        key = load()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Faulty("has no private key that can be read without a password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Faulty("must be a key on the curve P-256")
    return key
