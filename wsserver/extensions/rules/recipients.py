"""Recipients of a rule's notifications."""

from __future__ import annotations

from wsserver.extensions.rules.options import Rule
from wsserver.notifications.recipients import Recipients


def recipients_of(rule: Rule, organization_id: str | None) -> list[tuple[Recipients, str | None]]:
    """Who is notified, each with the organization that it is confined to.

    Of a session without an organization only administrators, in place of managers: these may
    belong to any.
    """
    found: list[tuple[Recipients, str | None]] = []
    users = [each.partition(":")[2] for each in rule.notify if each.startswith("user:")]
    if users:
        found.append((Recipients(user_ids=tuple(dict.fromkeys(users))), None))
    roles = {each.partition(":")[2] for each in rule.notify if each.startswith("role:")}
    if "manager" in roles and organization_id is not None:
        found.append((Recipients(role="manager"), organization_id))
    if "admin" in roles or ("manager" in roles and organization_id is None):
        found.append((Recipients(role="admin"), None))
    return found


def recipient_labels(rule: Rule, organization_id: str | None, *, with_users: bool) -> list[str]:
    """The recipients as answers have them.

    ``with_users``: also single users, of whatever organization.
    """
    found = []
    for recipients, confined_to in recipients_of(rule, organization_id):
        if recipients.user_ids:
            found += [f"user:{user_id}" for user_id in recipients.user_ids if with_users]
        else:
            of = "" if confined_to is None else f" of {confined_to}"
            found.append(f"role:{recipients.role}{of}")
    return found
