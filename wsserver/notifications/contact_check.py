"""Is a contact one that can be written to? Decided before it is stored."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from wsserver.addresses.mail import parse_mail_address
from wsserver.addresses.phone import parse_phone
from wsserver.addresses.reach import Reach
from wsserver.errors import ValidationFailed
from wsserver.notifications.channels.subscriptions import check_subscription
from wsserver.protocol.notifications import MAX_SUBSCRIPTIONS, Contact


def check_contact(contact: Contact, reach: Reach) -> None:
    """Check the addresses of a contact; ``reach``: where push endpoints may be.

    Raises ``ValidationFailed`` naming every field at fault, and ``UrlForbidden`` for an endpoint
    that leads where nothing is sent to.
    """
    errors: list[dict[str, str]] = []

    def attempt(field: str, check: Callable[[], object]) -> None:
        try:
            check()
        except ValueError as error:
            errors.append({"field": field, "message": str(error)})

    if contact.email is not None:
        attempt("email", lambda: parse_mail_address(contact.email or ""))
    if contact.phone is not None:
        attempt("phone", lambda: parse_phone(contact.phone or ""))
    if len(contact.push) > MAX_SUBSCRIPTIONS:
        message = f"at most {MAX_SUBSCRIPTIONS} subscriptions"
        errors.append({"field": "push", "message": message})
    for number, subscription in enumerate(contact.push[:MAX_SUBSCRIPTIONS]):
        attempt(f"push.{number}", partial(check_subscription, subscription, reach))
    if errors:
        raise ValidationFailed(errors)
