"""Notifications: types, channels, templates, contacts, and the bodies of their requests."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from wsserver.protocol.requests import MAX_MEMBERS, Request
from wsserver.protocol.types import (
    ACTION_URL_PATTERN,
    PHONE_PATTERN,
    TIME_OF_DAY_PATTERN,
    USER_ID_PATTERN,
    Id,
    JsonObject,
    Role,
    UserId,
)

NotificationType = Literal["info", "success", "warning", "error", "urgent"]
"""The severity, which decides on the channels unless the sender names them."""

ChannelName = Literal["websocket", "email", "sms", "push"]
CHANNELS: tuple[ChannelName, ...] = ("websocket", "push", "sms", "email")
"""All channels, the quickest first."""

TemplateName = Annotated[
    str,
    Meta(max_length=64, description="name of a template", examples=["device_status"]),
]
"""Which templates there are is checked where they are known: extensions may have some."""

DeliveryState = Literal[
    "pending",
    "sending",
    "sent",
    "delivered",
    "read",
    "failed",
    "cancelled",
    "expired",
    "not_configured",
    "no_address",
]
"""The states of a delivery."""

Locale = Literal["zh-CN", "en"]
DEFAULT_LOCALE: Locale = "zh-CN"

TimeOfDay = Annotated[str, Meta(pattern=TIME_OF_DAY_PATTERN, examples=["22:00"])]
MAX_SUBSCRIPTIONS = 20
"""Browsers of one user that Web Push reaches, and as many devices."""


class PushKeys(Struct, frozen=True, forbid_unknown_fields=True):
    """The keys that encrypt a message to a browser (RFC 8291), both base64url."""

    p256dh: Annotated[str, Meta(min_length=1, max_length=256)]
    auth: Annotated[str, Meta(min_length=1, max_length=128)]


class PushSubscription(Struct, frozen=True):
    """A browser's ``PushSubscription.toJSON()``; unknown members are ignored."""

    endpoint: Annotated[str, Meta(min_length=1, max_length=2048)]
    keys: PushKeys


class Device(Struct, frozen=True, forbid_unknown_fields=True):
    """An app on a phone, which a push platform reaches by a token."""

    platform: Annotated[
        str,
        Meta(
            pattern=r"^[a-z][a-z0-9_]{0,31}(?!\n)$",
            description="apns, fcm or jpush, or one of an extension",
            examples=["apns"],
        ),
    ]
    token: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=4096,
            pattern=r"^[!-~]+(?!\n)$",
            description="that the platform has given to the app",
        ),
    ]
    app: (
        Annotated[
            str,
            Meta(
                pattern=r"^[A-Za-z0-9._-]{1,64}(?!\n)$",
                description="name of a configured app; null: the only one of its platform",
            ),
        ]
        | None
    ) = None


class QuietHours(Struct, frozen=True, forbid_unknown_fields=True):
    """Hours in which e-mail, SMS and push wait; ``end`` before ``start`` is over midnight."""

    start: TimeOfDay
    end: TimeOfDay
    time_zone: Annotated[str, Meta(min_length=1, max_length=64, examples=["Asia/Shanghai"])] = "UTC"


class Contact(Struct, frozen=True, kw_only=True):
    """The addresses of a user, and the language."""

    user_id: Annotated[str, Meta(pattern=USER_ID_PATTERN)]
    email: str | None = None
    phone: str | None = None
    push: tuple[PushSubscription, ...] = ()
    devices: tuple[Device, ...] = ()
    locale: Locale | None = None
    """None: the server's default."""
    quiet_hours: QuietHours | None = None


AnyTemplate = Literal["*"]
ANY_TEMPLATE: AnyTemplate = "*"
"""In preferences: every template without a choice of its own, and texts without a template."""
MAX_MARKED = 1000
MAX_PREFERENCES = 1000
"""Entries of preferences by template in one request."""

DailyChannel = Literal["push", "sms", "email"]


class DailyDigest(Struct, frozen=True, forbid_unknown_fields=True):
    """Once a day what came by these channels since the day before, as one; not what is urgent."""

    at: TimeOfDay
    time_zone: Annotated[str, Meta(min_length=1, max_length=64, examples=["Asia/Shanghai"])] = "UTC"
    channels: Annotated[tuple[DailyChannel, ...], Meta(min_length=1, max_length=3)] = ("email",)


