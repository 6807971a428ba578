"""Queue of notifications: retries, dead letters, quiet hours, digests, tenants."""

from __future__ import annotations

import asyncio
from functools import partial
from operator import eq
from typing import Any

import pytest

from tests.notifications.conftest import MakeLiveNotifications
from tests.support.live_notifications import LiveNotifications, ScriptedChannel
from wsserver.notifications.channels.base import Limits, failed, retry, sent
from wsserver.notifications.recipients import users
from wsserver.notifications.service import Sending
from wsserver.protocol.notifications import Contact, QuietHours


async def send(
    notified: LiveNotifications, *channels: Any, user: str = "u1", **options: Any
) -> str:
    """A text to a user by some channels; its id."""
    sending = Sending(channels=channels or None, **options.pop("sending", {}))
    notification = await notified.service.send_notification(
        users(user), "Title", "Message", options.pop("type", "info"), sending=sending, **options
    )
    assert notification is not None
    return notification.notification_id


async def attempts(notified: LiveNotifications, notification_id: str, channel: str) -> list[Any]:
    found = await notified.store.get(notification_id)
    assert found is not None
    (each,) = [each for each in found.deliveries if each.channel == channel]
    return [(attempt.outcome, attempt.detail) for attempt in each.attempts]


@pytest.mark.gen_test
async def test_a_job_says_everything_that_a_channel_needs(notified: LiveNotifications) -> None:
    await notified.reach("u1", locale="en")
    now = notified.clock.wall()
    name = await send(notified, "email", type="error", action_url="/x")
    await notified.until(name, email="sent")
    (job,) = notified.played["email"].jobs
    assert job.delivery_id.startswith("delivery_")
    assert (job.notification_id, job.user_id, job.attempt) == (name, "u1", 1)
    assert (job.title, job.message, job.type) == ("Title", "Message", "error")
    assert (job.action_url, job.auto_close, job.locale) == ("/x", False, "en")
    assert (job.created_at, job.expires_at) == (now, now + 7 * 86_400)
    assert job.contact.email == "u1@example.com"
    assert await attempts(notified, name, "email") == [("sent", "250 ok")]


@pytest.mark.gen_test
async def test_a_fault_that_passes_is_waited_out(notified: LiveNotifications) -> None:
    await notified.reach("u1")
    events = notified.live.watch("notification_*")
    email = notified.played["email"]
    email.outcomes = [retry("421 later"), ConnectionError("refused")]
    name = await send(notified, "email")
    await notified.until(name, email="pending")
    await notified.until_true(lambda n: n == 1, lambda: count(email))
    assert events == []
    for _ in range(2):
        await notified.pass_time(5)
    await notified.until(name, email="sent")
    assert [outcome for outcome, _ in await attempts(notified, name, "email")] == [
        "retry",
        "retry",
        "sent",
    ]
    assert [job.attempt for job in email.jobs] == [1, 2, 3]
    assert len({job.delivery_id for job in email.jobs}) == 1
    assert [(e["name"], e["channel"], e["attempt"]) for e in events] == [
        ("notification_sent", "email", 3)
    ]
    metrics = notified.metrics.of("email")
    assert (metrics.sent, metrics.retried, metrics.failed) == (1, 2, 0)


async def count(channel: ScriptedChannel) -> int:
    return len(channel.jobs)


@pytest.mark.gen_test
async def test_it_is_not_tried_before_its_time(notified: LiveNotifications) -> None:
    await notified.reach("u1")
    email = notified.played["email"]
    email.outcomes = [retry("429", 120)]
    name = await send(notified, "email")
    await notified.until_true(lambda n: n == 1, lambda: count(email))
    await notified.pass_time(119)
    assert len(email.jobs) == 1
    await notified.pass_time(1)
    await notified.until(name, email="sent")


@pytest.mark.gen_test
async def test_after_its_last_attempt_a_delivery_is_a_dead_letter(
    notified: LiveNotifications,
) -> None:
    await notified.reach("u1")
    events = notified.live.watch("notification_*")
    notified.played["email"].outcomes = [retry("down")] * 3
    name = await send(notified, "email")
    for number in range(1, 4):
        await notified.until_true(partial(eq, number), lambda: count(notified.played["email"]))
        await notified.idle()
        await notified.pass_time(10)
    await notified.until(name, email="failed")
    assert [(e["name"], e["detail"]) for e in events] == [("notification_failed", "down")]
    assert notified.metrics.of("email").failed == 1
    await notified.pass_time(1000)
    assert len(notified.played["email"].jobs) == 3
    # A retry by hand starts over.
    assert await notified.store.retry(name, notified.clock.wall()) == 1
    await notified.until(name, email="sent")
    assert notified.played["email"].jobs[-1].attempt == 4


