"""Preferences of notifications over REST and the socket: one's own, those of others, refusals."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_response import Response
from tests.support.web_server import API, Server, token

OWN = token("u1", "user")
MANAGER = token("m1", "manager", organization_id="acme")
PATH = f"{API}/users/u1/preferences"
HOURS = {"start": "22:00", "end": "07:00", "time_zone": "Asia/Shanghai"}
DAILY = {"at": "08:00", "time_zone": "Asia/Shanghai", "channels": ["email"]}


async def change(server: Server, bearer: str = OWN, **body: Any) -> Response:
    return await server.request("PATCH", PATH, bearer=bearer, **body)


async def read(server: Server, bearer: str = OWN) -> Any:
    return (await server.request("GET", PATH, bearer=bearer)).json()


@pytest.mark.gen_test
async def test_users_change_their_own_on_all_devices(server: Server) -> None:
    empty = await read(server)
    assert {name: empty[name] for name in empty if name != "templates"} == {
        "user_id": "u1",
        "channels": {},
        "quiet_hours": None,
        "quiet_hours_from": None,
        "daily_digest": None,
    }
    assert {"device_status", "task_overdue"} <= set(empty["templates"])
    socket = await server.connect("u1")
    socket.send(
        type="preferences",
        ref=1,
        channels={"*": {"sms": False}, "device_status": {"email": False}},
        daily_digest=DAILY,
    )
    replied = await socket.push("preferences")
    assert replied["type"] == "preferences"
    changed = (await change(server, channels={"*": {"sms": None, "push": False}})).json()
    assert changed["channels"] == {"*": {"push": False}, "device_status": {"email": False}}
    assert changed["daily_digest"] == DAILY
    socket.send(type="preferences", ref=2)
    read_again = await socket.push("preferences")
    assert {name: read_again[name] for name in changed} == changed
    assert (await change(server, channels=None, daily_digest=None)).json()["channels"] == {}
    audited = (await server.get("/audit?action=preferences")).json()
    assert audited["entries"] == []


@pytest.mark.gen_test
async def test_quiet_hours_of_the_contacts_are_in_force_until_the_user_chooses(
    server: Server,
) -> None:
    path = f"{API}/users/u1/contacts"
    await server.request("PUT", path, bearer=token(), quiet_hours=HOURS)
    shown = await read(server)
    assert (shown["quiet_hours"], shown["quiet_hours_from"]) == (HOURS, "contacts")
    own = {**HOURS, "start": "20:00"}
    shown = (await change(server, quiet_hours=own)).json()
    assert (shown["quiet_hours"], shown["quiet_hours_from"]) == (own, "preferences")
    await server.request("PUT", path, bearer=token(), locale="en")  # replaces all contacts
    assert (await read(server))["quiet_hours"] == own
    assert (await change(server, quiet_hours=None)).json()["quiet_hours"] is None


@pytest.mark.gen_test
async def test_others_need_the_permission_and_are_audited(server: Server) -> None:
    await server.connect("u1", organization_id="acme")
    for bearer, status in (
        (token("u2", "user"), 403),
        (MANAGER, 200),
        (token("m2", "manager", organization_id="else"), 404),
        (token("s1", "service"), 200),
    ):
        assert (await change(server, bearer, quiet_hours=None)).status == status
        assert (await server.request("GET", PATH, bearer=bearer)).status == status
    entries = (await server.get("/audit?action=preferences")).json()["entries"]
    assert [(e["actor"], e["outcome"], e["target"]) for e in entries] == [
        ("s1", "ok", "user:u1"),
        ("m1", "ok", "user:u1"),
        ("u2", "forbidden", "user:u1"),
    ]
    assert entries[0]["detail"] == {"fields": ["quiet_hours"]}


@pytest.mark.gen_test
async def test_every_fault_is_named_and_nothing_is_stored(server: Server) -> None:
    refused = await change(
        server,
        channels={"nothing": {"email": False}},
        quiet_hours={"start": "25:00", "end": "07:00"},
        daily_digest={"at": "08:00", "time_zone": "Mars/Base"},
        more=1,
    )
    assert (refused.status, refused.code) == (422, "validation_failed")
    assert sorted(each["field"] for each in refused.json()["errors"]) == [
        "channels.nothing",
        "daily_digest.time_zone",
        "more",
        "quiet_hours.start",
    ]
    for odd in (
        {"channels": {"*": {"pigeon": True}}},
        {"channels": {"*": {"email": "no"}}},
        {"daily_digest": {"at": "08:00", "channels": ["websocket"]}},
        {"daily_digest": {"at": "08:00", "channels": []}},
    ):
        assert (await change(server, **odd)).code == "validation_failed", odd
    socket = await server.connect("u1")
    socket.send(type="preferences", ref=1, channels={"nothing": {}})
    error = (await socket.push("error"))["error"]
    assert (error["code"], error["field"]) == ("bad_request", "channels.nothing")
    assert (await read(server))["channels"] == {}


@pytest.mark.gen_test
async def test_a_delivery_says_why_it_was_not_sent(server: Server) -> None:
    await change(server, channels={"*": {"websocket": False}})
    sent = await server.post("/notify", bearer=token(), user_ids=["u1"], title="T", message="M")
    path = f"/notifications/{sent.json()['notification_id']}"
    while True:
        (delivery,) = (await server.get(path)).json()["deliveries"]
        if delivery["state"] not in ("pending", "sending"):
            break
    assert (delivery["state"], delivery["reason"]) == ("cancelled", "switched_off")
    assert delivery["attempts"] == []
    for order in ("accepted", "settled"):
        answer = await server.get(f"/export/notifications?order={order}")
        (exported,) = answer.json()["deliveries"]
        assert (exported["state"], exported["reason"]) == ("cancelled", "switched_off")
