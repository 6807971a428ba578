"""What users have chosen about notifications: rules, and what the queue makes of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.live_notifications import LiveNotifications
from wsserver.notifications.preferences import changed, is_on, next_daily, preference_faults
from wsserver.notifications.recipients import users
from wsserver.notifications.service import Sending
from wsserver.protocol.notifications import (
    DailyDigest,
    Preferences,
    PreferencesRequest,
    QuietHours,
)

DEVICE = {
    "device_id": "d1",
    "device_name": "phone",
    "old_status": "online",
    "new_status": "offline",
}


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


# Rules


@pytest.mark.parametrize(
    ("template", "channel", "expected"),
    [
        ("device_status", "email", False),  # its own choice
        ("device_status", "sms", True),  # its own choice before that for all
        ("device_status", "push", True),  # none
        ("usage_report", "sms", False),  # that for all
        (None, "sms", False),  # a text without a template
        (None, "email", True),
    ],
)
def test_the_choice_for_a_template_counts_before_that_for_all(
    template: str | None, channel: str, expected: bool
) -> None:
    chosen = {"*": {"sms": False}, "device_status": {"email": False, "sms": True}}
    assert is_on(Preferences(channels=chosen), template, channel) is expected


def test_switches_are_merged_and_null_removes() -> None:
    before = Preferences(
        channels={"*": {"sms": False, "push": False}, "maintenance": {"email": False}},
        quiet_hours=QuietHours("22:00", "07:00"),
    )
    request = PreferencesRequest(
        channels={"*": {"sms": None}, "maintenance": None, "ai_status": {"email": True}}
    )
    after = changed(before, request)
    assert after.channels == {"*": {"push": False}, "ai_status": {"email": True}}
    assert after.quiet_hours == before.quiet_hours
    assert changed(after, PreferencesRequest(channels={"*": {"push": None}})).channels == {
        "ai_status": {"email": True}
    }
    assert changed(after, PreferencesRequest(channels=None, quiet_hours=None)) == Preferences()
    assert before.channels["*"] == {"sms": False, "push": False}


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2024-01-15T07:00:00", "2024-01-15T07:30:00"),
        ("2024-01-15T07:30:00", "2024-01-16T07:30:00"),
        ("2024-03-30T12:00:00", "2024-03-31T06:30:00"),  # clocks are set forward meanwhile
        ("2024-10-26T12:00:00", "2024-10-27T07:30:00"),  # and back
    ],
)
def test_the_daily_digest_is_at_the_users_local_time(now: str, expected: str) -> None:
    digest = DailyDigest("08:30", "Europe/Berlin")
    assert next_daily(digest, at(now)) == at(expected)


def test_a_time_that_is_left_out_or_comes_twice_counts_once() -> None:
    digest = DailyDigest("02:30", "Europe/Berlin")
    assert next_daily(digest, at("2024-03-30T12:00:00")) == at("2024-03-31T01:30:00")
    assert next_daily(digest, at("2024-03-31T01:30:00")) == at("2024-04-01T00:30:00")
    first = at("2024-10-27T00:30:00")
    assert next_daily(digest, at("2024-10-26T12:00:00")) == first
    assert next_daily(digest, first) == at("2024-10-28T01:30:00")


def test_all_faults_are_named() -> None:
    request = PreferencesRequest(
        channels={"nothing": {}, "*": {}},
        quiet_hours=QuietHours("22:00", "07:00", "Nowhere/Else"),
        daily_digest=DailyDigest("08:00", "../etc/passwd"),
    )
    faults = preference_faults(request, ["maintenance"])
    assert [each["field"] for each in faults] == [
        "channels.nothing",
        "quiet_hours.time_zone",
        "daily_digest.time_zone",
    ]
    assert preference_faults(request, ["nothing"], ["quiet_hours", "daily_digest"]) == []


# The queue


async def prefer(notified: LiveNotifications, user_id: str = "u1", **fields: Any) -> None:
    await notified.reach(user_id, locale="en")
    request = PreferencesRequest(**fields)
    await notified.parts.preferences.change(notified.live.actor(), user_id, request)


async def send(notified: LiveNotifications, *channels: Any, **options: Any) -> str:
    sending = Sending(channels=channels or None, **options.pop("sending", {}))
    template = options.pop("template", None)
    if template is not None:
        sent = await notified.service.send_template(users("u1"), template, DEVICE, sending)
    else:
        sent = await notified.service.send_notification(
            users("u1"), "Title", "Message", options.pop("type", "info"), sending=sending
        )
    assert sent is not None
    return sent.notification_id


async def reasons(notified: LiveNotifications, notification_id: str) -> dict[str, str | None]:
    found = await notified.store.get(notification_id)
    assert found is not None
    return {each.channel: each.reason for each in found.deliveries}


@pytest.mark.gen_test
async def test_what_is_switched_off_is_cancelled_and_says_why(
    notified: LiveNotifications,
) -> None:
    await prefer(notified, channels={"device_status": {"email": False, "websocket": False}})
    off = await send(notified, "websocket", "email", "sms", template="device_status")
    await notified.until(off, websocket="cancelled", email="cancelled", sms="sent")
    assert await reasons(notified, off) == {
        "websocket": "switched_off",
        "email": "switched_off",
        "sms": None,
    }
    text = await send(notified, "websocket", "email")
    await notified.until(text, websocket="sent", email="sent")
    # It stays the user's choice when somebody tries again.
    assert await notified.store.retry(off, notified.clock.wall()) == 0
    assert len(notified.played["email"].jobs) == 1


@pytest.mark.gen_test
async def test_what_is_urgent_is_sent_whatever_was_chosen(notified: LiveNotifications) -> None:
    everything_off = {"*": dict.fromkeys(("websocket", "email", "sms", "push"), False)}
    await prefer(
        notified,
        channels=everything_off,
        quiet_hours=QuietHours("00:00", "23:59"),
        daily_digest=DailyDigest("08:00", channels=("email", "sms")),
    )
    urgent = await send(notified, "websocket", "email", "sms", type="urgent")
    await notified.until(urgent, websocket="sent", email="sent", sms="sent")


@pytest.mark.gen_test
async def test_a_choice_counts_when_an_escalation_is_due(notified: LiveNotifications) -> None:
    name = await send(notified, "websocket", sending={"escalate": [(60, "email")]})
    await notified.until(name, websocket="sent", email="pending")
    await prefer(notified, channels={"*": {"email": False}})
    await notified.pass_time(60)
    await notified.until(name, email="cancelled")
    assert (await reasons(notified, name))["email"] == "switched_off"


@pytest.mark.gen_test
async def test_quiet_hours_of_ones_own_count_before_those_of_the_contacts(
    notified: LiveNotifications,
) -> None:
    now = datetime.fromtimestamp(notified.clock.wall(), UTC)
    around = QuietHours(f"{now:%H}:00", f"{(now.hour + 2) % 24:02}:00")
    elsewhere = QuietHours(f"{(now.hour + 5) % 24:02}:00", f"{(now.hour + 6) % 24:02}:00")
    await prefer(notified, quiet_hours=around)
    await notified.reach("u1", quiet_hours=elsewhere)
    name = await send(notified, "websocket", "email")
    await notified.until(name, websocket="sent")
    await notified.idle()
    assert await notified.states(name) == {"websocket": "sent", "email": "pending"}
    assert (await reasons(notified, name))["email"] == "quiet_hours"
    await notified.pass_time(2 * 3600)
    await notified.until(name, email="sent")
    assert (await reasons(notified, name))["email"] is None


@pytest.mark.gen_test
async def test_the_daily_digest_sends_a_day_as_one(notified: LiveNotifications) -> None:
    now = notified.clock.wall()
    due = datetime.fromtimestamp(now + 3600, UTC)
    await prefer(notified, daily_digest=DailyDigest(f"{due:%H:%M}"))
    device = await send(notified, "websocket", "email", "sms", template="device_status")
    text = await send(notified, "email")
    error = await send(notified, "email", type="error", sending={"expires_in_s": 60})
    await notified.until(device, websocket="sent", sms="sent")
    await notified.until(error, email="sent")  # its time ends before the digest comes
    await notified.idle()
    for name in (device, text):
        assert (await notified.states(name))["email"] == "pending"
        assert (await reasons(notified, name))["email"] == "daily_digest"
    await notified.pass_time(3600)
    await notified.until(device, email="sent")
    await notified.until(text, email="sent")
    _, digest = notified.played["email"].jobs
    assert (digest.title, digest.type) == ("2 notifications since yesterday", "warning")
    assert digest.message.splitlines() == [
        "- Device status changed: Device phone changed from online to offline",
        "- Title: Message",
    ]
    assert digest.action_url is None
    # The next one waits for the next day.
    later = await send(notified, "email")
    await notified.idle()
    assert (await reasons(notified, later))["email"] == "daily_digest"


@pytest.mark.gen_test
async def test_a_daily_digest_leaves_out_what_was_switched_off_meanwhile(
    notified: LiveNotifications,
) -> None:
    due = datetime.fromtimestamp(notified.clock.wall() + 3600, UTC)
    await prefer(notified, daily_digest=DailyDigest(f"{due:%H:%M}"))
    kept = [await send(notified, "email") for _ in range(2)]
    off = await send(notified, "email", template="device_status")
    await notified.idle()
    await prefer(notified, channels={"device_status": {"email": False}})
    await notified.pass_time(3600)
    for name in kept:
        await notified.until(name, email="sent")
    await notified.until(off, email="cancelled")
    (job,) = notified.played["email"].jobs
    assert job.message.splitlines() == ["- Title: Message"] * 2
