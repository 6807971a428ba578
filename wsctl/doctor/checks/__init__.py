"""Table of all checks: a fixed id, and a pure function from facts to a finding."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wsctl.doctor.checks import network, server, storage, token, websocket
from wsctl.doctor.facts import Facts, SkipCheck
from wsctl.doctor.findings import Finding, skipped

Check = Callable[[Facts], Finding]

CHECKS: Mapping[str, Check] = {
    "config.address": network.address,
    "config.token": token.source,
    "network.dns": network.dns,
    "network.tcp": network.tcp,
    "network.tls": network.tls,
    "network.http": network.http,
    "network.clock": token.clock,
    "token.times": token.times,
    "token.accepted": token.accepted,
    "token.permissions": token.permissions,
    "proxy.upgrade": websocket.upgrade,
    "proxy.headers": websocket.proxy,
    "proxy.idle": websocket.idle,
    "socket.heartbeat": websocket.heartbeat,
    "socket.handshake": websocket.handshake,
    "socket.delivery": websocket.delivery,
    "server.connections": server.connections,
    "server.descriptors": server.descriptors,
    "server.loop": server.loop,
    "server.errors": server.errors,
    "server.nodes": server.nodes,
    "database.health": storage.database,
    "database.disk": storage.disk,
    "database.streams": storage.streams,
    "broker": storage.broker,
    "cluster.clocks": server.clocks,
    "cluster.settings": server.settings,
    "channel.websocket": storage.channel("websocket"),
    "channel.push": storage.channel("push"),
    "channel.sms": storage.channel("sms"),
    "channel.email": storage.channel("email"),
    "webhooks": storage.webhooks,
}
"""Id → check. Monitoring systems rely on the ids: add new ones, never remove one."""


def judge(facts: Facts) -> dict[str, Finding]:
    """The finding of every check, by id."""
    return {name: _finding(check, facts) for name, check in CHECKS.items()}


def _finding(check: Check, facts: Facts) -> Finding:
    try:
        return check(facts)
    except SkipCheck as skip:
        return skipped(skip.why, skip.do)
