"""Contacts of users: validation of what is entered, and which of them may be used."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from wsserver.addresses.contact import parse_mail_address, parse_phone
from wsserver.addresses.reach import Reach, check_url
from wsserver.errors import UrlForbidden, ValidationFailed
from wsserver.notifications.channels.subscriptions import auth_secret, public_key
from wsserver.notifications.delivery_policy import zone
from wsserver.protocol.notifications import Contact, ContactsRequest
from wsserver.protocol.validation import Fault
from wsserver.realtime.access.tenancy import Tenancy
from wsserver.storage.notifications.contacts import ContactStore


def contact_of(user_id: str, request: ContactsRequest, reach: Reach) -> Contact:
    """The contact of a request, validated; ``reach``: where push endpoints may be.

    Raises ``ValidationFailed`` naming all faults, or ``UrlForbidden`` if the only fault is an
    endpoint that may not be reached.
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
        devices=tuple(dict.fromkeys(request.devices)),
        locale=request.locale,
        quiet_hours=request.quiet_hours,
    )


def contact_faults(request: ContactsRequest, _: Collection[str] = ()) -> list[Fault]:
    """Faults of addresses, keys and the time zone; endpoints are not checked here."""
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


class TenantContacts:
    """Contacts as they may be shown and used, by organization.

    What a manager entered counts only for users of the manager's organization: it is ignored for a
    user who has turned out to belong elsewhere.
    """

    def __init__(self, store: ContactStore, tenancy: Tenancy) -> None:
        self._store = store
        self._tenancy = tenancy

    async def find(self, user_ids: Sequence[str]) -> dict[str, Contact]:
        """The contacts of these users; users without one are left out.

        Raises ``StorageUnavailable``.
        """
        found = await self._store.find(user_ids)
        owned = [id_ for id_, each in found.items() if each.organization_id is not None]
        belongs_to = await self._tenancy.organizations_of(owned)
        return {
            user_id: each.contact
            for user_id, each in found.items()
            if each.organization_id in (None, belongs_to.get(user_id))
        }

    async def get(self, user_id: str) -> Contact:
        """A user's contact, empty if none is stored. Raises ``StorageUnavailable``."""
        found = await self.find([user_id])
        return found.get(user_id) or Contact(user_id=user_id)

    async def put(self, contact: Contact, organization_id: str | None, at: float) -> None:
        """Replace a contact; ``at``: seconds since the epoch.

        ``organization_id``: of the manager who enters it; None: it counts wherever the user
        belongs. Raises ``StorageUnavailable``, ``StorageFull``.
        """
        await self._store.put(contact, organization_id, at)