class Preferences(Struct, frozen=True, kw_only=True):
    """What a user has chosen about notifications."""

    channels: dict[str, dict[str, bool]] = {}
    """By template or ``ANY_TEMPLATE``, then by channel: whether it is on. Others are on."""
    quiet_hours: QuietHours | None = None
    """None: those of the contacts."""
    daily_digest: DailyDigest | None = None


NO_PREFERENCES = Preferences()

PreferenceKey = Annotated[
    str, Meta(max_length=64, description="name of a template, or * for all others")
]
ChannelChoices = Annotated[
    dict[PreferenceKey, dict[ChannelName, bool | None] | None],
    Meta(max_length=MAX_PREFERENCES, description="true: on; null: as for the others"),
]


class PreferencesRequest(Request):
    """Changes of preferences; what is left out stays as it is.

    ``channels`` is merged: only the named switches change, null removes a choice. Null for one of
    the others removes it, and for ``quiet_hours`` those of the contacts are in force again.
    """

    channels: ChannelChoices | UnsetType | None = UNSET
    quiet_hours: QuietHours | UnsetType | None = UNSET
    daily_digest: DailyDigest | UnsetType | None = UNSET


class MarkNotificationsRequest(Request):
    """Marks notifications of a feed, by their ids or one and all older ones."""

    ids: Annotated[list[Id], Meta(min_length=1, max_length=MAX_MARKED)] | None = None
    up_to: Annotated[Id, Meta(description="this one and all older ones, instead of ids")] | None = (
        None
    )
    read: Annotated[bool, Meta(description="false: unread again")] | None = None
    archived: Annotated[bool, Meta(description="false: back in the feed")] | None = None


MAX_EXPIRY_S = 30 * 86_400
MAX_STEPS = 20

Title = Annotated[str, Meta(min_length=1, max_length=256)]
Message = Annotated[str, Meta(min_length=1, max_length=16_384)]
ActionUrl = Annotated[
    str,
    Meta(
        max_length=2048,
        pattern=ACTION_URL_PATTERN,
        description="a path of the frontend's, or http:// or https://",
        examples=["/devices/device_123"],
    ),
]


class EscalateStep(Request):
    """A channel to be tried later, unless the user has acknowledged the notification by then."""

    after_s: Annotated[float, Meta(ge=0, le=MAX_EXPIRY_S)]
    channel: ChannelName


class NotifyRequest(Request):
    """A notification: exactly one kind of recipients, then a text or a template.

    ``channels`` replaces the defaults of the type, the default escalation with them; ``escalate``
    replaces the default escalation.
    """

    user_ids: Annotated[list[UserId], Meta(min_length=1, max_length=MAX_MEMBERS)] | None = None
    session_id: Id | None = None
    organization_id: Id | None = None
    role: Role | None = None
    broadcast: bool = False
    title: Title | None = None
    message: Message | None = None
    type: NotificationType | None = None
    action_url: ActionUrl | None = None
    auto_close: bool | None = None
    template: TemplateName | None = None
    params: JsonObject | None = None
    channels: Annotated[list[ChannelName], Meta(min_length=1, max_length=4)] | None = None
    escalate: Annotated[list[EscalateStep], Meta(max_length=MAX_STEPS)] | None = None
    expires_in_s: Annotated[float, Meta(gt=0, le=MAX_EXPIRY_S)] | None = None


class ContactsRequest(Request):
    """The addresses of a user, in place of the former ones; what is left out is removed.

    Except ``organization_id``: left out, it stays as it is. Null: the token's is in force again.
    """

    organization_id: Id | UnsetType | None = UNSET
    email: Annotated[str, Meta(min_length=3, max_length=254)] | None = None
    phone: (
        Annotated[
            str,
            Meta(
                pattern=PHONE_PATTERN,
                description="in international form (E.164)",
                examples=["+8613800138000"],
            ),
        ]
        | None
    ) = None
    push: Annotated[list[PushSubscription], Meta(max_length=MAX_SUBSCRIPTIONS)] = field(
        default_factory=list
    )
    devices: Annotated[list[Device], Meta(max_length=MAX_SUBSCRIPTIONS)] = field(
        default_factory=list
    )
    locale: Locale | None = None
    quiet_hours: QuietHours | None = None
