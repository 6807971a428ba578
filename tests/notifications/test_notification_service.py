"""Notification service: recipients, acknowledgements, escalations, marks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.notifications.conftest import MakeLiveNotifications
from tests.support.live_notifications import LiveNotifications
from wsserver.cluster.directory import ConnectionRecord
from wsserver.errors import Forbidden, StorageUnavailable, ValidationFailed
from wsserver.notifications.recipients import Recipients, users
from wsserver.notifications.service import NotificationService, Sending
from wsserver.protocol.targets import Target, session
from wsserver.storage.notifications.notification_rows import Filters

DEVICE: dict[str, Any] = {
    "device_id": "device_123",
    "device_name": "张三的微信",
    "old_status": "online",
    "new_status": "offline",
}


U1 = users("u1")


async def urgent_later(notified: LiveNotifications, user: str = "u1") -> str:
    """A notification in the inbox that goes on by SMS after a minute; its id."""
    sending = Sending(escalate=[(60, "sms")])
    found = await notified.service.send_notification(users(user), "T", "M", sending=sending)
    assert found is not None
    name = found.notification_id
    # A plain client has it as soon as it is sent.
    await notified.until_true(
        lambda states: states.get("websocket") in ("sent", "delivered"),
        lambda: notified.states(name),
    )
    return name


@pytest.mark.gen_test
async def test_the_push_is_exactly_the_one_that_frontends_know(notified: LiveNotifications) -> None:
    client = await notified.live.connect("u1")
    notification = await notified.service.send_device_status_notification(users("u1"), **DEVICE)
    assert notification is not None
    push = await client.receive("notification")
    assert push["notification"] == {
        "id": notification.notification_id,
        "title": "设备状态变化",
        "message": "设备 张三的微信 状态从 在线 变更为 离线",
        "type": "warning",
        "action_url": "/devices/device_123",
        "auto_close": False,
        "timestamp": "2023-11-14T22:13:20.000Z",
    }
    assert set(push) == {"type", "id", "notification", "timestamp", "stream", "epoch", "offset"}
    assert push["id"] == notification.deliveries[0].delivery_id
    assert push["id"].startswith("msg_")
    assert notification.notification_id.startswith("notify_")
    assert push["stream"] == "user:u1"


@pytest.mark.gen_test
async def test_who_is_offline_gets_it_on_coming(notified: LiveNotifications) -> None:
    name = await urgent_later(notified)
    client = await notified.live.connect("u1")
    assert client.established["inbox"]["pending"] == 1
    assert (await client.receive("notification"))["notification"]["id"] == name


@pytest.mark.parametrize(
    ("command", "by"),
    [
        ("ack", "message"),
        ("ack", "notification"),
        ("ack", "offset"),
        ("read", "message"),
        ("read", "notification"),
    ],
)
@pytest.mark.gen_test
async def test_an_acknowledgement_on_any_device_calls_the_escalation_off(
    notified: LiveNotifications, command: str, by: str
) -> None:
    await notified.reach("u1")
    other = await notified.live.connect("u1")
    name = await urgent_later(notified)
    client = await notified.live.connect("u1")
    push = await client.receive("notification")
    notified.clock.advance(3)
    if by == "offset":
        await client.call("ack", stream="user:u1", offset=push["offset"])
    else:
        id_ = push["id"] if by == "message" else name
        assert (await client.call(command, ids=[id_]))["acknowledged"] == 1
    state = "delivered" if command == "ack" else "read"
    await notified.until(name, websocket=state, sms="cancelled")
    await notified.pass_time(60)
    assert notified.played["sms"].jobs == []
    metrics = notified.metrics.of("websocket")
    assert (metrics.acknowledged, list(metrics.acknowledged_s)) == (1, [3])
    # It is settled in the inbox, too, and the other device hears of it.
    told = [m for m in await other.rest() if m["type"] == "message_status_update"]
    assert [(m["message_id"], m["status"]) for m in told] == [(push["id"], state)]
    assert (await notified.live.connect("u1")).established["inbox"]["pending"] == 0


@pytest.mark.gen_test
async def test_without_an_acknowledgement_the_escalation_comes(notified: LiveNotifications) -> None:
    await notified.reach("u1")
    client = await notified.live.connect("u1")
    name = await urgent_later(notified)
    await client.receive("notification")
    await notified.pass_time(59)
    assert notified.played["sms"].jobs == []
    await notified.pass_time(1)
    await notified.until(name, sms="sent")


@pytest.mark.gen_test
async def test_a_plain_client_has_it_once_it_is_written(notified: LiveNotifications) -> None:
    await notified.reach("u1")
    client = await notified.live.connect("u1", protocol="plain")
    name = await urgent_later(notified)
    await client.receive("notification")
    await notified.until(name, websocket="delivered", sms="cancelled")


@pytest.mark.gen_test
async def test_one_user_cannot_acknowledge_for_another(notified: LiveNotifications) -> None:
    await notified.reach("u1")
    name = await urgent_later(notified)
    found = await notified.store.get(name)
    assert found is not None
    other = await notified.live.connect("u2")
    ids = [name, found.deliveries[0].delivery_id]
    assert (await other.call("ack", ids=ids))["acknowledged"] == 0
    await notified.acknowledgements.settle()
    assert (await notified.states(name))["sms"] == "pending"


@pytest.mark.gen_test
async def test_an_acknowledgement_before_a_crash_holds_after_it(
    make_notified: MakeLiveNotifications, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await make_notified()
    await first.reach("u1")
    name = await urgent_later(first)
    client = await first.live.connect("u1")
    push = await client.receive("notification")
    # The inbox has it, and then the process dies.
    monkeypatch.setattr(first.live.acknowledgements, "of_inbox", lambda *acknowledged: None)
    await client.call("ack", ids=[push["id"]])
    await first.crash()
    second = await make_notified()
    await second.until(name, websocket="delivered", sms="cancelled")
    await second.pass_time(60)
    assert second.played["sms"].jobs == []


@pytest.mark.gen_test
async def test_an_acknowledgement_waits_for_storage_that_refuses_it(
    notified: LiveNotifications, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsserver.notifications import acknowledgements
    from wsserver.storage.notifications.acknowledgements import AcknowledgementStore

    monkeypatch.setattr(acknowledgements, "RETRY_S", 0)
    take, refusals = AcknowledgementStore.acknowledge, [StorageUnavailable("locked")] * 3

    async def refuse(self: Any, *batch: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return await take(self, *batch)

    await notified.reach("u1")
    client = await notified.live.connect("u1")
    name = await urgent_later(notified)
    push = await client.receive("notification")
    monkeypatch.setattr(AcknowledgementStore, "acknowledge", refuse)
    await client.call("ack", ids=[push["id"]])
    await notified.until(name, sms="cancelled")
    assert refusals == []


# What is accepted


@pytest.mark.gen_test
async def test_the_channels_follow_from_the_type_and_who_has_which_address(
    notified: LiveNotifications,
) -> None:
    await notified.reach("u1", phone=None)
    found = await notified.service.send_urgent_notification(users("u1", "u2"), "T", "M")
    assert found is not None
    states = {(d.user_id, d.channel): d.state for d in found.deliveries}
    assert states[("u1", "sms")] == states[("u2", "sms")] == "no_address"
    assert states[("u2", "email")] == "no_address"
    assert states[("u1", "push")] == "not_configured"
    await notified.until_true(
        lambda s: s["u1 email"] == s["u1 websocket"] == s["u2 websocket"] == "sent",
        lambda: notified.states(found.notification_id),
    )
    assert found.type == NotificationService.URGENT


@pytest.mark.gen_test
async def test_a_warning_goes_on_by_mail_after_five_minutes(notified: LiveNotifications) -> None:
    await notified.reach("u1")
    found = await notified.service.send_device_status_notification(users("u1"), **DEVICE)
    assert found is not None
    mail = found.deliveries[1]
    assert (mail.channel, mail.unless_acknowledged) == ("email", 1)
    assert mail.due_at == found.at + 300


@pytest.mark.gen_test
async def test_each_reads_it_in_the_language_of_the_contact(notified: LiveNotifications) -> None:
    await notified.reach("u1", locale="en")
    await notified.reach("u2", locale="zh-CN")
    clients = {user: await notified.live.connect(user) for user in ("u1", "u2", "u3")}
    await notified.service.send_maintenance_notification(
        users("u1", "u2", "u3"), starts_at="22:00", ends_at="23:00"
    )
    titles = {
        user: (await client.receive("notification"))["notification"]["title"]
        for user, client in clients.items()
    }
    assert titles == {
        "u1": "Scheduled maintenance",
        "u2": "系统维护公告",
        "u3": "系统维护公告",
    }


@pytest.mark.gen_test
async def test_every_template_is_a_method(notified: LiveNotifications) -> None:
    service, to = notified.service, users("u1")
    sent = [
        await service.send_device_reconnect_notification(to, device_id="d", device_name="n"),
        await service.send_risk_alert_notification(to, device_id="d", device_name="n", reason="r"),
        await service.send_ai_status_notification(to, session_id="s", status="failed"),
        await service.send_message_status_notification(
            to, session_id="s", message_id="m", status="sent"
        ),
        await service.send_human_takeover_notification(to, session_id="s", customer_name="c"),
        await service.send_cost_warning_notification(to, used=80, quota=100, period="p"),
        await service.send_budget_exceeded_notification(to, used=2, budget=1, period="p"),
        await service.send_usage_report_notification(to, period="p", used=1, quota=2),
        await service.send_maintenance_notification(to, starts_at="a", ends_at="b"),
        await service.send_feature_update_notification(to, summary="s", version="2"),
        await service.send_security_alert_notification(to, event="e"),
        await service.send_device_status_notification(to, **DEVICE),
    ]
    assert len({each.template for each in sent if each is not None}) == 12


@pytest.mark.gen_test
async def test_a_bad_parameter_is_refused_and_nothing_is_stored(
    notified: LiveNotifications,
) -> None:
    with pytest.raises(ValidationFailed):
        await notified.service.send_template(users("u1"), "device_status", {"device_id": "d"})
    sending = Sending(escalate=[(60, "sms")], expires_in_s=60)
    with pytest.raises(ValidationFailed, match="expired"):
        await notified.service.send_notification(users("u1"), "T", "M", sending=sending)
    page = await notified.store.page(10, None, Filters())
    assert page.total == 0


@pytest.mark.gen_test
async def test_cost_warnings_come_once_a_threshold_recipient_and_period(
    make_notified: MakeLiveNotifications,
) -> None:
    notified = await make_notified()

    async def warn(used: float, to: Recipients = U1, period: str = "2024-01") -> bool:
        found = await notified.service.send_cost_warning_notification(
            to, used=used, quota=100, period=period
        )
        return found is not None and len(found.deliveries) > 0

    assert not await warn(79.9)
    assert await warn(80)
    assert not await warn(94)
    assert await warn(96)
    assert await warn(85, period="2024-02")
    assert await warn(80, users("u2"))
    await notified.live.connect("u1", organization_id="acme")
    acme = Recipients(organization_id="acme")
    assert await warn(80, acme)
    assert not await warn(81, acme)
    await notified.stop()
    notified = await make_notified()
    assert not await warn(99)
    assert await warn(100)
    assert not await warn(150)


@pytest.mark.gen_test
async def test_what_one_organization_was_warned_of_another_was_not(
    notified: LiveNotifications,
) -> None:
    for organization in ("acme", "else"):
        await notified.live.connect(f"of-{organization}", organization_id=organization)

    async def warned(to: Recipients, confined_to: str | None) -> list[str]:
        found = await notified.service.send_cost_warning_notification(
            to, used=80, quota=100, period="p", sending=Sending(confined_to=confined_to)
        )
        return [] if found is None else [each.user_id for each in found.deliveries][:1]

    for to in (Recipients(role="user"), Recipients(broadcast=True)):
        assert await warned(to, "acme") == ["of-acme"]
        assert await warned(to, "acme") == []
        assert await warned(to, "else") == ["of-else"]
    for user in ("of-acme", "of-else"):
        await notified.live.in_session(user, "shared", organization_id=user[3:])
    for to in (Recipients(session_id="shared"), users("of-acme")):
        assert await warned(to, "acme") == ["of-acme"]
        assert await warned(to, "acme") == []
    assert await warned(Recipients(session_id="shared"), "else") == ["of-else"]
    # Moved elsewhere, a user is told on the account of that organization.
    await notified.live.tenancy.assign("of-acme", "else", "boss", 1.0)
    assert await warned(users("of-acme"), "else") == ["of-acme"]
    await notified.live.tenancy.assign("of-acme", None, "boss", 1.0)
    # Of the organization as a whole it is told, however it is addressed.
    assert await warned(Recipients(organization_id="acme"), "acme") == []
    assert await warned(Recipients(organization_id="acme"), None) == []
    assert await warned(Recipients(broadcast=True), None) != []


@pytest.mark.gen_test
async def test_over_budget_is_notified_once_and_only_if_exceeded(
    notified: LiveNotifications,
) -> None:
    async def tell(used: float) -> Any:
        return await notified.service.send_budget_exceeded_notification(
            users("u1"), used=used, budget=10, period="p", currency="CNY"
        )

    assert await tell(10) is None
    assert await tell(10.5) is not None
    assert await tell(11) is None


@pytest.mark.gen_test
async def test_the_same_key_is_the_same_notification(notified: LiveNotifications) -> None:
    sending = Sending(once=("scope", "key"))
    first = await notified.service.send_notification(users("u1"), "T", "M", sending=sending)
    again = await notified.service.send_notification(users("u1"), "T", "M", sending=sending)
    assert first is not None
    assert again is not None
    assert first.notification_id == again.notification_id


@pytest.mark.gen_test
async def test_administrators_are_notified_of_an_alert(notified: LiveNotifications) -> None:
    admin = await notified.live.connect("boss", role="admin")
    user = await notified.live.connect("u1")
    await notified.parts.send_alert(0.125, 0.05)
    told = (await admin.receive("notification"))["notification"]
    assert (told["title"], told["type"]) == ("错误率告警", "error")
    assert told["message"] == "错误率 12.5% 已超过阈值 5%"
    assert await user.rest() == []


# For whom


async def found(
    notified: LiveNotifications, confined_to: str | None = None, **recipients: Any
) -> list[str]:
    return sorted(await notified.finder.find(Recipients(**recipients), confined_to))


@pytest.mark.gen_test
async def test_recipients_are_those_who_are_here_and_those_who_were(
    notified: LiveNotifications,
) -> None:
    live = notified.live
    await live.connect("here", organization_id="acme")
    gone = await live.connect("gone", organization_id="acme", role="manager")
    other = await live.connect("other", organization_id="else", role="manager")
    await live.in_session("here", "s1", organization_id="acme")
    await live.in_session("customer", "s1")
    await live.members.replace("s1", ["gone", "other", "never"], "boss", 1.0)
    gone.socket.close()
    await other.call("ping")
    await notified.directory.flush()
    live.hub.remove(gone.info)
    assert await found(notified, user_ids=("x", "here")) == ["here", "x"]
    assert await found(notified, organization_id="acme") == ["gone", "here"]
    assert await found(notified, role="manager") == ["gone", "other"]
    assert await found(notified, broadcast=True) == ["customer", "gone", "here", "other"]
    everybody = ["customer", "gone", "here", "never", "other"]
    assert await found(notified, session_id="s1") == everybody
    assert await found(notified, session_id="nobody") == []


@pytest.mark.pure
@pytest.mark.gen_test
async def test_who_has_joined_a_session_on_another_node_is_a_recipient(
    notified: LiveNotifications, monkeypatch: pytest.MonkeyPatch
) -> None:
    await notified.live.in_session("here", "s1")
    elsewhere = [
        ConnectionRecord("c1", "here", "n2"),
        ConnectionRecord("c2", "acme", "n2", organization_id="acme"),
        ConnectionRecord("c3", "else", "n2", organization_id="else"),
    ]

    async def connections(target: Target) -> list[ConnectionRecord]:
        return elsewhere if target == session("s1") else []

    monkeypatch.setattr(notified.live.connections, "connections", connections)
    assert await found(notified, session_id="s1") == ["acme", "else", "here"]
    await notified.live.members.replace("s1", ["of-acme"], "boss", 1.0)
    notified.live.organizations.apply("of-acme", "acme")
    assert "else" not in await found(notified, "acme", session_id="s1")


@pytest.mark.gen_test
async def test_a_manager_cannot_notify_users_of_other_organizations(
    notified: LiveNotifications,
) -> None:
    live = notified.live
    await live.connect("mine", organization_id="acme", role="manager")
    await live.connect("theirs", organization_id="else", role="manager")
    await live.in_session("theirs", "s2", organization_id="else")
    await live.in_session("customer", "s1")
    await live.members.replace("s1", ["mine", "theirs", "never"], "boss", 1.0)
    live.hub.remove((await live.connect("gone", organization_id="else")).info)
    assert await found(notified, "acme", broadcast=True) == ["mine"]
    assert await found(notified, "acme", role="manager") == ["mine"]
    assert await found(notified, "acme", organization_id="acme") == ["mine"]
    assert await found(notified, "acme", session_id="s1") == ["customer", "mine"]
    assert await found(notified, "acme", user_ids=("mine",)) == ["mine"]
    for outside in (
        {"user_ids": ("mine", "theirs")},
        {"user_ids": ("gone",)},
        {"user_ids": ("customer",)},
        {"user_ids": ("never",)},
        {"session_id": "empty"},
        {"organization_id": "else"},
        {"session_id": "s2"},
    ):
        with pytest.raises(Forbidden):
            await found(notified, "acme", **outside)


@pytest.mark.gen_test
async def test_too_many_recipients_are_refused(
    notified: LiveNotifications, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsserver.notifications.recipients.RECIPIENTS_LIMIT", 2)
    for user in ("u1", "u2", "u3"):
        await notified.live.connect(user)
    with pytest.raises(ValidationFailed, match="broadcast"):
        await found(notified, broadcast=True)


@pytest.mark.gen_test
async def test_users_are_noted_again_only_when_something_is_new(
    notified: LiveNotifications,
) -> None:
    await notified.live.connect("u1", organization_id="acme")
    await notified.directory.flush()
    before = notified.live.database.health()["commits"]
    await notified.live.connect("u1", organization_id="acme")
    await notified.directory.flush()
    assert notified.live.database.health()["commits"] == before
    await notified.live.connect("u1", organization_id="else")
    await notified.directory.flush()
    assert await found(notified, organization_id="else") == ["u1"]
