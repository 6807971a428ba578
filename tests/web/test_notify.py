"""Notifications over REST: accepted requests, visibility, refusals."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from tests.support.http_response import Response
from tests.support.web_server import Server, StartServer, token
from wsserver.notifications.notification_api import notification_view

TEXT = {"title": "T", "message": "M"}
MANAGER = token("m1", "manager", organization_id="acme")
SERVICE = token("s1", "service")


async def notify(server: Server, bearer: str | None = None, **body: Any) -> Response:
    return await server.post("/notify", bearer=bearer or token(), **body)


async def faults(server: Server, **body: Any) -> list[str]:
    answer = await notify(server, **body)
    assert answer.code == "validation_failed", answer
    return [error["field"] for error in answer.json()["errors"]]


async def settled(server: Server, notification_id: str) -> Any:
    """The notification once its inbox's delivery is sent."""
    while True:
        shown = (await server.get(f"/notifications/{notification_id}")).json()
        if "pending" not in shown["states"] and "sending" not in shown["states"]:
            return shown


@pytest.mark.gen_test
async def test_a_notification_is_accepted_shown_and_delivered(server: Server) -> None:
    user = await server.connect("u1")
    answer = await notify(server, user_ids=["u1", "u1"], **TEXT, action_url="/x")
    assert answer.status == 202
    accepted = answer.json()
    (delivery,) = accepted["deliveries"]
    assert delivery["channel"] == "websocket"
    push = await user.push("notification")
    assert push["notification"]["id"] == accepted["notification_id"]
    assert push["id"] == delivery["delivery_id"]
    shown = await settled(server, accepted["notification_id"])
    assert shown["deliveries"][0]["state"] == "sent"
    assert [each["outcome"] for each in shown["deliveries"][0]["attempts"]] == ["sent"]
    assert (shown["title"], shown["message"], shown["type"]) == ("T", "M", "info")
    assert (shown["action_url"], shown["auto_close"], shown["template"]) == ("/x", True, None)
    assert (shown["recipients"], shown["sender"]) == ({"user_ids": ["u1"]}, "admin1")
    assert shown["states"] == {"sent": 1}
    assert shown["truncated"] is False
    stats = (await server.get("/stats")).json()["notifications"]
    assert stats["websocket"]["sent"] == 1
    assert set(stats) == {"websocket", "email", "sms", "push"}
    metrics = await server.request("GET", "/metrics", bearer=token())
    assert b'wsserver_notifications_sent_total{channel="websocket"} 1.0' in metrics.body


@pytest.mark.gen_test
async def test_channels_without_settings_are_listed_as_such(server: Server) -> None:
    answer = await notify(server, user_ids=["u1"], **TEXT, type="urgent")
    states = {each["channel"]: each["state"] for each in answer.json()["deliveries"]}
    assert {channel: states[channel] for channel in ("email", "sms", "push")} == {
        "email": "not_configured",
        "sms": "not_configured",
        "push": "not_configured",
    }
    answer = await notify(server, user_ids=["u1"], **TEXT, channels=["email"])
    assert [each["channel"] for each in answer.json()["deliveries"]] == ["email"]


@pytest.mark.gen_test
async def test_a_template_is_shown_with_its_parameters(server: Server) -> None:
    params = {"device_id": "d1", "device_name": "n", "old_status": "online", "new_status": "banned"}
    answer = await notify(server, user_ids=["u1"], template="device_status", params=params)
    shown = answer.json()
    assert (shown["template"], shown["params"]) == ("device_status", params)
    assert (shown["title"], shown["type"]) == ("设备状态变化", "error")


