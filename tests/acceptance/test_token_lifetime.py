"""§5, §11: tokens that expire, are renewed or revoked during a connection."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from tests.acceptance.conftest import Connect
from tests.support.running_server import RunningServer, Start
from tests.support.tokens import token
from tests.support.websocket_clients import Client, open_client


def unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize("v1", [True, False], ids=["v1", "plain"])
def test_the_warning_comes_immediately_when_less_than_a_minute_is_left(
    connect: Connect, v1: bool
) -> None:
    ends = time.time() + 30
    client = connect("u1", "/ws/chat/session/s1", v1=v1, sessions=["s1"], exp=ends)
    client.push("session_joined")
    warning = client.push("token_expiring")
    assert unix(warning["expires_at"]) == pytest.approx(ends, abs=0.01)
    assert client.rest() == []  # once


def test_no_warning_while_there_is_time(connect: Connect) -> None:
    assert connect("u1", exp_in=120).rest() == []


def test_an_expired_token_ends_the_connection(start: Start, connect: Connect) -> None:
    server = start(jwt_leeway_s=0)
    ends = time.time() + 1.2
    client = connect("u1", to=server, exp=ends)
    code, reason = client.closed()
    assert code == 4010
    assert "expired" in reason
    assert ends <= time.time() < ends + 2
    assert client.pushes[0]["type"] == "token_expiring"


def test_clocks_may_differ_by_the_leeway(start: Start, connect: Connect) -> None:
    server = start(jwt_leeway_s=30)
    now = time.time()
    late = connect("late", to=server, exp=now - 20)
    early = connect("early", to=server, nbf=now + 20, iat=now + 20)
    for client in (late, early):
        assert client.call("ping")["type"] == "pong"
    late.push("token_expiring")  # it is not closed either before the leeway is over
    assert open_client(server, bearer=token("u1", exp_in=-31)).closed()[0] == 4500
    assert open_client(server, bearer=token("u1", nbf=now + 60)).closed()[0] == 4500


def test_a_new_token_goes_on_where_the_old_one_ends(start: Start, connect: Connect) -> None:
    server = start(jwt_leeway_s=0)
    client = connect("u1", to=server, exp_in=1.2, sessions=["s1", "s2"])
    client.push("token_expiring")
    client.join("s1")
    client.join("s2")
    ends = time.time() + 600
    answer = client.call("refresh_token", token=token("u1", exp=ends, sessions=["s1", "s3"]))
    assert answer["type"] == "token_refreshed"
    assert unix(answer["expires_at"]) == pytest.approx(ends, abs=0.01)
    # What the new token no longer allows is over at once.
    assert client.push("session_left")["session_id"] == "s2"
    assert client.code("join_session", session_id="s2") == "forbidden"
    assert client.join("s3")["session_id"] == "s3"
    other = connect("u2", to=server, exp_in=1.5)
    assert other.closed()[0] == 4010  # by then the first one's old token is over too
    assert client.call("ping")["type"] == "pong"


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ("nonsense", "token_invalid"),
        (token("u1", key="x" * 32), "token_invalid"),
        (token("u1", exp_in=-5), "token_expired"),
        (token("u1", exp_in=None), "token_invalid"),
    ],
    ids=["nonsense", "other-key", "expired", "no-exp"],
)
def test_a_bad_new_token_leaves_the_old_one_in_force(connect: Connect, bad: str, code: str) -> None:
    client = connect("u1", exp_in=600)
    assert client.code("refresh_token", token=bad) == code
    assert client.call("ping")["type"] == "pong"


def test_another_persons_token_ends_the_connection(connect: Connect) -> None:
    client = connect("u1")
    client.send("refresh_token", ref=1, token=token("u2"))
    assert client.closed()[0] == 4500


def test_a_bound_connection_ends_with_its_access(connect: Connect) -> None:
    client = connect("u1", "/ws/chat/session/s1", sessions=["s1"])
    client.send("refresh_token", token=token("u1", sessions=["s2"]))
    assert client.closed()[0] == 4503


def test_a_monitor_ends_with_its_permission(connect: Connect) -> None:
    client = connect("u1", "/ws/admin/monitor", role="admin")
    client.send("refresh_token", token=token("u1", role="user"))
    assert client.closed()[0] == 4503


# Revocation


def closed_within_a_second(clients: list[Client]) -> None:
    started = time.monotonic()
    for client in clients:
        code, reason = client.closed()
        assert code == 4505
        assert reason
    assert time.monotonic() - started < 1


def test_revoking_a_jti_closes_it_and_outlives_the_server(start: Start, connect: Connect) -> None:
    server = start()
    revoked = [token("u1", jti="leaked", iat=time.time()), token("u2", jti="leaked")]
    fine = connect("u1", to=server, jti="other")
    victims = [connect(to=server, bearer=bearer) for bearer in revoked]
    ticket = server.post("/tickets", bearer=revoked[0]).ok["ticket"]
    answer = server.post("/tokens/revoke", {"jti": "leaked"}).ok
    assert answer["disconnected"] == 2
    closed_within_a_second(victims)
    assert fine.call("ping")["type"] == "pong"
    assert fine.code("refresh_token", token=revoked[0]) == "token_revoked"
    assert open_client(server, f"/ws/chat?ticket={ticket}").closed()[0] == 4505

    fine.close()
    server.stop()
    again = start(folder=server.folder)
    for bearer in revoked:
        assert open_client(again, bearer=bearer).closed()[0] == 4505
        assert again.post("/tickets", bearer=bearer).problem == (401, "token_revoked")
        assert again.request("GET", "/ws/chat", bearer=bearer).problem == (401, "token_revoked")
    connect("u1", to=again, jti="other")


def test_revoking_a_user_refuses_what_was_issued_before(start: Start, connect: Connect) -> None:
    server = start()
    now = time.time()
    old = [token("mallory", iat=now - 60), token("mallory"), token("mallory", iat=int(now))]
    victims = [connect(to=server, bearer=bearer) for bearer in old]
    bystander = connect("alice", to=server)
    assert server.post("/tokens/revoke", {"user_id": "mallory"}).ok["disconnected"] == 3
    closed_within_a_second(victims)
    assert bystander.call("ping")["type"] == "pong"
    newer = token("mallory", iat=time.time() + 1)
    connect(to=server, bearer=newer).close()

    bystander.close()
    server.stop()
    again = start(folder=server.folder)
    for bearer in old:
        assert open_client(again, bearer=bearer).closed()[0] == 4505
    connect(to=again, bearer=newer)


def test_revoking_wants_exactly_one_of_the_two(server: RunningServer) -> None:
    for body in ({}, {"jti": "a", "user_id": "b"}, {"jti": ""}, {"user_id": "a b"}):
        assert server.post("/tokens/revoke", body).problem == (422, "validation_failed")