@pytest.mark.gen_test
async def test_a_permanent_failure_is_a_dead_letter_immediately(
    notified: LiveNotifications,
) -> None:
    await notified.reach("u1")
    notified.played["email"].outcomes = [failed("550 no such user")]
    name = await send(notified, "email")
    await notified.until(name, email="failed")
    assert await attempts(notified, name, "email") == [("failed", "550 no such user")]


@pytest.mark.gen_test
async def test_one_channel_failing_stops_no_other(notified: LiveNotifications) -> None:
    await notified.reach("u1")
    notified.played["email"].outcomes = [failed("no")]
    notified.played["sms"].outcomes = [RuntimeError("boom")]
    name = await send(notified, type="urgent")
    await notified.until(
        name, websocket="sent", email="failed", sms="pending", push="not_configured"
    )
    assert await attempts(notified, name, "sms") == [("retry", "internal error: RuntimeError")]


@pytest.mark.gen_test
async def test_a_slow_provider_delays_no_other_channel(notified: LiveNotifications) -> None:
    await notified.reach("u1")
    notified.played["email"].gate.clear()
    name = await send(notified, type="urgent")
    await notified.until(name, email="sending", sms="sent", websocket="sent")
    notified.played["email"].gate.set()
    await notified.until(name, email="sent")


@pytest.mark.gen_test
async def test_no_more_attempts_begin_than_the_rate_allows(
    make_notified: MakeLiveNotifications,
) -> None:
    email = ScriptedChannel("email", Limits(10, 2.0, 30.0))
    notified = await make_notified(channels=(email,))
    await notified.reach("u1")
    names = [await send(notified, "email") for _ in range(5)]
    await notified.until_true(lambda n: n == 2, lambda: count(email))
    await notified.idle()
    assert len(email.jobs) == 2
    await notified.pass_time(1)
    await notified.until_true(lambda n: n == 4, lambda: count(email))
    await notified.pass_time(1)
    for name in names:
        await notified.until(name, email="sent")


@pytest.mark.gen_test
async def test_an_attempt_that_hangs_is_broken_off(make_notified: MakeLiveNotifications) -> None:
    email = ScriptedChannel("email", Limits(2, 1000.0, 0.01))
    notified = await make_notified(channels=(email,))
    await notified.reach("u1")
    email.gate.clear()
    name = await send(notified, "email")
    await notified.until_true(
        lambda found: found == [("retry", "no answer within 0.01 s")],
        lambda: attempts(notified, name, "email"),
    )


@pytest.mark.gen_test
async def test_what_a_crash_cut_off_is_sent_by_the_next_run(
    make_notified: MakeLiveNotifications,
) -> None:
    first = await make_notified()
    await first.reach("u1")
    first.played["email"].gate.clear()
    name = await send(first, type="error")
    await first.until(name, email="sending", websocket="sent")
    await first.crash()
    second = await make_notified()
    await second.until(name, email="sent")
    assert [job.delivery_id for job in second.played["email"].jobs] == [
        job.delivery_id for job in first.played["email"].jobs
    ]
    assert [outcome for outcome, _ in await attempts(second, name, "email")] == [
        "interrupted",
        "sent",
    ]
    client = await second.live.connect("u1")
    await client.receive("notification")
    assert await client.rest() == []


@pytest.mark.gen_test
async def test_a_wall_clock_that_is_set_back_puts_nothing_off(notified: LiveNotifications) -> None:
    await notified.reach("u1")
    email = notified.played["email"]
    email.outcomes = [retry("later")]
    name = await send(notified, "email")
    await notified.until_true(lambda n: n == 1, lambda: count(email))
    await notified.idle()
    assert await notified.states(name) == {"email": "pending"}
    notified.clock.now_wall -= 3600
    fresh = await send(notified, sending={"escalate": [(60, "sms")]})
    await notified.queue.release()
    await notified.pass_time(3)
    await notified.until(name, email="sent")
    assert await notified.states(fresh) == {"websocket": "sent", "sms": "pending"}
    await notified.queue.release()  # once is enough
    await notified.pass_time(56)
    assert await notified.states(fresh) == {"websocket": "sent", "sms": "pending"}
    await notified.pass_time(2)
    await notified.until(fresh, sms="sent")


@pytest.mark.gen_test
async def test_quiet_hours_in_a_time_zone_that_is_gone_hold_nothing_up(
    notified: LiveNotifications, caplog: pytest.LogCaptureFixture
) -> None:
    hours = QuietHours(start="00:00", end="23:59", time_zone="Mars/Olympus_Mons")
    await notified.reach("u1", quiet_hours=hours)
    await notified.until(await send(notified, "email"), email="sent")
    assert "quiet hours not kept user_id=u1 error=no such time zone" in caplog.text