@pytest.mark.gen_test
async def test_what_is_wrong_is_named_and_nothing_is_accepted(server: Server) -> None:
    to: Any = {"user_ids": ["u1"]}
    assert await faults(server, **TEXT) == ["user_ids"]
    assert await faults(server, **to, role="admin", **TEXT) == ["role"]
    assert await faults(server, **to, broadcast=True, **TEXT) == ["broadcast"]
    assert await faults(server, **to, message="M") == ["title"]
    assert await faults(server, **to, title="T") == ["message"]
    assert await faults(server, **to, title=" ", message="M") == ["title"]
    assert await faults(server, **to, title="\0", message="M") == ["title"]
    assert await faults(server, **to, **TEXT, type="loud") == ["type"]
    assert await faults(server, **to, **TEXT, channels=["fax"]) == ["channels[0]"]
    assert await faults(server, **to, **TEXT, channels=[]) == ["channels"]
    assert await faults(server, **to, **TEXT, params={}) == ["params"]
    assert await faults(server, **to, template="x", params={}) == ["template"]
    params = {"device_id": "d", "device_name": "D", "reason": "R"}
    assert await faults(server, **to, template="risk_alert", params=params, title="T") == ["title"]
    wrong = {"device_id": "d", "reason": 5, "colour": "red"}
    assert await faults(server, **to, template="risk_alert", params=wrong) == [
        "params.device_name",
        "params.colour",
        "params.reason",
    ]
    for address in (
        *("javascript:alert(1)", "//host/x", "///host", "/\\host", "\\\\host", "\\/host"),
        *(
            "/\t/host",
            "/\n/host",
            "/\r/host",
            "\t//host",
            " /x",
            "/x y",
            "/\x85x",
            "/\u2028x",
            "/x\n",
        ),
        *("https://", "https:///host", "http://?x", "https:/host", "https:host", "ftp://host", ""),
    ):
        assert await faults(server, **to, **TEXT, action_url=address) == ["action_url"], address
    assert await faults(server, **to, **TEXT, expires_in_s=0) == ["expires_in_s"]
    assert await faults(server, **to, **TEXT, escalate=[{"after_s": -1, "channel": "sms"}])
    assert await faults(server, user_ids=["a b"], **TEXT) == ["user_ids[0]"]
    assert await faults(server, **to, **TEXT, colour="red") == ["colour"]
    assert (await server.get("/notifications")).json()["total"] == 0


@pytest.mark.gen_test
async def test_a_warning_that_is_not_new_has_no_deliveries(server: Server) -> None:
    body: dict[str, Any] = {
        "user_ids": ["u1"],
        "template": "cost_warning",
        "params": {"used": 81, "quota": 100, "period": "2024-01"},
    }
    assert (await notify(server, **body)).status == 202
    again = await notify(server, **body)
    assert (again.status, again.json()) == (200, {"notification_id": None, "deliveries": []})


@pytest.mark.gen_test
async def test_a_key_makes_one_notification_also_over_a_crash(server: Server) -> None:
    body = {"user_ids": ["u1"], **TEXT}
    key = {"Idempotency-Key": "k1"}
    first = await server.post("/notify", headers=key, **body)
    again = await server.post("/notify", headers=key, **body)
    assert (first.status, again.status) == (202, 202)
    assert first.body == again.body
    assert again.headers["idempotency-replayed"] == "true"
    # As if the process had died after accepting and before answering.
    await server.context.idempotency._database.run(
        lambda db: db.execute("DELETE FROM idempotency").rowcount
    )
    third = await server.post("/notify", headers=key, **body)
    assert third.json()["notification_id"] == first.json()["notification_id"]
    assert (await server.post("/notify", headers=key, **{**body, "title": "X"})).status == 409


@pytest.mark.gen_test
async def test_lists_are_filtered_and_paged(server: Server) -> None:
    for user, kind in (("u1", "info"), ("u2", "error"), ("u1", "error")):
        await notify(server, user_ids=[user], **TEXT, type=kind)

    async def total(query: str) -> int:
        listed = (await server.get(f"/notifications{query}")).json()
        assert len(listed["notifications"]) == listed["total"]
        return int(listed["total"])

    assert await total("") == 3
    assert await total("?user_id=u1") == 2
    assert await total("?type=error&user_id=u1") == 1
    assert await total("?channel=email&state=not_configured") == 2
    assert await total("?template=risk_alert") == 0
    assert await total("?since=1h") == 3
    assert await total("?until=1h") == 0
    first = (await server.get("/notifications?limit=2")).json()
    rest = (await server.get(f"/notifications?limit=2&cursor={first['next_cursor']}")).json()
    assert (len(first["notifications"]), len(rest["notifications"])) == (2, 1)
    for bad in ("?state=lost", "?channel=fax", "?colour=red", "?since=yesterday", "?cursor=x"):
        assert (await server.get(f"/notifications{bad}")).code == "bad_request", bad


@pytest.mark.gen_test
async def test_what_waits_is_cancelled_and_what_is_dead_is_tried_again(server: Server) -> None:
    answer = await notify(
        server,
        user_ids=["u1"],
        **TEXT,
        channels=["websocket", "email"],
        escalate=[{"after_s": 600, "channel": "websocket"}],
    )
    path = f"/notifications/{answer.json()['notification_id']}"
    waiting = answer.json()["deliveries"][-1]
    assert waiting["is_escalation"] is True
    assert waiting["next_attempt_at"] > answer.json()["created_at"]
    cancelled = (await server.post(f"{path}/cancel", b"")).json()
    assert cancelled["cancelled"] in (1, 2)  # the inbox may have been quicker
    assert cancelled["deliveries"][-1]["state"] == "cancelled"
    assert (await server.post(f"{path}/cancel", b"")).json()["cancelled"] == 0
    assert (await server.post(f"{path}/retry", b"")).json()["retried"] == 1
    shown = await settled(server, answer.json()["notification_id"])
    assert shown["states"]["not_configured"] == 1
    for action in ("retry", "cancel"):
        assert (await server.post(f"/notifications/nothing/{action}", b"")).code == "not_found"


