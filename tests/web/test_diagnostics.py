"""Diagnostics over REST: ``/whoami`` and ``/diagnostics``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.web_server import Server, start, token
from wsserver import __version__
from wsserver.fd_limits import KEPT_BACK, descriptor_limit


@pytest.mark.gen_test
async def test_whoami_shows_what_is_in_force(server: Server) -> None:
    bearer = token("m", "manager", permissions=["stats:read", "audit:read"], organization_id="o1")
    body = (await server.get("/whoami", bearer=bearer)).json()
    assert (body["user_id"], body["role"], body["organization_id"]) == ("m", "manager", "o1")
    assert body["permissions"] == ["stats:read"]
    assert body["all_sessions"] is False
    assert body["version"] == __version__


@pytest.mark.parametrize(
    ("role", "claims", "opens_all"),
    [
        ("admin", {}, True),
        ("service", {}, False),
        ("user", {"sessions": "*"}, True),
        ("user", {"sessions": ["s1"]}, False),
        ("admin", {"permissions": []}, False),
    ],
)
@pytest.mark.gen_test
async def test_whoami_shows_whether_every_session_is_open(
    server: Server, role: str, claims: dict[str, object], opens_all: bool
) -> None:
    body = (await server.get("/whoami", bearer=token("u", role, **claims))).json()
    assert body["all_sessions"] is opens_all


@pytest.mark.gen_test
async def test_whoami_counts_ones_own_connections(server: Server) -> None:
    await server.connect("u1")
    await server.connect("u1")
    for user, count in (("u1", 2), ("u2", 0)):
        body = (await server.get("/whoami", bearer=token(user, "user"))).json()
        assert body["connections"] == count


@pytest.mark.gen_test
async def test_whoami_shows_a_proxy_and_whether_it_is_trusted(tmp_path: Path) -> None:
    forwarded = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    trusting = await start(tmp_path, trusted_proxies=("127.0.0.1",))
    try:
        body = (await trusting.get("/whoami", headers=forwarded)).json()
        assert (body["proxy"], body["remote_ip"], body["scheme"]) == (
            *("trusted", "192.0.2.7", "https"),
        )
    finally:
        await trusting.stop()


@pytest.mark.gen_test
async def test_a_proxy_that_is_not_trusted(server: Server) -> None:
    forwarded = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    body = (await server.get("/whoami", headers=forwarded)).json()
    assert (body["proxy"], body["remote_ip"], body["scheme"]) == ("untrusted", "127.0.0.1", "http")
    assert (await server.get("/whoami")).json()["proxy"] == "none"


@pytest.mark.gen_test
async def test_diagnostics_tell_limits_and_condition(server: Server) -> None:
    await server.connect("u1")
    body = (await server.get("/diagnostics")).json()
    limit = server.context.settings.max_connections
    assert (body["connections"], body["max_connections"]) == (1, limit)
    assert body["event_loop"] in ("asyncio", "uvloop")
    assert body["descriptors"]["limit"] == descriptor_limit()
    assert body["descriptors"]["kept_back"] == KEPT_BACK
    assert 0 < body["descriptors"]["open"] < descriptor_limit()
    assert body["heartbeat"] == {"interval_s": 30.0, "timeout_s": 60.0}
    assert body["database"]["file_bytes"] > 0
    assert body["streams"] == {"streams": 0, "messages": 0, "late": 0}
    assert body["conversations"]["participants"] == 0
    assert body["conversations"]["changes"] >= 0  # the start of the server is one
    assert [n for n, channel in body["channels"].items() if channel["configured"]] == ["websocket"]


@pytest.mark.gen_test
async def test_diagnostics_come_also_while_nothing_can_be_read(server: Server) -> None:
    await server.context.storage_statistics._database._readers.stop()
    answer = await server.get("/diagnostics")
    assert answer.status == 200
    body = answer.json()
    assert (body["streams"], body["channels"], body["database"]["free_bytes"]) == (None, None, None)
    assert body["conversations"] is None
    assert body["descriptors"]["open"] > 0
