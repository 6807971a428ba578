"""Webhook deliveries over REST: list, get, retry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.http_provider import HttpProvider
from tests.support.web_server import Server, StartServer, token

CANARY = "canary-7d1f0c"


async def hooked(start_server: StartServer, provider: HttpProvider) -> Server:
    provider.answer_with(410, b"gone")  # for now
    return await start_server(
        webhook_urls=[provider.url(f"/{CANARY}#order.*")],
        webhook_secret="hook-secret",
        allow_loopback_urls=True,
    )


async def until(server: Server, path: str, wanted: Callable[[Any], bool]) -> Any:
    while True:
        answer = await server.get(path)
        if wanted(answer.json()):
            return answer.json()


def emit(server: Server, *names: str) -> None:
    for name in names:
        server.system.manager.emit(name, total=42)


@pytest.mark.gen_test
async def test_what_was_given_up_is_seen_without_the_url(
    start_server: StartServer, provider: HttpProvider
) -> None:
    server = await hooked(start_server, provider)
    emit(server, "order.placed", "order.paid")
    page = "/webhooks/deliveries?state=failed"
    listed = await until(server, page, lambda found: found["total"] == 2)
    newest = listed["deliveries"][0]
    assert newest.pop("created_at").endswith("Z")
    assert newest == {
        "delivery_id": newest["delivery_id"],
        "webhook": 1,
        "host": f"127.0.0.1:{provider.port}",
        "event": "order.paid",
        "state": "failed",
        "attempts": 1,
        "detail": "410: gone",
    }
    one = await server.get(f"/webhooks/deliveries/{newest['delivery_id']}")
    assert one.json()["body"]["name"] == "order.paid"
    assert one.json()["body"]["total"] == 42
    assert CANARY.encode() not in one.body
    assert (await server.get("/webhooks/deliveries?state=pending")).json()["total"] == 0
    first = (await server.get("/webhooks/deliveries?limit=1")).json()
    assert first["total"] == 2
    rest = await server.get(f"/webhooks/deliveries?limit=1&cursor={first['next_cursor']}")
    assert rest.json()["deliveries"][0]["event"] == "order.placed"
    assert rest.json()["next_cursor"] is None
    assert (await server.get("/webhooks/deliveries?event=order.paid")).json()["total"] == 1
    assert (await server.get("/webhooks/deliveries/hook_none")).status == 404


@pytest.mark.gen_test
async def test_one_or_all_are_tried_again_from_the_first_attempt(
    start_server: StartServer, provider: HttpProvider
) -> None:
    server = await hooked(start_server, provider)
    emit(server, "order.a", "order.b", "order.c")
    page = "/webhooks/deliveries?state=failed"
    listed = await until(server, page, lambda found: found["total"] == 3)
    one = f"/webhooks/deliveries/{listed['deliveries'][1]['delivery_id']}"
    provider.answer_with(200)
    assert (await server.post(f"{one}/retry")).json() == {"retried": 1}
    await until(server, page, lambda found: found["total"] == 2)
    assert (await server.post("/webhooks/deliveries/retry")).json() == {"retried": 2}
    await until(server, "/webhooks/deliveries", lambda found: found["total"] == 0)
    assert (await server.get(one)).status == 404  # it was taken
    assert (await server.post("/webhooks/deliveries/retry")).json() == {"retried": 0}
    names = [each.headers["X-Wsserver-Event"] for each in provider.requests]
    assert names[3] == "order.b"
    assert sorted(names[3:]) == ["order.a", "order.b", "order.c"]
    entries = (await server.get("/audit?action=retry_webhooks")).json()["entries"]
    assert [(each["target"], each["detail"]["retried"]) for each in entries] == [
        ("", 0),
        ("", 2),
        (f"delivery:{one.rpartition('/')[2]}", 1),
    ]
    check = (await server.get("/health")).json()["checks"]["webhooks"]
    assert (check["waiting"], check["sent"], check["failed"]) == (0, 3, 3)


@pytest.mark.gen_test
async def test_what_belongs_to_no_url_any_more_is_shown_and_left(
    start_server: StartServer, provider: HttpProvider
) -> None:
    server = await hooked(start_server, provider)
    emit(server, "order.a")
    await until(server, "/webhooks/deliveries?state=failed", lambda found: found["total"] == 1)
    await server.context.webhooks.outbox._database.run(
        lambda db: db.execute("UPDATE webhook_outbox SET url = 'https://old.example/x'").rowcount
    )
    (left,) = (await server.get("/webhooks/deliveries")).json()["deliveries"]
    assert (left["webhook"], left["host"]) == (None, "old.example")
    answer = await server.post(f"/webhooks/deliveries/{left['delivery_id']}/retry")
    assert answer.json() == {"retried": 0}


@pytest.mark.gen_test
async def test_who_is_confined_to_an_organization_sees_none(start_server: StartServer) -> None:
    server = await start_server(permissions={"manager": ["monitor"]})
    manager = token("m1", "manager", organization_id="acme")
    for answer in (
        await server.get("/webhooks/deliveries", bearer=manager),
        await server.get("/webhooks/deliveries/hook_1", bearer=manager),
        await server.post("/webhooks/deliveries/retry", bearer=manager),
        await server.post("/webhooks/deliveries/hook_1/retry", bearer=manager),
    ):
        assert (answer.status, answer.code) == (403, "forbidden")


@pytest.mark.gen_test
async def test_what_a_message_says_is_shown_to_who_may_read_messages(
    start_server: StartServer, provider: HttpProvider
) -> None:
    server = await hooked(start_server, provider)
    server.system.manager.emit("order.asked", message={"content": "SECRET", "id": "m1"})
    listed = await until(
        server, "/webhooks/deliveries?state=failed", lambda found: found["total"] == 1
    )
    path = f"/webhooks/deliveries/{listed['deliveries'][0]['delivery_id']}"
    assert (await server.get(path)).json()["body"]["message"] == {"content": "SECRET", "id": "m1"}
    narrowed = token("ops", "service", permissions=["monitor"])
    body = (await server.get(path, bearer=narrowed)).json()["body"]
    assert body["message"] == {"id": "m1", "content_omitted": True}
    assert body["name"] == "order.asked"
