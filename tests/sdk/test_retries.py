"""Retries: what is sent again, when, and under which key; with a scripted network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from wsserver.sdk import (
    NO_RETRIES,
    AsyncClient,
    BadAnswer,
    Client,
    Conflict,
    RateLimited,
    RetryPolicy,
    ServerFailed,
    Unauthorized,
    Unavailable,
    Unreachable,
    ValidationFailed,
    to_user,
)

DONE = {"message_id": "msg_1", "matched": 0, "sent": 0, "failed": 0}
QUICK = RetryPolicy(first_delay_s=0.0)


class Script:
    """A network that answers as written, and notes what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.requests: list[httpx.Request] = []
        self._answers = list(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        status, body, *headers = answer
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.Response(status, content=content, headers=headers[0] if headers else {})

    def client(self, token: Any = "t", retry: RetryPolicy = QUICK) -> Client:
        http = httpx.Client(transport=httpx.MockTransport(self))
        return Client("https://chat.test/", token, retry=retry, http=http)

    @property
    def keys(self) -> list[str]:
        return [each.headers["Idempotency-Key"] for each in self.requests]


def problem(code: str, **more: Any) -> dict[str, Any]:
    return {"code": code, "detail": "why", **more}


@pytest.mark.parametrize(
    "failure",
    [
        (503, problem("starting")),
        (500, problem("internal_error")),
        (502, b"<html>Bad Gateway</html>"),
        (507, problem("storage_full")),
        (409, problem("idempotency_pending")),
        (429, problem("rate_limited"), {"Retry-After": "0"}),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("late"),
        httpx.RemoteProtocolError("cut"),
    ],
)
def test_what_passes_is_tried_again_under_the_same_key(failure: Any) -> None:
    script = Script(failure, failure, (200, DONE))
    assert script.client().publish(to_user("u"), "x").message_id == "msg_1"
    assert len(set(script.keys)) == 1
    assert len({request.content for request in script.requests}) == 1
    assert str(script.requests[0].url) == "https://chat.test/api/v1/websocket/messages"


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        ((422, problem("validation_failed", errors=[])), ValidationFailed),
        ((409, problem("term_changed", term=4)), Conflict),
        ((429, problem("connection_limit")), RateLimited),
        ((401, problem("token_expired")), Unauthorized),
    ],
)
def test_what_stays_is_not(failure: Any, kind: type[Exception]) -> None:
    script = Script(failure)
    with pytest.raises(kind):
        script.client().publish(to_user("u"), "x")


def test_it_gives_up_and_says_why() -> None:
    script = Script(*[(503, problem("starting"))] * 3)
    with pytest.raises(Unavailable) as failed:
        script.client(retry=RetryPolicy(attempts=3, first_delay_s=0)).publish(to_user("u"), "x")
    assert failed.value.code == "starting"
    script = Script(httpx.ConnectError("refused"))
    with pytest.raises(Unreachable, match="refused"):
        script.client(retry=NO_RETRIES).publish(to_user("u"), "x")
    script = Script((500, problem("internal_error", request_id="req_1")))
    with pytest.raises(ServerFailed) as broken:
        script.client(retry=NO_RETRIES).publish(to_user("u"), "x")
    assert broken.value.request_id == "req_1"


def test_a_proxy_that_answers_for_the_server() -> None:
    script = Script((200, b"<html>Sign in</html>"))
    with pytest.raises(BadAnswer):
        script.client().publish(to_user("u"), "x")
    script = Script((200, {"unexpected": 1}))
    with pytest.raises(BadAnswer):
        script.client().publish(to_user("u"), "x")
    script = Script((302, b"", {"Location": "https://elsewhere.test"}))
    with pytest.raises(Exception, match="302"):
        script.client().publish(to_user("u"), "x")


def test_only_posts_have_a_key_and_tickets_none() -> None:
    script = Script((200, {}), (200, {}), (200, {"ticket": "t", "expires_at": "e"}), (200, DONE))
    client = script.client()
    client.request("GET", "/stats")
    client.request("PUT", "/sessions/s/members", {"user_ids": []})
    client.ticket()
    client.publish(to_user("u"), "x", key="mine")
    given = [request.headers.get("Idempotency-Key") for request in script.requests]
    assert given == [None, None, None, "mine"]


def test_a_token_that_is_not_accepted_is_renewed_once() -> None:
    tokens = iter("abc")
    script = Script(
        (200, DONE), (401, problem("token_revoked")), (200, DONE), *[(401, problem("x"))] * 2
    )
    client = script.client(lambda: next(tokens))
    for _ in range(2):
        client.publish(to_user("u"), "x")
    with pytest.raises(Unauthorized):
        client.publish(to_user("u"), "x")
    given = [request.headers["Authorization"] for request in script.requests]
    assert given == [f"Bearer {each}" for each in "aabbc"]


@pytest.mark.gen_test
async def test_the_asynchronous_client_does_the_same() -> None:
    script = Script((503, problem("starting")), httpx.ConnectError("refused"), (200, DONE))
    http = httpx.AsyncClient(transport=httpx.MockTransport(script))
    async with AsyncClient("https://chat.test", "t", retry=QUICK, http=http) as client:
        sent = await asyncio.wait_for(client.publish(to_user("u"), "x"), 30)
    assert sent.message_id == "msg_1"
    assert len(set(script.keys)) == 1


# The policy

Delay = Callable[..., float | None]


def test_delays_grow_up_to_a_limit() -> None:
    policy = RetryPolicy(attempts=9, timeout_s=1000, first_delay_s=1, longest_delay_s=4)
    error = Unreachable("away")
    delays = [policy.delay_s(error, attempt, 0, 1.0) for attempt in range(1, 10)]
    assert delays == [1, 2, 4, 4, 4, 4, 4, 4, None]
    assert policy.delay_s(error, 3, 0, 0.5) == 2


def test_retry_after_counts_unless_it_takes_too_long() -> None:
    policy = RetryPolicy(timeout_s=30)
    asked = Unavailable(503, problem("draining"), 7)
    assert policy.delay_s(asked, 1, 0, 0.0) == 7
    assert policy.delay_s(asked, 1, 24, 0.0) is None
    assert policy.delay_s(RateLimited(429, problem("rate_limited"), 3600), 1, 0, 0.0) is None
