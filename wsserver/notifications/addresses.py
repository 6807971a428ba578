"""Where a user can be reached, checked strictly: what is stored here is sent to."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import urlsplit

from wsserver.errors import ValidationFailed
from wsserver.identity.loopback import is_loopback
from wsserver.notifications.rules import zone
from wsserver.protocol.notifications import Contact, ContactsRequest, PushSubscription

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# One address, as it is written: no display name, no comment, no quotes, no list (RFC 5322 §3.4.1).
_EMAIL = re.compile(rf"(?=.{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
P256DH_BYTES = 65
AUTH_BYTES = 16


def is_email(text: str) -> bool:
    """Is this exactly one address, of ASCII letters?"""
    return _EMAIL.fullmatch(text) is not None


def contact_of(user_id: str, request: ContactsRequest) -> Contact:
    """A contact as it is to be stored; raises ``ValidationFailed`` naming all that is wrong."""
    faults: dict[str, str] = {}
    if request.email is not None and not is_email(request.email):
        faults["email"] = "not one e-mail address"
    hours = request.quiet_hours
    if hours is not None:
        try:
            zone(hours.time_zone)
        except ValueError as error:
            faults["quiet_hours.time_zone"] = str(error)
    for index, subscription in enumerate(request.push):
        for field, message in _faults_of(subscription):
            faults[f"push[{index}].{field}"] = message
    if faults:
        raise ValidationFailed([{"field": k, "message": v} for k, v in faults.items()])
    return Contact(
        user_id=user_id,
        email=request.email,
        phone=request.phone,
        push=tuple({each.endpoint: each for each in request.push}.values()),
        locale=request.locale,
        quiet_hours=hours,
    )


def _faults_of(subscription: PushSubscription) -> list[tuple[str, str]]:
    faults = []
    if not _is_endpoint(subscription.endpoint):
        faults.append(("endpoint", "not an https URL"))
    for name, size in (("p256dh", P256DH_BYTES), ("auth", AUTH_BYTES)):
        if _size_of(getattr(subscription.keys, name)) != size:
            faults.append((f"keys.{name}", f"not {size} bytes of base64url"))
    return faults


def _is_endpoint(text: str) -> bool:
    """HTTPS to somewhere; plain HTTP to this machine alone, as in development."""
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        parts.port  # noqa: B018 - raises for one that is none
    except ValueError:
        return False
    if not text.isascii() or not text.isprintable() or " " in text or parts.username is not None:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and _is_here(host)))


def _is_here(host: str) -> bool:
    return host == "localhost" or is_loopback(host)


def _size_of(text: str) -> int:
    try:
        return len(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        return -1
