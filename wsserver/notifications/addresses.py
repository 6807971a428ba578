"""Where a user can be reached, checked strictly: what is stored here is sent to."""

from __future__ import annotations

from collections.abc import Callable, Collection

from wsserver.addresses.contact import parse_mail_address, parse_phone
from wsserver.addresses.reach import Reach, check_url
from wsserver.errors import UrlForbidden, ValidationFailed
from wsserver.notifications.channels.subscriptions import auth_secret, public_key
from wsserver.notifications.rules import zone
from wsserver.protocol.notifications import Contact, ContactsRequest
from wsserver.protocol.validation import Fault


def contact_of(user_id: str, request: ContactsRequest, reach: Reach) -> Contact:
    """A contact as it is to be stored; ``reach``: where push endpoints may be.

    Raises ``ValidationFailed`` naming all that is wrong, and ``UrlForbidden`` where nothing is but
    an endpoint that leads where nothing is sent to.
    """
    faults = contact_faults(request)
    forbidden: list[UrlForbidden] = []
    for index, subscription in enumerate(request.push):
        try:
            check_url(subscription.endpoint, reach)
        except UrlForbidden as error:
            error.details["field"] = f"push[{index}].endpoint"
            forbidden.append(error)
    if faults:
        faults += [{"field": str(e.details["field"]), "message": str(e)} for e in forbidden]
        raise ValidationFailed(faults)
    if forbidden:
        raise forbidden[0]
    return Contact(
        user_id=user_id,
        email=request.email if request.email is None else parse_mail_address(request.email),
        phone=request.phone,
        push=tuple({each.endpoint: each for each in request.push}.values()),
        locale=request.locale,
        quiet_hours=request.quiet_hours,
    )


def contact_faults(request: ContactsRequest, _: Collection[str] = ()) -> list[Fault]:
    """What is wrong with addresses, keys and the time zone; not where endpoints lead."""
    faults: list[Fault] = []

    def attempt(field: str, check: Callable[[str], object], value: str | None) -> None:
        if value is not None:
            try:
                check(value)
            except ValueError as error:
                faults.append({"field": field, "message": str(error)})

    attempt("email", parse_mail_address, request.email)
    attempt("phone", parse_phone, request.phone)
    if request.quiet_hours is not None:
        attempt("quiet_hours.time_zone", zone, request.quiet_hours.time_zone)
    for index, subscription in enumerate(request.push):
        attempt(f"push[{index}].keys.p256dh", public_key, subscription.keys.p256dh)
        attempt(f"push[{index}].keys.auth", auth_secret, subscription.keys.auth)
    return faults
