"""Validation of contacts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.push_service import PushSubscriber
from wsserver.addresses.reach import Reach
from wsserver.errors import UrlForbidden, ValidationFailed
from wsserver.notifications.contacts import contact_of
from wsserver.protocol.notifications import Contact, ContactsRequest, QuietHours
from wsserver.protocol.requests import read_request

KEYS = PushSubscriber("https://push.example.com/abc").subscription.keys
P256DH, AUTH = KEYS.p256dh, KEYS.auth
SUBSCRIPTION = {
    "endpoint": "https://push.example.com/abc",
    "expirationTime": None,
    "keys": {"p256dh": P256DH, "auth": AUTH},
}


def request(reach: Reach = Reach(), **fields: Any) -> Contact:  # noqa: B008 - immutable
    return contact_of("u1", read_request(fields, ContactsRequest), reach)


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
        ({"email": "a@b\r\nBcc:x"}, "email"),
        ({"phone": "13800138000"}, "phone"),
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


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://push.example.com",
        "file:///etc/passwd",
        "https://u:p@x.example",
        "https://x.example:99999",
        "https://x\r\ny.example",
        "http://127.0.0.1/",
        "https://127.1/",
        "https://0x7f.1/",
        "https://2130706433/",
        "https://[::ffff:127.0.0.1]/",
        "https://169.254.169.254/",
    ],
)
def test_endpoints_that_lead_elsewhere(endpoint: str) -> None:
    with pytest.raises(UrlForbidden) as caught:
        request(push=[SUBSCRIPTION, {**SUBSCRIPTION, "endpoint": endpoint}])
    assert caught.value.meaning.status == 422
    assert caught.value.details["field"] == "push[1].endpoint"


def test_development_may_be_its_own_push_service() -> None:
    push = [{**SUBSCRIPTION, "endpoint": "http://127.0.0.1:9/"}]
    assert request(Reach(loopback=True), push=push).push