@pytest.mark.gen_test
async def test_what_cannot_be_read_any_more_is_a_dead_letter(notified: LiveNotifications) -> None:
    await notified.reach("u1")
    email = notified.played["email"]
    email.outcomes = [retry("later")]
    name = await send(notified, "email")
    await notified.until_true(lambda n: n == 1, lambda: count(email))
    await notified.live.database.run(
        lambda db: db.execute("UPDATE notifications SET content = '{'").rowcount
    )
    await notified.pass_time(3)
    await notified.until(name, email="failed")
    assert "cannot be rendered" in (await attempts(notified, name, "email"))[-1][1]


@pytest.mark.gen_test
async def test_the_inbox_gets_a_message_once_though_it_is_sent_twice(
    make_notified: MakeLiveNotifications,
) -> None:
    first = await make_notified()
    name = await send(first)
    await first.until(name, websocket="sent")
    # As if the process had died between storing the message and recording that.
    await first.live.database.run(
        lambda db: (
            db.execute(
                "UPDATE deliveries SET state = 'sending', owner = 'x', lease_until = 0"
            ).rowcount
        )
    )
    await first.crash()
    second = await make_notified()
    await second.until(name, websocket="sent")
    client = await second.live.connect("u1")
    push = await client.receive("notification")
    assert push["notification"]["id"] == name
    assert await client.rest() == []


@pytest.mark.gen_test
async def test_a_channel_that_cannot_be_closed_stops_no_other_from_it(
    make_notified: MakeLiveNotifications, monkeypatch: pytest.MonkeyPatch
) -> None:
    notified = await make_notified()
    email, sms = notified.played["email"], notified.played["sms"]

    async def fail() -> None:
        raise OSError("gone")

    monkeypatch.setattr(email, "close", fail)
    await notified.queue.stop()
    assert sms.is_closed


@pytest.mark.gen_test
async def test_an_orderly_stop_lets_attempts_finish(make_notified: MakeLiveNotifications) -> None:
    first = await make_notified()
    await first.reach("u1")
    first.played["email"].gate.clear()
    name = await send(first, "email")
    await first.until(name, email="sending")
    stopping = asyncio.ensure_future(first.queue.stop())
    await first.idle()
    assert not stopping.done()
    first.played["email"].gate.set()
    await stopping
    await first.stop()
    assert first.played["email"].is_closed
    second = await make_notified()
    await second.idle()
    assert await second.states(name) == {"email": "sent"}
    assert second.played["email"].jobs == []


@pytest.mark.gen_test
async def test_quiet_hours_hold_up_all_but_the_inbox_and_the_urgent(
    notified: LiveNotifications,
) -> None:
    # 1,700,000,000 is 22:13:20 on 14 November 2023.
    await notified.reach("u1", quiet_hours=QuietHours("22:00", "23:00"))
    quiet = await send(notified, "websocket", "email", "sms")
    urgent = await send(notified, type="urgent")
    await notified.until(quiet, websocket="sent", email="pending", sms="pending")
    await notified.until(urgent, websocket="sent", email="sent", sms="sent")
    await notified.idle()
    assert await attempts(notified, quiet, "email") == []
    await notified.pass_time(46 * 60 + 39)
    assert (await notified.states(quiet))["email"] == "pending"
    await notified.pass_time(1)
    await notified.until(quiet, email="sent", sms="sent")
    assert notified.played["email"].jobs[-1].attempt == 1


@pytest.mark.gen_test
async def test_an_expired_delivery_is_given_up_and_reported(notified: LiveNotifications) -> None:
    await notified.reach("u1")
    events = notified.live.watch("notification_failed")
    notified.played["email"].outcomes = [retry("down", 100)]
    name = await send(notified, "email", "websocket", sending={"expires_in_s": 60})
    await notified.until(name, websocket="sent")
    await notified.until_true(
        lambda found: len(found) == 1, lambda: attempts(notified, name, "email")
    )
    await notified.pass_time(60)
    await notified.until(name, email="expired", websocket="expired")
    assert {(e["channel"], e["state"], e["detail"]) for e in events} == {
        ("email", "expired", "never sent"),
        ("websocket", "expired", "never acknowledged"),
    }
    assert notified.metrics.of("email").expired == 1
    await notified.pass_time(1000)
    assert len(notified.played["email"].jobs) == 1