@pytest.mark.gen_test
async def test_contacts_are_replaced_as_a_whole(server: Server) -> None:
    async def put(**body: Any) -> Response:
        data = {"bearer": token(), **body}
        return await server.request("PUT", "/api/v1/websocket/users/u1/contacts", **data)

    empty = (await server.get("/users/u1/contacts")).json()
    assert empty == {
        "user_id": "u1",
        "organization_id": None,
        "email": None,
        "phone": None,
        "push": [],
        "devices": [],
        "locale": None,
        "quiet_hours": None,
    }
    hours = {"start": "22:00", "end": "07:00", "time_zone": "UTC"}
    stored = await put(
        email="u1@example.com", phone="+8613800138000", locale="en", quiet_hours=hours
    )
    assert stored.json() == (await server.get("/users/u1/contacts")).json()
    assert stored.json()["quiet_hours"] == hours
    assert (await put(locale="zh-CN")).json()["email"] is None
    assert (await put(email="a@b\r\nBcc:x")).code == "validation_failed"
    assert (await server.get("/users/u1/contacts")).json()["locale"] == "zh-CN"
    entries = (await server.get("/audit?action=contacts")).json()["entries"]
    assert "u1@example.com" not in str(entries)
    assert entries[0]["detail"] == {"fields": ["locale"]}


@pytest.mark.gen_test
async def test_a_manager_notifies_and_enters_contacts_within_the_organization(
    server: Server,
) -> None:
    await server.connect("mine", organization_id="acme")
    await server.connect("theirs", organization_id="else")
    accepted = await notify(server, MANAGER, broadcast=True, **TEXT)
    assert [each["user_id"] for each in accepted.json()["deliveries"]] == ["mine"]
    for outside in (
        {"user_ids": ["mine", "theirs"]},
        {"organization_id": "else"},
    ):
        assert (await notify(server, MANAGER, **outside, **TEXT)).code == "forbidden"
    denied = (await server.get("/audit?action=notify&actor=m1")).json()["entries"]
    assert [each["outcome"] for each in denied] == ["forbidden", "forbidden", "ok"]
    for user, status in (("mine", 200), ("theirs", 404), ("new", 404)):
        path = f"/api/v1/websocket/users/{user}/contacts"
        answer = await server.request("PUT", path, bearer=MANAGER, email="a@example.com")
        assert answer.status == status, user
        assert (await server.request("GET", path, bearer=MANAGER)).status == status, user


@pytest.mark.gen_test
async def test_a_service_enters_the_organization_of_a_user(server: Server) -> None:
    path = "/api/v1/websocket/users/new/contacts"
    service = token("svc", "service")

    async def put(bearer: str, **body: Any) -> Response:
        return await server.request("PUT", path, bearer=bearer, **body)

    assert (await put(MANAGER, email="a@example.com")).code == "not_found"
    entered = await put(service, email="s@example.com", organization_id="acme")
    assert (entered.status, entered.json()["organization_id"]) == (200, "acme")
    # Left out, it stays; a manager may name its own and no other one.
    assert (await put(service, email="s@example.com")).json()["organization_id"] == "acme"
    for own in ({}, {"organization_id": "acme"}):
        answer = await put(MANAGER, email="m@example.com", **own)
        assert (answer.status, answer.json()["organization_id"]) == (200, "acme")
    for other in ("else", None):
        assert (await put(MANAGER, organization_id=other)).code == "forbidden"
    assert (await put(service, organization_id="")).code == "validation_failed"
    socket = await server.connect("new", organization_id="else")
    assert (await server.get("/users/new/contacts")).json()["organization_id"] == "acme"
    online = (await server.get("/online-users", bearer=MANAGER)).json()["users"]
    assert [each["metadata"]["organization_id"] for each in online] == ["acme"]
    # Forgotten, the token's own counts again, and what acme has entered counts no more.
    forgotten = (await put(service, email="s@example.com", organization_id=None)).json()
    assert forgotten["organization_id"] == "else"
    assert (await server.get("/users/new/contacts", bearer=MANAGER)).code == "not_found"
    assert (await server.get("/online-users", bearer=MANAGER)).json()["users"] == []
    await socket.close()
    entries = (await server.get("/audit?action=contacts&actor=svc")).json()["entries"]
    assert [each["detail"].get("organization_id", "-") for each in entries] == [None, "-", "acme"]


