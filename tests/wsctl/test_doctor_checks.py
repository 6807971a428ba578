"""What each check of ``wsctl doctor`` says of which facts; nothing is asked of anybody here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from wsctl.commands.doctor import exit_status
from wsctl.doctor.checks import CHECKS, judge
from wsctl.doctor.checks.token import NEEDED
from wsctl.doctor.facts import (
    Certificate,
    Configuration,
    Delivery,
    Endpoint,
    Facts,
    IdleTest,
    Missing,
    Name,
    Reply,
    Tls,
    Upgrade,
)
from wsctl.doctor.findings import State, worst
from wsctl.times import rfc3339

NOW = 1_700_000_000.0
DAY_S = 86_400.0
GIB = 1024.0**3

HEALTH: dict[str, Any] = {
    "status": "ok",
    "checks": {
        "database": {"ok": True, "queued": 0, "lost_writes": 0, "file_bytes": 7_000_000,
                     "last_commit_ms": 1.5, "last_error": None},
        "broker": {"ok": True, "kind": "memory", "nodes": 1},
        "connections": {"ok": True, "open": 10, "limit": 50_000},
        "loop": {"ok": True, "lag_ms": 1.0},
        "errors": {"ok": True, "threshold": 0.05, "window_s": 60.0},
        "webhooks": {"ok": True, "waiting": 0, "failed": 0, "dropped": 0},
    },
}  # fmt: skip
WHOAMI: dict[str, Any] = {
    "user_id": "ops", "role": "admin", "organization_id": None, "permissions": sorted(NEEDED),
    "all_sessions": True, "connections": 0, "limits": {"connections": 5},
    "heartbeat": {"interval_s": 30.0, "timeout_s": 60.0}, "remote_ip": "192.0.2.7",
    "proxy": "none", "scheme": "https", "version": "0.1.0", "server_time": rfc3339(NOW),
}  # fmt: skip
CHANNEL = {"configured": True, "waiting": 0, "due_since": None, "failed": 0, "not_configured": 0}
DIAGNOSTICS: dict[str, Any] = {
    "max_connections": 50_000,
    "descriptors": {"open": 100, "limit": 65_536, "kept_back": 64},
    "database": {
        "kind": "sqlite",
        "file_bytes": 7_000_000,
        "free_bytes": 40 * GIB,
        "total_bytes": 100 * GIB,
    },
    "clocks": {"nodes": {"n1": 0.0, "n2": -0.2}, "redis": 0.1, "database": None},
    "differing_settings": {},
    "streams": {"streams": 3, "messages": 12, "late": 0},
    "channels": dict.fromkeys(("websocket", "push", "sms", "email"), CHANNEL),
}
CERTIFICATE = Certificate(("chat.example.com",), "R3", NOW - 60 * DAY_S, NOW + 30 * DAY_S, False)


def reply(document: Any, status: int = 200, **headers: str) -> Reply:
    return Reply(status, headers, document, 0.002, NOW)


def well() -> Facts:
    """A server of which everything is known, and all of it is well."""
    return Facts(
        Configuration("https://chat.example.com", "WSCTL_URL", "WSCTL_TOKEN"),
        claims={"exp": NOW + 3600, "iat": NOW - 60},
        name=Name(("192.0.2.1",), 0.01),
        endpoints=(Endpoint("192.0.2.1", 0.01),),
        tls=Tls(0.02, "TLS 1.3", "", CERTIFICATE),
        health=reply(HEALTH),
        whoami=reply(WHOAMI),
        diagnostics=reply(DIAGNOSTICS),
        nodes=reply({"nodes": [node("n1"), node("n2")]}),
        upgrade=Upgrade(0.01, subprotocol="wsserver.v1"),
        greeting={"heartbeat_interval": 30, "heartbeat_timeout": 60, "inbox": {"pending": 0}},
        greeting_s=0.02,
        round_trip_s=0.001,
        delivery=Delivery(True, 0.002, 0.003, 0.004, "delivered"),
        idle=IdleTest(35, 35, 30, 1),
        checked_at=NOW,
    )


def health(name: str, **changes: Any) -> Reply:
    checks = HEALTH["checks"]
    return reply({**HEALTH, "checks": {**checks, name: {**checks[name], **changes}}})


def whoami(**changes: Any) -> Reply:
    return reply({**WHOAMI, **changes})


def node(name: str, state: str = "up", version: str = "1.0") -> dict[str, Any]:
    return {"node": name, "state": state, "version": version}


def diagnostics(name: str, **changes: Any) -> Reply:
    return reply({**DIAGNOSTICS, name: {**DIAGNOSTICS[name], **changes}})


def differing(**by_node: list[str]) -> Reply:
    return diagnostics("differing_settings", **by_node)


def channel(**changes: Any) -> Reply:
    return diagnostics("channels", email={**CHANNEL, **changes})


def configuration(**changes: Any) -> Configuration:
    return replace(well().configuration, **changes)


def untrusted(fault: str = "certificate has expired", **changes: Any) -> Tls:
    return Tls(0.02, "", fault, replace(CERTIFICATE, **changes))


PROBLEM = {"code": "token_invalid", "status": 401}
UPGRADE_LOST = Upgrade(0.01, 426, "upgrade_required")

CASES: list[tuple[str, dict[str, Any], str, str]] = [
    # id, facts that differ from those of a server that is well, state, words of the finding
    ("config.token", {"configuration": configuration(token_from="")}, "failed", "no token"),
    ("config.token", {"configuration": configuration(token_from="--token")}, "warning", "users of"),
    ("config.token", {"configuration": configuration(token_fault="bad")}, "failed", "bad"),
    ("network.dns", {"name": Missing("Name or service not known")}, "failed", "not known"),
    ("network.dns", {"name": Name(("192.0.2.1",), 3.0)}, "warning", "name servers"),
    ("network.tcp", {"endpoints": (Endpoint("::1", 0.1, "refused"),)}, "failed", "firewall"),
    ("network.tcp", {"endpoints": (Endpoint("::1", 1, "silent"), Endpoint("a", 1))},
     "warning", "::1: silent"),
    ("network.tcp", {"endpoints": Missing("no name")}, "skipped", "no name"),
    ("network.tls", {"configuration": configuration(url="http://h")}, "warning", "can read the"),
    ("network.tls", {"configuration": configuration(url="http://127.0.0.1")}, "ok", "not needed"),
    ("network.tls", {"tls": Tls(0.1, fault="wrong version number")}, "failed", "no TLS"),
    ("network.tls", {"tls": untrusted(not_after=NOW - DAY_S)}, "failed", "expired 1 d ago"),
    ("network.tls", {"tls": untrusted(not_before=NOW + 9)}, "failed", "not valid before"),
    ("network.tls", {"tls": untrusted("x", is_self_signed=True)}, "failed", "self-signed"),
    ("network.tls", {"tls": untrusted("Hostname mismatch")}, "failed", "issued for chat.example"),
    ("network.tls", {"tls": untrusted("unable to get")}, "failed", "fullchain"),
    ("network.tls", {"tls": Tls(0, "TLS 1.3", "", replace(CERTIFICATE, not_after=NOW + DAY_S))},
     "failed", "valid for 1 d"),
    ("network.tls", {"tls": Tls(0, "T", "", replace(CERTIFICATE, not_after=NOW + 20 * DAY_S))},
     "warning", "Renew"),
    ("network.http", {"health": Missing("no answer in time")}, "failed", "does not answer"),
    ("network.http", {"health": reply(None, 200, server="Apache")}, "failed", "Apache"),
    ("network.http", {"health": reply(None, 502)}, "failed", "behind this proxy"),
    ("network.http", {"health": reply({"code": "host_forbidden"}, 403)}, "failed", "allowed_hosts"),
    ("network.http", {"health": reply({**HEALTH, "status": "draining"}, 503)}, "failed", "Wait"),
    ("network.clock", {"whoami": whoami(server_time=rfc3339(NOW + 30))}, "warning", "30 s ahead"),
    ("network.clock", {"whoami": whoami(server_time=rfc3339(NOW - 3600))}, "failed", "1 h behind"),
    ("network.clock", {"whoami": Missing("-"),
                       "health": reply(HEALTH, date="Tue, 14 Nov 2023 22:13:20 GMT")},
     "ok", "0.5 s"),
    ("network.clock", {"whoami": Missing("-"), "health": reply(HEALTH, date="tomorrow")},
     "skipped", "not reported"),
    ("token.times", {"claims": {"exp": NOW - 60}}, "failed", "expired 1 min ago"),
    ("token.times", {"claims": {"exp": NOW + 60}}, "warning", "valid for 1 min"),
    ("token.times", {"claims": {"exp": NOW + 60}, "configuration": configuration(is_renewed=True)},
     "ok", "valid for 1 min"),
    ("token.times", {"claims": {}}, "failed", "no exp"),
    ("token.times", {"claims": {"exp": True}}, "failed", "no exp"),
    ("token.times", {"claims": {"exp": NOW + 999, "nbf": NOW + 90}}, "failed", "not valid before"),
    ("token.times", {"claims": {"exp": NOW + 999, "iat": NOW + 60}}, "warning", "in the future"),
    ("token.times", {"claims": Missing("not a JWT")}, "failed", "not a JWT"),
    # an hour ahead of us: what we would still take for valid is over there
    ("token.times", {"whoami": whoami(server_time=rfc3339(NOW + 3700))}, "failed", "expired"),
    ("token.accepted", {"whoami": reply(PROBLEM, 401)}, "failed", "token_invalid"),
    ("token.accepted", {"whoami": reply({"code": "token_revoked"}, 401)}, "failed", "revoked"),
    ("token.accepted", {"whoami": reply({"code": "not_found"}, 404)}, "skipped", "older"),
    ("token.permissions", {"whoami": whoami(permissions=[])}, "warning", "stats:read"),
    ("token.permissions", {"whoami": whoami(permissions=["stats:read", "messages:publish"])},
     "ok", "2 of 12"),
    ("proxy.upgrade", {"upgrade": UPGRADE_LOST}, "failed", "plain HTTP works and WebSockets do"),
    ("proxy.upgrade", {"upgrade": Upgrade(0.01, 426)}, "failed", "without Upgrade"),
    ("proxy.upgrade", {"upgrade": Upgrade(0, 401, "token_missing")}, "failed", "without Upgrade"),
    ("proxy.upgrade", {"upgrade": Upgrade(0, 403, "host_forbidden")}, "failed", "allowed_hosts"),
    ("proxy.upgrade", {"upgrade": Upgrade(0, 502)}, "failed", "answers 502"),
    ("proxy.upgrade", {"upgrade": Upgrade(0, fault="hung up")}, "failed", "hung up"),
    ("proxy.upgrade", {"upgrade": Upgrade(0)}, "failed", "Sec-WebSocket-Protocol"),
    ("proxy.headers", {"whoami": whoami(proxy="untrusted")}, "warning", "trusted_proxies"),
    ("proxy.headers", {"whoami": whoami(proxy="trusted", scheme="http")}, "warning", "X-Forw"),
    ("proxy.headers", {"whoami": whoami(proxy="trusted")}, "ok", "192.0.2.7"),
    ("proxy.idle", {"idle": Missing("not tested")}, "skipped", "--idle 37s"),
    ("proxy.idle", {"idle": IdleTest(5, 5, 5, 0)}, "skipped", "too short"),
    ("proxy.idle", {"idle": IdleTest(35, 10, 10, 0, "cut")}, "failed", "1 min 30 s"),
    ("proxy.idle", {"idle": IdleTest(35, 10, 10, 0, "closed with 1012", 1012)}, "failed", "1012"),
    ("socket.heartbeat", {"greeting": {"heartbeat_interval": 60, "heartbeat_timeout": 30}},
     "failed", "twice"),
    ("socket.handshake", {"greeting": Missing("closed with 4504: too many")}, "failed", "4504"),
    ("socket.handshake", {"greeting": Missing("closed with 1013")}, "failed", "max_connections"),
    ("socket.handshake", {"greeting": Missing("there is no WebSocket")}, "skipped", "no WebSocket"),
    ("socket.handshake", {"greeting_s": 2.0}, "warning", "overloaded"),
    ("socket.handshake", {"greeting": {"inbox": {"pending": 3}}}, "ok", "3 messages wait"),
    ("socket.delivery", {"delivery": Missing("refused: storage_full")}, "failed", "storage_full"),
    ("socket.delivery", {"delivery": Missing("no permission")}, "skipped", "no permission"),
    ("socket.delivery", {"delivery": Delivery(True, 0.1, None)}, "failed", "did not arrive"),
    ("socket.delivery", {"delivery": Delivery(True, 0.1, 0.2)}, "failed", "ack"),
    ("socket.delivery", {"delivery": Delivery(True, 0, 0, 0, "sent")}, "warning", "says sent"),
    ("socket.delivery", {"delivery": Delivery(True, 2, 3, 3)}, "warning", "disk"),
    ("socket.delivery", {"delivery": Delivery(False, 0, 0, 0)}, "ok", "a live message"),
    ("server.connections", {"health": health("connections", ok=False, open=50_000)},
     "failed", "full"),
    ("server.connections", {"health": health("connections", open=49_000)}, "warning", "49,000"),
    ("server.descriptors", {"diagnostics": diagnostics("descriptors", limit=1024)},
     "warning", "about 960 connections"),
    ("server.descriptors", {"diagnostics": diagnostics("descriptors", open=65_472)},
     "failed", "kernel's queue"),
    ("server.descriptors", {"diagnostics": diagnostics("descriptors", open=60_000)},
     "warning", "LimitNOFILE"),
    ("server.descriptors", {"diagnostics": diagnostics("descriptors", limit=2**31)},
     "ok", "without a limit"),
    ("server.descriptors", {"diagnostics": reply({"code": "forbidden"}, 403)},
     "skipped", "stats:read"),
    ("server.loop", {"health": health("loop", ok=False, lag_ms=1500.0)}, "failed", "1,500.0 ms"),
    ("server.errors", {"health": health("errors", ok=False)}, "failed", "5.0%"),
    ("server.nodes", {"nodes": reply({"nodes": [node("n1"), node("n2", "draining")]})},
     "ok", "draining: n2"),
    ("server.nodes", {"nodes": reply({"nodes": [node("n1"), node("n2", "lost", "0.9")]})},
     "warning", "lost: n2"),
    ("server.nodes", {"nodes": reply({"nodes": [node("n1"), node("n2", version="1.1")]})},
     "warning", "1.0, 1.1"),
    ("server.nodes", {"nodes": reply({"nodes": [node("n1")], "unreachable": ["n2"]})},
     "failed", "no answer from n2"),
    ("server.nodes", {"nodes": reply({"code": "forbidden"}, 403)}, "skipped", "connections:read"),
    ("database.health", {"health": health("database", ok=False, last_error="disk I/O error")},
     "failed", "disk I/O error"),
    ("database.health", {"health": health("database", lost_writes=1)}, "warning", "1 write lost"),
    ("database.disk", {"diagnostics": diagnostics("database", free_bytes=1e6)}, "failed", "free"),
    ("database.disk", {"diagnostics": diagnostics("database", free_bytes=5e8)}, "warning", "Free"),
    ("database.disk", {"diagnostics": diagnostics("database", free_bytes=None)}, "skipped", "read"),
    ("database.disk", {"diagnostics": diagnostics("database", kind="postgresql")},
     "skipped", "PostgreSQL"),
    ("database.health", {"health": health("database", kind="postgresql")}, "ok", "PostgreSQL, "),
    ("database.streams", {"diagnostics": diagnostics("streams", late=4)}, "warning", "prune"),
    ("database.streams", {"diagnostics": reply({**DIAGNOSTICS, "streams": None})},
     "skipped", "cannot"),
    ("broker", {"health": health("broker", ok=False, kind="redis")}, "failed", "redis_url"),
    ("broker", {"health": health("broker", ok=False, kind="redis", last_error="it is away")},
     "failed", "redis: it is away"),
    ("cluster.clocks", {"diagnostics": diagnostics("clocks", nodes={"n1": 0.0, "n2": -3600.25})},
     "warning", "node n2 by -3,600.2 s"),
    ("cluster.clocks", {"diagnostics": diagnostics("clocks", redis=5.5, database=6.0)},
     "warning", "Redis by +5.5 s, PostgreSQL by +6.0 s"),
    ("cluster.clocks", {"diagnostics": diagnostics("clocks", nodes={}, redis=None)},
     "skipped", "all on the server's machine"),
    ("cluster.settings", {"diagnostics": differing(n2=["jwt_secret", "edit_window_s"])},
     "failed", "n2: edit_window_s, jwt_secret"),
    ("cluster.settings", {"diagnostics": differing(n2=["stream_limit"])}, "warning", "Copy"),
    ("cluster.settings", {"diagnostics": differing(n2=["data_dir/files"])},
     "warning", "file_store_url"),
    ("cluster.settings", {"diagnostics": reply({"max_connections": 9})},
     "skipped", "not reported"),
    ("channel.email", {"diagnostics": channel(configured=False)}, "skipped", "not_configured"),
    ("channel.email", {"diagnostics": channel(configured=False, not_configured=2)},
     "skipped", "2 in 24 h"),
    ("channel.email", {"diagnostics": channel(failed=3)}, "warning", "3 given up"),
    ("channel.email", {"diagnostics": channel(waiting=9, due_since=rfc3339(NOW - 3600))},
     "warning", "due for 1 h"),
    ("channel.email", {"diagnostics": channel(waiting=9, due_since=rfc3339(NOW - 5))}, "ok", "9"),
    ("webhooks", {"health": health("webhooks", failed=1)}, "warning", "1 given up"),
    ("webhooks", {"health": health("webhooks", ok=False)}, "failed", "webhooks.rst"),
    ("webhooks", {"health": reply({"status": "ok", "checks": {}})}, "skipped", "not configured"),
]  # fmt: skip


def test_all_is_well_where_all_is_well() -> None:
    findings = judge(well())
    assert {name: f.what for name, f in findings.items() if f.state is not State.OK} == {}
    assert [name for name, finding in findings.items() if finding.do] == []


@pytest.mark.parametrize(
    ("check", "changes", "state", "words"), CASES, ids=lambda value: str(value)[:40]
)
def test_a_fault_is_found_and_what_to_do_is_said(
    check: str, changes: dict[str, Any], state: str, words: str
) -> None:
    finding = judge(replace(well(), **changes))[check]
    assert finding.state == state, finding
    assert words in f"{finding.what} {finding.do}", finding
    if finding.state in (State.WARNING, State.FAILED):
        assert finding.do.endswith((".", "failed", "pending", "FILE")), finding.do


def test_every_check_has_a_case_where_it_finds_something() -> None:
    found = {check for check, _, state, _ in CASES if state in ("warning", "failed")}
    alike = {"channel.websocket", "channel.push", "channel.sms"}
    assert set(CHECKS) - found - alike == {"config.address"}


def test_nothing_known_is_nothing_said_against_the_server() -> None:
    """A check that cannot run is skipped, and says why; none fails for another one's reason."""
    nothing = Missing("the cat has it")
    facts = Facts(well().configuration, checked_at=NOW)
    for name in vars(facts):
        if isinstance(getattr(facts, name), Missing):
            setattr(facts, name, nothing)
    findings = judge(facts)
    own = {"config.address", "config.token", "network.dns", "token.times"}
    for name, finding in findings.items():
        if name not in own:
            assert (finding.state, bool(finding.what)) == (State.SKIPPED, True), name


def test_the_worst_counts() -> None:
    assert worst([State.OK, State.SKIPPED]) is State.OK
    assert worst([State.OK, State.WARNING, State.SKIPPED]) is State.WARNING
    assert worst([State.FAILED, State.WARNING]) is State.FAILED


@pytest.mark.parametrize(
    ("bad", "state", "fail_on", "status"),
    [
        (None, "", "warning", 0),
        ("webhooks", "warning", "warning", 1),
        ("webhooks", "warning", "failed", 0),
        ("webhooks", "failed", "failed", 1),
        ("network.tcp", "failed", "failed", 3),
        ("token.accepted", "failed", "warning", 4),
    ],
)
def test_the_exit_status(bad: str | None, state: str, fail_on: str, status: int) -> None:
    states = dict.fromkeys(CHECKS, "ok") | ({bad: state} if bad else {})
    assert exit_status(states, fail_on) == status