@pytest.mark.gen_test
async def test_many_of_a_kind_go_as_one_by_mail_and_one_by_one_to_the_inbox(
    notified: LiveNotifications,
) -> None:
    await notified.reach("u1", locale="en")
    names = []
    for number in range(6):
        notification = await notified.service.send_risk_alert_notification(
            users("u1"), device_id=f"d{number}", device_name=f"phone {number}", reason="odd"
        )
        assert notification is not None
        names.append(notification.notification_id)
        await notified.idle()
    for name in names:
        await notified.until(name, websocket="sent")
    for name in names[:3]:
        await notified.until(name, email="sent")
    assert [(await notified.states(name))["email"] for name in names[3:]] == ["pending"] * 3
    await notified.pass_time(300)
    for name in names:
        await notified.until(name, email="sent")
    *_, digest = notified.played["email"].jobs
    assert len(notified.played["email"].jobs) == 4
    assert digest.title == "Risk control alert (3 notifications)"
    assert digest.message.splitlines() == [
        f"- Device phone {n} has triggered risk control: odd" for n in (3, 4, 5)
    ]
    assert notified.metrics.of("email").sent == 6
    assert await attempts(notified, names[5], "email") == [("sent", "250 ok")]


@pytest.mark.gen_test
async def test_an_address_that_is_gone_when_it_is_needed_is_none(
    notified: LiveNotifications,
) -> None:
    await notified.reach("u1")
    name = await send(
        notified, "websocket", sending={"escalate": [(60, "email"), (60, "push"), (90, "sms")]}
    )
    await notified.until(name, email="pending", push="not_configured", sms="pending")
    await notified.reach("u1", email=None)
    notified.played["sms"].is_configured = False
    await notified.pass_time(90)
    await notified.until(name, email="no_address", sms="not_configured")
    assert await attempts(notified, name, "email") == []


@pytest.mark.gen_test
async def test_the_outcome_sent_needs_no_detail() -> None:
    assert sent() == ("sent", "", None)


# Tenants


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("owner", "belongs_to", "state"),
    [
        (None, "acme", "sent"),  # entered by a service or an administrator
        (None, None, "sent"),
        ("acme", "acme", "sent"),
        ("acme", "else", "no_address"),
        ("acme", None, "no_address"),
        ("acme", "unknown", "no_address"),
    ],
)
async def test_a_managers_contact_is_used_for_users_of_its_organization_alone(
    notified: LiveNotifications, owner: str | None, belongs_to: str | None, state: str
) -> None:
    contact = Contact(user_id="u1", email="u1@example.com", locale="en")
    if belongs_to != "unknown":
        client = await notified.live.connect("u1", organization_id=belongs_to)
        notified.live.manager.close(client.info, 1000, "")
    await notified.contacts.put(contact, owner, notified.clock.wall())
    name = await send(notified, "email")
    await notified.until(name, email=state)


@pytest.mark.gen_test
async def test_a_user_who_has_moved_is_reached_by_nothing_that_waited(
    notified: LiveNotifications,
) -> None:
    """Neither at the addresses of the old organization, nor with what was for it alone."""
    live = notified.live
    for user in ("u1", "u2"):
        await live.connect(user, organization_id="acme")
        contact = Contact(user_id=user, email=f"{user}@acme.example")
        await notified.contacts.put(contact, "acme", notified.clock.wall())
    email = notified.played["email"]
    email.outcomes = [retry("421 later")] * 3
    names = [
        await send(notified, "email", user=user, sending={"confined_to": confined_to})
        for user, confined_to in (("u1", "acme"), ("u2", "acme"), ("u1", None))
    ]
    for name in names:
        await notified.until_true(partial(eq, 1), partial(tried, notified, name))
    await live.tenancy.assign("u1", "else", "boss", notified.clock.wall())
    notified.clock.advance(120.0)
    notified.queue.kick()
    await notified.until(names[0], email="cancelled")
    await notified.until(names[1], email="sent")
    await notified.until(names[2], email="no_address")
    assert [job.user_id for job in email.jobs[3:]] == ["u2"]


async def tried(notified: LiveNotifications, notification_id: str) -> int:
    return len(await attempts(notified, notification_id, "email"))


@pytest.mark.gen_test
async def test_notifications_of_two_organizations_do_not_go_as_one(
    notified: LiveNotifications,
) -> None:
    await notified.reach("u1")
    await notified.live.connect("u1", organization_id="acme")
    now = notified.clock.wall()

    async def online(confined_to: str | None) -> str:
        found = await notified.service.send_ai_status_notification(
            users("u1"),
            session_id="s1",
            status="online",
            sending=Sending(channels=["email"], confined_to=confined_to),
        )
        assert found is not None
        return found.notification_id

    for _ in range(3):
        await notified.until(await online("acme"), email="sent")
    held = await online("acme")
    await notified.until(held, email="pending")
    await notified.until(await online(None), email="sent")
    assert notified.clock.wall() == now
