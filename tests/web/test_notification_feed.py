"""The feed of notifications over REST: one's own, those of others, refusals."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_response import Response
from tests.support.web_server import API, Server, token

OWN = token("u1", "user")
PATH = f"{API}/users/u1/notifications"


async def mark(server: Server, bearer: str = OWN, **body: Any) -> Response:
    return await server.request("PATCH", PATH, bearer=bearer, **body)


async def read(server: Server, bearer: str = OWN, query: str = "") -> Any:
    return (await server.request("GET", PATH + query, bearer=bearer)).json()


async def filled(server: Server, count: int) -> list[str]:
    """Notifications of u1 that are delivered; their ids."""
    ids = []
    for number in range(count):
        body = {"user_ids": ["u1"], "title": f"n{number}", "message": "M"}
        ids.append((await server.post("/notify", **body)).json()["notification_id"])
    while (await read(server))["unread"] < count:
        pass
    return ids


@pytest.mark.gen_test
async def test_users_list_and_mark_their_own(server: Server) -> None:
    ids = await filled(server, 3)
    page = await read(server, query="?limit=2")
    assert [each["id"] for each in page["notifications"]] == [ids[2], ids[1]]
    assert (page["user_id"], page["unread"], page["total"]) == ("u1", 3, 3)
    rest = await read(server, query=f"?limit=2&cursor={page['next_cursor']}")
    assert [each["id"] for each in rest["notifications"]] == [ids[0]]
    other, socket = await server.connect("u1"), await server.connect("u1")
    socket.send(type="notifications", ref=1)
    assert (await socket.push("notifications"))["unread"] == 3
    marked = (await mark(server, up_to=ids[1], read=True)).json()
    assert marked == {"changed": 2, "unread": 1}
    push = await socket.push("notifications_changed")
    assert (sorted(push["notification_ids"]), push["unread"]) == (sorted(ids[:2]), 1)
    # A connection that has not listed them gets no such push.
    other.send(type="ping", ref=2)
    while (push := await other.push())["type"] != "pong":
        assert push["type"] == "notification"
    assert (await mark(server, ids=[ids[0]], archived=True)).json()["changed"] == 1
    archived = await read(server, query="?archived=true")
    assert [each["id"] for each in archived["notifications"]] == [ids[0]]
    unread = await read(server, query="?unread=true")
    assert [each["id"] for each in unread["notifications"]] == [ids[2]]
    # Whoever sent it sees that it was read.
    shown = (await server.get(f"/notifications/{ids[0]}")).json()
    assert shown["states"] == {"read": 1}


@pytest.mark.gen_test
async def test_others_need_the_permissions(server: Server) -> None:
    (name,) = await filled(server, 1)
    await server.connect("u1", organization_id="acme")
    for bearer, may_read, may_mark in (
        (token("u2", "user"), 403, 403),
        (token("m1", "manager", organization_id="acme"), 403, 200),
        (token("m2", "manager", organization_id="else"), 403, 404),
        (token("s1", "service"), 200, 200),
    ):
        assert (await server.request("GET", PATH, bearer=bearer)).status == may_read
        assert (await mark(server, bearer, ids=[name], read=True)).status == may_mark


@pytest.mark.gen_test
async def test_every_fault_is_named(server: Server) -> None:
    bodies: list[tuple[dict[str, Any], set[str]]] = [
        ({"read": True}, {"ids"}),
        ({"ids": ["n"]}, {"read"}),
        ({"ids": [], "read": True}, {"ids"}),
        ({"ids": ["n"], "up_to": "n", "read": 1}, {"up_to", "read"}),
        ({"ids": ["n 1"], "archived": True, "x": 1}, {"ids[0]", "x"}),
    ]
    for body, faulty in bodies:
        refused = await mark(server, **body)
        assert refused.code == "validation_failed"
        assert {each["field"] for each in refused.json()["errors"]} == faulty, body
    for query in ("?unread=maybe", "?limit=0", "?cursor=x", "?more=1"):
        assert (await server.request("GET", PATH + query, bearer=OWN)).code == "bad_request"
    socket = await server.connect("u1")
    socket.send(type="mark_notifications", ref=1, ids=["n"])
    error = (await socket.push("error"))["error"]
    assert (error["code"], error["field"]) == ("bad_request", "read")
