"""Checks of the token (source, times, acceptance, permissions) and of the clocks."""

from __future__ import annotations

from wsctl.doctor.facts import Document, Facts, Maybe, Missing, answered, needed, number
from wsctl.doctor.findings import Finding, failed, ok, skipped, warning
from wsctl.times import epoch, readable, rfc3339

_TOLERANCE_S, _FAR_S = 5.0, 60.0
"""Limits of the clocks' difference: not reported below the first, failed above the second."""
_ENDS_SOON_S = 300.0
NEEDED = {
    "stats:read": "stats, top, export, doctor",
    "monitor": "monitor, top, bench",
    "connections:read": "connections, online, sessions, ping",
    "connections:disconnect": "disconnect",
    "messages:read": "trace, history",
    "messages:publish": "send, broadcast, explain, doctor, bench",
    "notifications:read": "notifications",
    "notifications:send": "notify",
    "sessions:manage": "members",
    "sessions:any": "bench",
    "tokens:revoke": "token revoke",
    "audit:read": "audit",
}
"""Permission → commands of wsctl that need it."""
OWN = ("stats:read", "messages:publish")
"""What doctor itself needs."""
_GET_ONE = (
    "Give --token-file, set WSCTL_TOKEN, or save one with: wsctl context add NAME --url URL"
    " --token-file FILE"
)


def source(facts: Facts) -> Finding:
    """Whether there is a token, and its source."""
    found = facts.configuration
    if found.token_fault:
        return failed(found.token_fault, _GET_ONE)
    if not found.token_from:
        return failed("no token", _GET_ONE)
    if found.token_from == "--token":  # noqa: S105 - the name of the option
        return warning(
            "from --token, where other users of this machine can see it",
            "Put it into a file and give --token-file.",
            token_from=found.token_from,
        )
    return ok(f"from {found.token_from}", token_from=found.token_from)


def offset(facts: Facts) -> float | None:
    """How far the server's clock is ahead of this machine's, seconds; None: unknown."""
    whoami = answered(facts.whoami)
    if not isinstance(whoami, Missing) and not isinstance(facts.whoami, Missing):
        server_time = epoch(whoami.get("server_time"))
        if server_time is not None:
            return server_time - facts.whoami.at
    if not isinstance(facts.health, Missing):
        from email.utils import parsedate_to_datetime

        try:
            date = parsedate_to_datetime(facts.health.headers["date"]).timestamp()
        except (KeyError, ValueError, TypeError, IndexError):
            return None
        return date + 0.5 - facts.health.at  # Date is cut to whole seconds
    return None


def clock(facts: Facts) -> Finding:
    """Whether the clocks of this machine and the server agree."""
    ahead = offset(facts)
    if ahead is None:
        return skipped("time not reported by the server")
    side = "ahead of" if ahead > 0 else "behind"
    if abs(ahead) <= _TOLERANCE_S:
        return ok(f"the server's differs by {readable(abs(ahead))}", ahead_s=round(ahead, 3))
    what = f"the server's is {readable(abs(ahead))} {side} this machine's"
    do = "Set both clocks by NTP (timedatectl set-ntp true): tokens and ages depend on them."
    return (failed if abs(ahead) > _FAR_S else warning)(what, do, ahead_s=round(ahead, 3))


def times(facts: Facts) -> Finding:
    """``exp``, ``nbf`` and ``iat`` against the server's clock."""
    if isinstance(facts.claims, Missing):
        return _unread(facts, facts.claims)
    claims = facts.claims
    now = facts.checked_at + (offset(facts) or 0.0)
    end, start, issued = (number(claims, name) for name in ("exp", "nbf", "iat"))
    data = {
        name: rfc3339(value)
        for name, value in (("exp", end), ("nbf", start), ("iat", issued))
        if value is not None and 0 <= value < 253_402_300_800
    }
    if end is None:
        return failed("it has no exp: the server refuses it", "Issue tokens with exp.", **data)
    if end <= now:
        return failed(
            f"expired {readable(now - end)} ago by the server's clock",
            "Get a new one; if it is new, set the clock of the machine that issued it.",
            **data,
        )
    if start is not None and start > now:
        return failed(
            f"not valid before {readable(start - now)} from now by the server's clock",
            "Set the clock of the machine that issued it, or leave nbf out.",
            **data,
        )
    if issued is not None and issued > now + _TOLERANCE_S:
        return warning(
            f"issued {readable(issued - now)} in the future by the server's clock",
            "Set the clock of the machine that issued it: revoking its user misses it.",
            **data,
        )
    what = f"valid for {readable(end - now)}"
    if end - now < _ENDS_SOON_S and not facts.configuration.is_renewed:
        return warning(what, "Get a new one before it ends.", **data)
    return ok(what, **data)


def _unread(facts: Facts, why: Missing) -> Finding:
    if facts.configuration.token_from and not facts.configuration.token_fault:
        return failed(why.why, "Give a JWT that the server's keys have signed.")
    return skipped(why.why)


def accepted(facts: Facts) -> Finding:
    """Whether the server accepts the token."""
    reply = needed(facts.whoami)
    who = answered(reply)
    if not isinstance(who, Missing):
        role, user, organization = who.get("role"), who.get("user_id"), who.get("organization_id")
        belongs = f" of {organization}" if organization else ""
        return ok(f"{user}, {role}{belongs}", user_id=user, role=role)
    if reply.status == 404:
        return skipped("not supported by this server, which is older than wsctl", "Upgrade it.")
    do = {
        "token_invalid": "Issue it with the server's key, algorithm, issuer and audience.",
        "token_expired": "Get a new token.",
        "token_revoked": "Get a new token: this one, or all of its user's, was revoked.",
        "token_missing": "Let the proxy forward the header Authorization.",
        "host_forbidden": "Add the name to allowed_hosts, or let the proxy forward Host.",
        "keys_unavailable": "Check jwks_url: the server cannot fetch the keys.",
    }.get(reply.code, "Check the server's log for the request.")
    return failed(f"refused: {reply.code or reply.status}", do, code=reply.code)


def permissions(facts: Facts) -> Finding:
    """Whether the token has the permissions that wsctl needs."""
    held = needed(held_permissions(answered(facts.whoami)))
    missing = [name for name in NEEDED if name not in held]
    if not missing:
        return ok(f"all {len(NEEDED)}", missing=[])
    own = [name for name in OWN if name not in held]
    what = f"{len(NEEDED) - len(missing)} of {len(NEEDED)}; without "
    if own:
        listed = ", ".join(f"{name} ({NEEDED[name]})" for name in own)
        return warning(
            what + listed,
            "Use a token of the role admin or service, or accept that some checks are skipped.",
            missing=missing,
        )
    return ok(what + ", ".join(f"{name} ({NEEDED[name]})" for name in missing), missing=missing)


def held_permissions(whoami: Maybe[Document]) -> Maybe[frozenset[str]]:
    """The permissions of the token."""
    if isinstance(whoami, Missing):
        return whoami
    listed = whoami.get("permissions")
    if not isinstance(listed, list):
        return Missing("not reported by the server")
    return frozenset(str(name) for name in listed)
