"""Checks of database, disk, streams, broker, channels and webhooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wsctl.doctor.checks.server import NOT_REPORTED, hint, of_health
from wsctl.doctor.facts import Document, Facts, Missing, answered, member, needed, number
from wsctl.doctor.findings import Finding, failed, ok, skipped, warning
from wsctl.formatting import byte_size, plural
from wsctl.times import age, epoch

_LITTLE_BYTES, _NO_BYTES = 1024**3, 64 * 1024**2
_LATE_S = 600.0
_CHANNEL_SETTINGS = {
    "email": "smtp_url and mail_from",
    "sms": "sms_url or apprise_urls",
    "push": "vapid_private_key and vapid_subject",
}


def database(facts: Facts) -> Finding:
    """Whether the database works."""
    found = needed(of_health(facts, "database"))
    queued, lost = number(found, "queued") or 0, number(found, "lost_writes") or 0
    bytes_, commit_ms = number(found, "file_bytes") or 0, number(found, "last_commit_ms")
    data = {
        "file_bytes": int(bytes_),
        "queued": int(queued),
        "lost_writes": int(lost),
        "last_commit_ms": commit_ms,
    }
    if found.get("ok") is not True:
        return failed(
            f"not working: {found.get('last_error') or 'too many writes are queued'}",
            "Check its disk; docs/database.rst says what to do for each error.",
            **data,
        )
    name = "PostgreSQL, " if found.get("kind") == "postgresql" else ""
    what = f"{name}{byte_size(bytes_)}, {plural(queued, 'write')} waiting"
    if commit_ms is not None:
        what += f", the last commit took {commit_ms:.1f} ms"
    if lost:
        return warning(
            f"{what}; {plural(lost, 'write')} lost since the start",
            "Check the server's log for the reason, and the disk.",
            **data,
        )
    return ok(what, **data)


def disk(facts: Facts) -> Finding:
    """Whether the disk has room for the database."""
    diagnostics = needed(answered(facts.diagnostics), hint(facts))
    free, total = (number(diagnostics, "database", name) for name in ("free_bytes", "total_bytes"))
    if member(diagnostics, "database").get("kind") == "postgresql":
        return skipped("the database is PostgreSQL's: look at the disk of its server")
    if free is None or total is None:
        return skipped("not available while the server cannot read its database")
    what = f"{byte_size(free)} of {byte_size(total)} free"
    data = {"free_bytes": int(free), "total_bytes": int(total)}
    do = "Free some space, or shorten the retention of snapshots, streams and notifications."
    if free < _NO_BYTES:
        return failed(what, do, **data)
    if free < _LITTLE_BYTES or free < 2 * (number(diagnostics, "database", "file_bytes") or 0):
        return warning(what, do, **data)
    return ok(what, **data)


def streams(facts: Facts) -> Finding:
    """How many messages are kept, and whether they are pruned in time."""
    diagnostics = needed(answered(facts.diagnostics), hint(facts))
    if not member(diagnostics, "streams"):
        return skipped("not available while the server cannot read its database")
    streams_, messages, late = (
        number(diagnostics, "streams", name) or 0 for name in ("streams", "messages", "late")
    )
    what = f"{plural(messages, 'message')} in {plural(streams_, 'stream')}"
    data = {"streams": int(streams_), "messages": int(messages), "late": int(late)}
    if late:
        return warning(
            f"{what}, {late:,.0f} of them overdue for pruning by over an hour",
            "Check the server's log for the periodic work 'prune'.",
            **data,
        )
    return ok(what, **data)


def broker(facts: Facts) -> Finding:
    """Whether the broker connects the nodes."""
    found = needed(of_health(facts, "broker"))
    kind = str(found.get("kind", "unknown"))
    nodes = number(found, "nodes")  # of several nodes, the check server.nodes has them
    data: dict[str, Any] = {"kind": kind}
    if nodes is not None:
        data["nodes"] = int(nodes)
    if found.get("ok") is not True:
        do = "Check redis_url and Redis: messages reach only the clients of their own node."
        why = found.get("last_error")
        return failed(f"{kind}: {why or 'not working'}", do, **data)
    return ok(kind if nodes is None else f"{kind}, {plural(nodes, 'node')}", **data)


def webhooks(facts: Facts) -> Finding:
    """Whether webhooks accept the events."""
    found = of_health(facts, "webhooks")
    if isinstance(found, Missing):
        is_none = isinstance(facts.health, Missing) is False and found.why == NOT_REPORTED
        return skipped("not configured" if is_none else found.why)
    waiting, lost = number(found, "waiting") or 0, number(found, "failed") or 0
    dropped = number(found, "dropped") or 0
    what = f"{waiting:,.0f} waiting, {lost:,.0f} given up, {dropped:,.0f} dropped since the start"
    data = {"waiting": int(waiting), "failed": int(lost), "dropped": int(dropped)}
    do = "Check the receiving server; docs/webhooks.rst says what it has to answer."
    if found.get("ok") is not True:
        return failed(what, do, **data)
    return warning(what, do, **data) if lost or dropped else ok(what, **data)


def channel(name: str) -> Callable[[Facts], Finding]:
    """The check of one notification channel."""

    def check(facts: Facts) -> Finding:
        diagnostics = needed(answered(facts.diagnostics), hint(facts))
        found = member(diagnostics, "channels", name)
        if not found:
            return skipped("not available while the server cannot read its database")
        return _channel(name, found, facts.checked_at)

    check.__doc__ = f"Whether notifications are sent through {name}."
    return check


def _channel(name: str, found: Document, now: float) -> Finding:
    waiting, lost, untried = (
        number(found, key) or 0 for key in ("waiting", "failed", "not_configured")
    )
    data = {"configured": found.get("configured") is True, "waiting": int(waiting)}
    data |= {"failed": int(lost), "not_configured": int(untried)}
    settings = _CHANNEL_SETTINGS.get(name, "it")
    if found.get("configured") is not True:
        # The default channels of most notifications include some that a server need not have.
        what = "not_configured"
        if untried:
            what += f"; {untried:,.0f} in 24 h needed it"
        return skipped(what, f"Set {settings} to send notifications through it.", **data)
    what = f"{waiting:,.0f} waiting, {lost:,.0f} given up in 24 h"
    do = "See why with: wsctl notifications list --state failed"
    if lost:
        return warning(what, do, **data)
    since = epoch(found.get("due_since"))
    if since is not None and now - since > _LATE_S:
        what += f", due for {age(since, now)}"
        return warning(what, "See why with: wsctl notifications list --state pending", **data)
    return ok(what, **data)
