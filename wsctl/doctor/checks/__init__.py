"""All checks: a name that never changes, and a pure function from the facts to a finding."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wsctl.doctor.checks import reach, server, socket, stored, token
from wsctl.doctor.facts import Facts
from wsctl.doctor.findings import Finding

Check = Callable[[Facts], Finding]

CHECKS: Mapping[str, Check] = {
    "config.address": reach.address,
    "config.token": token.source,
    "network.dns": reach.dns,
    "network.tcp": reach.tcp,
    "network.tls": reach.tls,
    "network.http": reach.http,
    "network.clock": token.clock,
    "token.times": token.times,
    "token.accepted": token.accepted,
    "token.permissions": token.permissions,
    "proxy.upgrade": socket.upgrade,
    "proxy.headers": socket.proxy,
    "proxy.idle": socket.idle,
    "socket.heartbeat": socket.heartbeat,
    "socket.handshake": socket.handshake,
    "socket.delivery": socket.delivery,
    "server.connections": server.connections,
    "server.descriptors": server.descriptors,
    "server.loop": server.loop,
    "server.errors": server.errors,
    "database.health": stored.database,
    "database.disk": stored.disk,
    "database.streams": stored.streams,
    "broker": stored.broker,
    "channel.websocket": stored.channel("websocket"),
    "channel.push": stored.channel("push"),
    "channel.sms": stored.channel("sms"),
    "channel.email": stored.channel("email"),
    "webhooks": stored.webhooks,
}
"""Id → check. Monitoring systems rely on the ids: more may come, none goes."""


def judge(facts: Facts) -> dict[str, Finding]:
    """What every check says of the facts, by id."""
    return {name: check(facts) for name, check in CHECKS.items()}
