"""Addresses are what they say they are, or are refused by name."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from wsserver.errors import ValidationFailed
from wsserver.notifications.addresses import contact_of, is_email
from wsserver.protocol.notifications import Contact, ContactsRequest, QuietHours
from wsserver.protocol.requests import read_request

P256DH = base64.urlsafe_b64encode(b"\x04" + bytes(64)).decode().rstrip("=")
AUTH = base64.urlsafe_b64encode(bytes(16)).decode().rstrip("=")
SUBSCRIPTION = {
    "endpoint": "https://push.example.com/abc",
    "expirationTime": None,
    "keys": {"p256dh": P256DH, "auth": AUTH},
}


@pytest.mark.parametrize(
    "address",
    [
        "a@b.example",
        "first.last+tag@sub.example.com",
        "user@localhost",
        "o'brien@example.co",
        "x" * 64 + "@example.com",
    ],
)
def test_an_address_is_accepted(address: str) -> None:
    assert is_email(address)


@pytest.mark.parametrize(
    "address",
    [
        "a@b\r\nBcc:x",
        "a@b, c@d",
        "a@b\n",
        "a b@c.example",
        "A <a@b.example>",
        '"a b"@c.example',
        "a@b@c",
        "@b.example",
        "a@",
        "a@-b.example",
        "a@b..example",
        ".a@b.example",
        "a.@b.example",
        "a@[127.0.0.1]",
        "a@b.example;c@d.example",
        "ü@b.example",
        "x" * 65 + "@example.com",
    ],
)
def test_what_is_no_single_address_is_refused(address: str) -> None:
    assert not is_email(address)


def request(**fields: Any) -> Contact:
    return contact_of("u1", read_request(fields, ContactsRequest))


def refused(**fields: Any) -> list[str]:
    with pytest.raises(ValidationFailed) as error:
        request(**fields)
    return sorted(each["field"] for each in error.value.details["errors"])


def test_a_whole_contact() -> None:
    contact = request(
        email="u1@example.com",
        phone="+8613800138000",
        push=[SUBSCRIPTION, SUBSCRIPTION],
        locale="en",
        quiet_hours={"start": "22:00", "end": "07:00", "time_zone": "Asia/Shanghai"},
    )
    assert (contact.user_id, contact.email, contact.locale) == ("u1", "u1@example.com", "en")
    assert [each.endpoint for each in contact.push] == ["https://push.example.com/abc"]
    assert contact.quiet_hours == QuietHours("22:00", "07:00", "Asia/Shanghai")
    assert request() == Contact(user_id="u1")


@pytest.mark.parametrize(
    ("fields", "culprit"),
    [
        ({"email": "a@b, c@d"}, "email"),
        ({"phone": "call me"}, "phone"),
        ({"phone": "+86 138"}, "phone"),
        ({"phone": "١٢٣٤٥"}, "phone"),
        ({"locale": "fr"}, "locale"),
        ({"quiet_hours": {"start": "24:00", "end": "07:00"}}, "quiet_hours.start"),
        ({"quiet_hours": {"start": "22:00"}}, "quiet_hours.end"),
        (
            {"quiet_hours": {"start": "22:00", "end": "07:00", "time_zone": "../x"}},
            "quiet_hours.time_zone",
        ),
        ({"push": [{**SUBSCRIPTION, "endpoint": "http://push.example.com"}]}, "push[0].endpoint"),
        ({"push": [{**SUBSCRIPTION, "endpoint": "file:///etc/passwd"}]}, "push[0].endpoint"),
        ({"push": [{**SUBSCRIPTION, "endpoint": "https://u:p@x.example"}]}, "push[0].endpoint"),
        ({"push": [{**SUBSCRIPTION, "endpoint": "https://x.example:99999"}]}, "push[0].endpoint"),
        ({"push": [{**SUBSCRIPTION, "endpoint": "https://x\r\ny.example"}]}, "push[0].endpoint"),
        (
            {"push": [{**SUBSCRIPTION, "keys": {"p256dh": "x", "auth": AUTH}}]},
            "push[0].keys.p256dh",
        ),
        (
            {"push": [{**SUBSCRIPTION, "keys": {"p256dh": P256DH, "auth": "!!"}}]},
            "push[0].keys.auth",
        ),
        ({"fax": "1"}, "fax"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], culprit: str) -> None:
    assert [name.replace("[...]", "[0]") for name in refused(**fields)] == [culprit]


def test_several_faults_are_named_together() -> None:
    push = [{**SUBSCRIPTION, "endpoint": "x", "keys": {"p256dh": "x", "auth": "x"}}]
    assert refused(email="abc", push=push) == [
        "email",
        "push[0].endpoint",
        "push[0].keys.auth",
        "push[0].keys.p256dh",
    ]
