"""Checks of the WebSocket: upgrade, handshake, heartbeat, idle time-out, delivery, proxy."""

from __future__ import annotations

from wsctl.doctor.facts import (
    Document,
    Facts,
    IdleTest,
    Missing,
    Reply,
    Upgrade,
    answered,
    needed,
    number,
)
from wsctl.doctor.findings import Finding, failed, ok, skipped, warning
from wsctl.formatting import ms, plural
from wsctl.times import readable
from wsctl.websocket.connection import SUBPROTOCOL

_SLOW_S = 1.0
_UPGRADE_HOW = (
    "Let the proxy forward it (nginx: proxy_http_version 1.1; proxy_set_header Upgrade"
    " $http_upgrade; proxy_set_header Connection $connection_upgrade)."
)
_AUTHORITY = ("host_forbidden", "origin_forbidden")


def upgrade(facts: Facts) -> Finding:
    """Whether WebSockets pass the proxies."""
    found = needed(facts.upgrade)
    if not found.is_through:
        return _stopped(facts, found)
    if found.subprotocol != SUBPROTOCOL:
        return failed(
            "WebSockets work, but without the header Sec-WebSocket-Protocol",
            "Let the proxy forward Sec-WebSocket-Protocol: acknowledgements depend on it.",
        )
    return ok(f"WebSockets work, opened in {ms(found.seconds)}", seconds=found.seconds)


def _stopped(facts: Facts, found: Upgrade) -> Finding:
    is_http_well = isinstance(facts.health, Reply) and facts.health.status in (200, 503)
    plain = "plain HTTP works and WebSockets do not: " if is_http_well else ""
    if found.status is None:
        return failed(f"{plain}{found.fault}", _UPGRADE_HOW)
    if found.status == 426 or (found.code and found.code not in _AUTHORITY):
        what = f"{plain}the request arrives without Upgrade ({found.status})"
        return failed(what, _UPGRADE_HOW, status=found.status, code=found.code)
    if found.code in _AUTHORITY:
        do = "Add the name to allowed_hosts, or let the proxy forward Host."
        return failed(f"{plain}{found.code}", do, status=found.status, code=found.code)
    what = f"{plain}a proxy answers {found.status}"
    return failed(what, _UPGRADE_HOW, status=found.status)


def handshake(facts: Facts) -> Finding:
    """Whether the server accepts the token, and how fast."""
    greeting = facts.greeting
    if isinstance(greeting, Missing):
        if isinstance(facts.upgrade, Upgrade) and greeting.why.startswith("closed with"):
            return _turned_away(greeting.why)
        return skipped(greeting.why)
    took = facts.greeting_s
    pending = number(greeting, "inbox", "pending") or 0
    what = f"accepted after {ms(took)}"
    data: Document = {"seconds": took, "inbox_pending": int(pending)}
    if isinstance(facts.round_trip_s, float):
        what += f", a ping takes {ms(facts.round_trip_s)}"
        data = {**data, "ping_s": facts.round_trip_s}
    if pending:
        what += f"; {plural(pending, 'message')} wait for this user"
    if took > _SLOW_S:
        return warning(what, "Check whether the server or the network is overloaded.", **data)
    return ok(what, **data)


def _turned_away(why: str) -> Finding:
    do = "Look up the close code in docs/protocol.rst, and check the server's log."
    if "4504" in why:
        do = "Close one of this user's connections, or raise max_connections_per_user."
    elif "1013" in why:
        do = "Wait until it is back, or raise max_connections if it is full."
    return failed(f"the server {why}", do)


def delivery(facts: Facts) -> Finding:
    """Whether a published message is delivered and acknowledged."""
    found = facts.delivery
    if isinstance(found, Missing):
        if found.why.startswith("refused"):
            return failed(
                f"publishing was {found.why}",
                "See the check of the database, and the server's log.",
            )
        return skipped(found.why)
    kept = "kept" if found.is_kept else "live"
    times = {
        "kept": found.is_kept,
        "published_s": found.answered_s,
        "received_s": found.received_s,
        "acknowledged_s": found.acknowledged_s,
        "state": found.state,
    }
    if found.received_s is None:
        what = f"the server accepted a {kept} message, but it did not arrive"
        return failed(what, "Ask where it went with wsctl trace, and look at the broker.", **times)
    if found.acknowledged_s is None:
        what = f"a {kept} message arrived after {ms(found.received_s)}, its ack was not answered"
        return failed(what, "Check the server's log for this connection.", **times)
    what = (
        f"a {kept} message was accepted in {ms(found.answered_s)}, arrived after"
        f" {ms(found.received_s)}, was acknowledged after {ms(found.acknowledged_s)}"
    )
    if found.state not in (None, "delivered", "read"):
        do = "Check with wsctl trace why the acknowledgement has no effect."
        return warning(f"{what}; its trace says {found.state}", do, **times)
    if found.received_s > _SLOW_S:
        do = "Look at the database's disk, the event loop's lag, and whether a proxy buffers."
        return warning(what, do, **times)
    return ok(what, **times)


