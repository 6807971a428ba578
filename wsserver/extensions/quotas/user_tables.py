"""What the tables of quotas have about a user."""

from __future__ import annotations

from wsserver.storage.maintenance.user_tables import UserTable

_OWN = "scope = 'user:' || CAST(:user_id AS TEXT)"
_IS_LAST = "id = (SELECT max(id) FROM quota_usage)"
_EXPORTED = "at, scope, unit, amount, cost, source, session_id, message_id, reported_by"
USER_TABLES = (
    UserTable(
        table="quotas",
        key="scope",
        where=_OWN,
        columns="scope, unit, amount_limit, period, budget, currency, used, cost, updated_at",
    ),
    UserTable(
        table="quotas",
        key="scope",
        where="updated_by = :user_id",
        columns="",
        change="SET updated_by = ''",
    ),
    UserTable(
        table="quota_usage",
        key="id",
        where=f"{_OWN} AND NOT ({_IS_LAST})",
        columns=_EXPORTED,
    ),
    UserTable(
        table="quota_usage",  # the last row stays, for its position
        key="id",
        where=f"{_OWN} AND {_IS_LAST}",
        columns=_EXPORTED,
        change="SET scope = '', amount = 0, cost = 0, source = '', session_id = NULL,"
        " message_id = NULL, reported_by = '', request = NULL",
    ),
    UserTable(
        table="quota_usage",
        key="id",
        where=f"reported_by = :user_id AND NOT ({_OWN})",
        columns=_EXPORTED,
        change="SET reported_by = '', request = NULL",
    ),
    UserTable(
        table="quota_usage_hours",
        key="scope",
        where=_OWN,
        columns="scope, hour, source, amount, cost, reports",
    ),
)
"""Of the user's own use nothing stays; reports about others stay without who has made them."""
