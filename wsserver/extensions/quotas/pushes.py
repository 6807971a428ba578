"""The push ``usage_update``: its shape, and who gets it."""

from __future__ import annotations

from wsserver.extensions.quotas.model import ORGANIZATION, USER, Quota
from wsserver.extensions.quotas.periods import Kind
from wsserver.protocol.targets import Target, TargetType, organization, user
from wsserver.realtime.messages.message import Message
from wsserver.web.api.answers import Time
from wsserver.web.resources.socket_frames import Signal

USAGE_UPDATE = "usage_update"
MANAGER = "manager"


class UsageUpdatePush(Signal, kw_only=True):
    """What is used of a quota; at most once a second for one scope."""

    scope: str
    used: float
    limit: float
    remaining: float
    unit: str
    period: Kind
    starts_at: Time | None
    resets_at: Time | None


def messages_of(quota: Quota, organization_id: str | None) -> list[Message]:
    """The pushes for the users of a scope and the managers of its organization.

    ``organization_id``: of the user, for a quota of a user.
    """
    members = quota.use_view()
    if quota.scope.startswith(ORGANIZATION):
        return [_live(members, organization(quota.scope.removeprefix(ORGANIZATION)))]
    user_id = quota.scope.removeprefix(USER)
    found = [_live(members, user(user_id))]
    if organization_id is not None:
        managers = _live(members, Target(TargetType.ROLE, MANAGER))
        managers.organization_id = organization_id
        managers.exclude_users = frozenset({user_id})
        found.append(managers)
    return found


def _live(members: dict[str, object], target: Target) -> Message:
    return Message(type=USAGE_UPDATE, members=members, target=target, is_addressed=False)