def heartbeat(facts: Facts) -> Finding:
    """Whether heartbeat interval and time-out fit."""
    interval, timeout = needed(_heartbeat(facts))
    what = f"the server pings every {readable(interval)}, gives up after {readable(timeout)}"
    data = {"interval_s": interval, "timeout_s": timeout}
    if timeout <= interval:
        do = "Set heartbeat_timeout_s to at least twice heartbeat_interval_s."
        return failed(what, f"{do} Idle clients are disconnected before they are pinged.", **data)
    return ok(what, **data)


def _heartbeat(facts: Facts) -> tuple[float, float] | Missing:
    if not isinstance(facts.greeting, Missing):
        interval = number(facts.greeting, "heartbeat_interval")
        timeout = number(facts.greeting, "heartbeat_timeout")
    else:
        whoami = answered(facts.whoami)
        if isinstance(whoami, Missing):
            return whoami
        interval = number(whoami, "heartbeat", "interval_s")
        timeout = number(whoami, "heartbeat", "timeout_s")
    if interval is None or timeout is None:
        return Missing("heartbeat not reported by the server")
    return interval, timeout


def idle(facts: Facts) -> Finding:
    """Whether an idle connection stays open until the next heartbeat."""
    found = facts.idle
    beat = _heartbeat(facts)
    interval = None if isinstance(beat, Missing) else beat[0]
    if isinstance(found, Missing):
        if interval is None:
            return skipped(found.why)
        return skipped(
            f"{found.why}; proxies must keep connections open that are idle for less"
            f" than {readable(interval)}",
            f"Test it with: wsctl doctor --idle {round(interval * 1.2) + 1}s",
        )
    data = {
        "lasted_s": round(found.lasted_s, 3),
        "longest_silence_s": round(found.longest_s, 3),
        "pings": found.pings,
        "close_code": found.code,
    }
    if found.end:
        return _cut(found, interval, data)
    if found.pings == 0:
        return skipped(
            f"open for {readable(found.lasted_s)}, which is too short to tell"
            + (f": the server pings every {readable(interval)}" if interval else ""),
            f"Wait longer with --idle {round((interval or 30) * 1.2) + 1}s",
        )
    return ok(
        f"open for {readable(found.lasted_s)}, idle for up to {readable(found.longest_s)},"
        f" with {plural(found.pings, 'ping')}",
        **data,
    )


def _cut(found: IdleTest, interval: float | None, data: Document) -> Finding:
    if found.code is not None:
        what = f"the server ended it after {readable(found.lasted_s)}: {found.end}"
        return failed(what, "Look up the close code in docs/protocol.rst.", **data)
    what = f"a proxy closed it after {readable(found.longest_s)} without traffic"
    if interval is None:
        return failed(what, "Raise its idle timeout (nginx: proxy_read_timeout 90s).", **data)
    return failed(
        f"{what}, and the server pings every {readable(interval)}",
        f"Raise its idle timeout to {readable(3 * interval)} (nginx: proxy_read_timeout,"
        " proxy_send_timeout), or lower heartbeat_interval_s.",
        **data,
    )


def proxy(facts: Facts) -> Finding:
    """Whether the server sees the address and scheme of its clients."""
    found = needed(answered(facts.whoami))
    kind, ip, scheme = found.get("proxy"), found.get("remote_ip"), found.get("scheme")
    is_tls = facts.configuration.url.startswith("https:")
    data = {"proxy": kind, "remote_ip": ip, "scheme": scheme, "via": _via(facts)}
    if kind == "untrusted":
        return warning(
            f"a proxy is not trusted: every client appears as {ip}",
            "Name its address in trusted_proxies, so that X-Forwarded-For counts.",
            **data,
        )
    if is_tls and scheme != "https":
        return warning(
            "the server does not see the proxy's TLS: pages of this address are refused"
            " unless allowed_origins names them",
            "Let the proxy set X-Forwarded-Proto, and name its address in trusted_proxies.",
            **data,
        )
    if kind == "trusted":
        return ok(f"trusted proxy; the server sees this machine as {ip}", **data)
    return ok(f"none detected; the server sees this machine as {ip}", **data)


def _via(facts: Facts) -> str | None:
    """The proxy named by an answer's headers."""
    if isinstance(facts.health, Missing):
        return None
    return facts.health.headers.get("via") or facts.health.headers.get("server")
