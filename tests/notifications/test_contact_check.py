"""Contacts that can be written to."""

from __future__ import annotations

import pytest

from tests.notifications.push_service import Browser
from wsserver.addresses.reach import Reach
from wsserver.errors import UrlForbidden, ValidationFailed
from wsserver.notifications.contact_check import check_contact
from wsserver.protocol.notifications import Contact, PushKeys, PushSubscription

BROWSER = Browser("https://push.example.com/x")


def test_a_good_one() -> None:
    check_contact(Contact(user_id="u1"), Reach())
    check_contact(
        Contact(
            user_id="u1",
            email="li@example.com",
            phone="+8613800138000",
            push=(BROWSER.subscription,),
        ),
        Reach(),
    )


@pytest.mark.parametrize("email", ["a@b\r\nBcc:x", "a@b, c@d", ""])
def test_every_fault_by_its_field(email: str) -> None:
    bad = PushSubscription(BROWSER.subscription.endpoint, PushKeys(p256dh="x", auth="y"))
    contact = Contact(user_id="u1", email=email, phone="1", push=(BROWSER.subscription, bad))
    with pytest.raises(ValidationFailed) as caught:
        check_contact(contact, Reach())
    assert caught.value.meaning.status == 422
    assert [each["field"] for each in caught.value.details["errors"]] == [
        "email",
        "phone",
        "push.1",
    ]


def test_too_many_browsers() -> None:
    with pytest.raises(ValidationFailed):
        check_contact(Contact(user_id="u1", push=(BROWSER.subscription,) * 21), Reach())


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://push.example.com/x",
        "http://127.0.0.1/",
        "https://127.1/",
        "https://0x7f.1/",
        "https://2130706433/",
        "https://[::ffff:127.0.0.1]/",
        "https://169.254.169.254/",
        "file:///etc/passwd",
    ],
)
def test_endpoints_that_lead_elsewhere(endpoint: str) -> None:
    contact = Contact(user_id="u1", push=(Browser(endpoint).subscription,))
    with pytest.raises(UrlForbidden):
        check_contact(contact, Reach())


def test_development_may_be_its_own_push_service() -> None:
    contact = Contact(user_id="u1", push=(Browser("http://127.0.0.1:9/").subscription,))
    check_contact(contact, Reach(loopback=True))
