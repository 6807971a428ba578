"""``Client`` against a real server: publishing, notifying, refusals, any other route."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.running_server import RunningServer
from tests.support.sdk_transport import MovingTransport
from tests.support.waiting import PATIENCE_S
from tests.support.websocket_clients import Client as Socket
from tests.support.websocket_clients import open_client
from wsserver.sdk import (
    EVERYONE,
    BadRequest,
    Client,
    Forbidden,
    Message,
    NotFound,
    Published,
    Refused,
    RetryPolicy,
    TokenSigner,
    Unauthorized,
    ValidationFailed,
    to_connection,
    to_organization,
    to_role,
    to_session,
    to_user,
)
from wsserver.sdk.calls import segment


@pytest.mark.parametrize("user_id", [".", ".."])
def test_an_id_that_no_url_can_hold_is_not_sent(user_id: str) -> None:
    with pytest.raises(ValueError, match="no URL can hold it"):
        segment(user_id)


def test_a_message_reaches_its_session(
    client: Client, server: RunningServer, signer: TokenSigner
) -> None:
    socket = connected(server, signer.sign("ann", sessions=["s1"]))
    socket.call("join_session", session_id="s1")
    sent = client.publish(to_session("s1"), "new_message", content="Hello")
    push = socket.await_push("new_message")
    assert push["message"]["content"] == "Hello"
    assert push["id"] == sent.message_id
    assert (sent.matched, sent.sent, sent.stream, sent.offset) == (1, 1, "session:s1", 1)
    assert sent.epoch == push["epoch"]
    live = client.publish(to_user("ann"), "hint", data={"n": 1}, keep=False)
    assert socket.await_push("hint")["data"] == {"n": 1}
    assert (live.stream, live.offset) == (None, None)
    for target in (
        EVERYONE,
        to_organization("o1"),
        to_role("user"),
        to_connection(socket.id),
    ):
        assert client.publish(target, "hint").message_id.startswith("msg_"), target
    socket.close()


def test_a_key_of_ones_own_is_published_once(client: Client) -> None:
    key = uuid.uuid4().hex
    first, second = (client.publish(to_user("bob"), "bill", keep=True, key=key) for _ in range(2))
    assert first == second
    other = client.publish(to_user("bob"), "bill", keep=True)
    assert other.message_id != first.message_id


def test_a_batch_has_a_result_for_each(client: Client) -> None:
    messages = [Message(to_user(f"u{n}"), "bill", {"data": n}) for n in range(2500)]
    messages[1200] = Message(to_user("u"), "BAD TYPE")
    results = client.batch(iter(messages))
    assert len(results) == 2500
    refused = results.pop(1200)
    assert isinstance(refused, ValidationFailed)
    assert refused.code == "validation_failed"
    assert all(isinstance(each, Published) for each in results)
    assert client.batch([]) == []


def test_a_notification(client: Client) -> None:
    sent = client.notify(user_ids=["ann"], title="Ready", message="Your order is ready.")
    assert sent.notification_id.startswith("notify_")
    assert [each["user_id"] for each in sent.deliveries] == ["ann"]
    templated = client.notify(
        user_ids=["ann"],
        template="maintenance",
        params={"starts_at": "2024-01-15T22:00:00Z", "ends_at": "2024-01-15T23:00:00Z"},
    )
    assert templated.deliveries


def test_any_other_route(client: Client, server: RunningServer, signer: TokenSigner) -> None:
    socket = open_client(server, bearer=signer.sign("cat"))
    found = client.request("GET", "/connections", user_id="cat", limit=5)
    assert [each["user_id"] for each in found["connections"]] == ["cat"]
    members = client.request("put", "/sessions/s2/members", {"user_ids": ["cat"]})
    assert members["user_ids"] == ["cat"]
    ticket = client.ticket().ticket
    shop = connected(server, path=f"/ws/chat?ticket={ticket}")
    assert shop.established["user_id"] == "shop"
    shop.close()
    with pytest.raises(ValueError, match="slash"):
        client.request("GET", "connections")
    socket.close()


def test_refusals_have_their_types(client: Client, server: RunningServer) -> None:
    with pytest.raises(ValidationFailed) as invalid:
        client.publish(to_session("s 1"), "new_message", content=1, colour="red")
    assert {each["field"] for each in invalid.value.errors} >= {"target.id", "colour"}
    assert (invalid.value.status, invalid.value.code) == (422, "validation_failed")
    assert invalid.value.request_id.startswith("req_")
    with pytest.raises(NotFound):
        client.request("GET", "/messages/msg_unknown")
    with pytest.raises(Forbidden):
        client.request("GET", "/audit")
    with pytest.raises(BadRequest):
        client.request("GET", "/connections", colour="red")
    with Client(server.url, "no.token.atall") as stranger, pytest.raises(Unauthorized) as refused:
        stranger.publish(EVERYONE, "hint")
    assert refused.value.code == "token_invalid"
    assert "no.token.atall" not in str(refused.value)
    assert isinstance(refused.value, Refused)


def test_a_token_that_was_revoked_is_made_anew(
    client: Client, server: RunningServer, signer: TokenSigner
) -> None:
    ids = iter(["first", "second"])
    made: list[str] = []

    def provide() -> str:
        made.append(next(ids))
        return signer.sign("shop2", role="service", jti=made[-1])

    with Client(server.url, provide) as renewing:
        renewing.publish(EVERYONE, "hint")
        renewing.publish(EVERYONE, "hint")
        assert made == ["first"]
        server.post("/tokens/revoke", {"jti": "first"})
        renewing.publish(EVERYONE, "hint")
        assert made == ["first", "second"]
        server.post("/tokens/revoke", {"jti": "second"})
        with pytest.raises(StopIteration):  # whatever the provider raises
            renewing.publish(EVERYONE, "hint")


def test_a_restart_is_waited_for_and_nothing_is_published_twice(
    tmp_path: Path, signer: TokenSigner
) -> None:
    started: list[RunningServer] = []
    first = RunningServer(tmp_path)
    way = MovingTransport(first.port)
    try:
        http = httpx.Client(transport=way)
        retry = RetryPolicy(attempts=1000, timeout_s=PATIENCE_S, longest_delay_s=0.5)
        with Client(first.url, signer.service("shop"), http=http, retry=retry) as client:
            client.publish(to_user("ann"), "bill", keep=True)
            first.kill()
            starting = threading.Thread(target=restart, args=(tmp_path, way, started))
            starting.start()
            client.publish(to_user("ann"), "bill", keep=True)  # refused until it is back
            starting.join()
            socket = connected(started[0], signer.sign("ann"))
            assert socket.established["inbox"]["pending"] == 2
            socket.close()
            started[0].stop()
    finally:
        for server in (first, *started):
            server.kill()


def restart(folder: Path, way: MovingTransport, started: list[RunningServer]) -> None:
    started.append(RunningServer(folder))
    way.port = started[0].port


def connected(server: RunningServer, bearer: str | None = None, **options: Any) -> Socket:
    socket = open_client(server, bearer=bearer, **options)
    socket.established = socket.await_push("connection_established")
    return socket