@pytest.mark.gen_test
async def test_addresses_of_one_organization_are_not_used_for_a_user_of_another(
    server: Server,
) -> None:
    path = "/api/v1/websocket/users/u1/contacts"
    for organization_id in ("acme", "else"):
        socket = await server.connect("u1", organization_id=organization_id)
        if organization_id == "acme":
            entered = await server.request("PUT", path, bearer=MANAGER, email="a@acme.example")
            assert entered.status == 200
            assert (await server.get("/users/u1/contacts")).json()["email"] == "a@acme.example"
        await socket.close()
    other = token("m2", "manager", organization_id="else")
    for bearer in (token(), other):
        assert (await server.get("/users/u1/contacts", bearer=bearer)).json()["email"] is None
    assert (await server.request("GET", path, bearer=MANAGER)).code == "not_found"


@pytest.mark.gen_test
async def test_a_manager_who_may_read_sees_the_organization_alone(
    start_server: StartServer,
) -> None:
    permissions = {"manager": ("notifications:send", "notifications:read")}
    server = await start_server(permissions=permissions)
    await server.connect("mine", organization_id="acme")
    theirs = (await notify(server, user_ids=["mine"], **TEXT)).json()["notification_id"]
    mine = (await notify(server, MANAGER, user_ids=["mine"], **TEXT)).json()["notification_id"]
    named = (await notify(server, organization_id="acme", **TEXT)).json()["notification_id"]
    listed = (await server.get("/notifications", bearer=MANAGER)).json()
    assert [each["notification_id"] for each in listed["notifications"]] == [named, mine]
    assert (await server.get(f"/notifications/{theirs}", bearer=MANAGER)).code == "not_found"
    for action in ("retry", "cancel"):
        path = f"/notifications/{theirs}/{action}"
        assert (await server.post(path, b"", bearer=MANAGER)).code == "not_found"
        path = f"/notifications/{mine}/{action}"
        assert (await server.post(path, b"", bearer=MANAGER)).status == 200


@pytest.mark.gen_test
async def test_what_backends_send_does_not_fill_the_audit_trail(server: Server) -> None:
    await notify(server, SERVICE, user_ids=["u1"], **TEXT)
    await notify(server, user_ids=["u1"], title="secret title", message="secret message")
    entries = (await server.get("/audit?action=notify")).json()["entries"]
    assert [(each["actor"], each["target"]) for each in entries] == [("admin1", "user:u1")]
    assert "secret" not in str(entries)


@pytest.mark.gen_test
async def test_a_crowd_is_counted_whole_and_listed_in_part(server: Server) -> None:
    users = [f"u{number}" for number in range(1200)]
    accepted = (await notify(server, user_ids=users, **TEXT)).json()
    assert (len(accepted["deliveries"]), accepted["truncated"]) == (1000, True)
    shown = await settled(server, accepted["notification_id"])
    assert shown["states"] == {"sent": 1200}
    listed = (await server.get("/notifications")).json()["notifications"][0]
    assert (len(listed["deliveries"]), listed["truncated"]) == (100, True)


@pytest.mark.gen_test
async def test_any_page_gets_the_key_for_subscribing_to_pushes(start_server: StartServer) -> None:
    key = base64.urlsafe_b64encode(bytes(range(1, 33))).decode()
    with_key = await start_server(vapid_private_key=key, vapid_subject="mailto:ops@example.com")
    answer = await with_key.get("/push-key", bearer=None)
    point = base64.urlsafe_b64decode(answer.json()["public_key"] + "=")
    assert (answer.status, len(point), point[0]) == (200, 65, 4)
    assert key.encode() not in answer.body
    without = await start_server()
    assert (await without.get("/push-key", bearer=None)).json() == {"public_key": None}


@pytest.mark.gen_test
async def test_a_long_list_lets_others_have_their_turn(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await notify(server, user_ids=["u1"], **TEXT)
    turns = 0
    seen = []

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def view(*of: Any) -> Any:
        seen.append(turns)
        return notification_view(*of)

    monkeypatch.setattr("wsserver.notifications.notification_api.notification_view", view)
    ticking = asyncio.ensure_future(tick())
    assert (await server.get("/notifications")).json()["total"] == 3
    ticking.cancel()
    assert len(set(seen)) == 3
