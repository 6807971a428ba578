"""The words of notifications: kinds, channels, where a user can be reached."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from wsserver.protocol.types import ID_PATTERN

NotificationType = Literal["info", "success", "warning", "error", "urgent"]
"""How serious it is; the channels follow from it unless the sender names them."""

ChannelName = Literal["websocket", "email", "sms", "push"]
CHANNELS: tuple[ChannelName, ...] = ("websocket", "push", "sms", "email")
"""Every way out, the quickest first."""

Locale = Literal["zh-CN", "en"]
DEFAULT_LOCALE: Locale = "zh-CN"

TIME_OF_DAY = r"^([01][0-9]|2[0-3]):[0-5][0-9](?!\n)$"
TimeOfDay = Annotated[str, Meta(pattern=TIME_OF_DAY, examples=["22:00"])]
MAX_SUBSCRIPTIONS = 20
"""Browsers of one user that Web Push reaches."""


class PushKeys(Struct, frozen=True, forbid_unknown_fields=True):
    """What a message to a browser is encrypted with (RFC 8291), both base64url."""

    p256dh: Annotated[str, Meta(min_length=1, max_length=256)]
    auth: Annotated[str, Meta(min_length=1, max_length=128)]


class PushSubscription(Struct, frozen=True):
    """A browser's ``PushSubscription.toJSON()``; members that it may add are let go of."""

    endpoint: Annotated[str, Meta(min_length=1, max_length=2048)]
    keys: PushKeys


class QuietHours(Struct, frozen=True, forbid_unknown_fields=True):
    """When e-mail, SMS and push wait; ``end`` before ``start`` is over midnight."""

    start: TimeOfDay
    end: TimeOfDay
    time_zone: Annotated[str, Meta(min_length=1, max_length=64, examples=["Asia/Shanghai"])] = "UTC"


class Contact(Struct, frozen=True, kw_only=True):
    """Where one user can be reached, and in what language."""

    user_id: Annotated[str, Meta(pattern=ID_PATTERN)]
    email: str | None = None
    phone: str | None = None
    push: tuple[PushSubscription, ...] = ()
    locale: Locale | None = None
    """None: the server's default."""
    quiet_hours: QuietHours | None = None
