from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from wsserver.protocol.targets import EVERYONE
from wsserver.realtime.connections.connection_log import ConnectionInterval
from wsserver.realtime.delivery.trace_entry import TraceEntry
from wsserver.realtime.tracing.trace_recipients import (
    TraceRecipient,
    TraceRecipients,
    connected_recipient,
    excluded_recipient,
    offline_recipient,
)

AT = 50.0
DELIVERED = 1000.0


class Note(NamedTuple):
    user_id: str
    delivered_at: float | None
    read_at: float | None
    is_by_offset: bool = False


def entry(stream: str = "", **fields: Any) -> TraceEntry:
    return TraceEntry(
        message_id="msg_1",
        type="x",
        target=EVERYONE,
        origin=None,
        organization_id=None,
        with_unaffiliated=False,
        role=None,
        exclude_users=frozenset(),
        accepted_at=AT,
        stream=stream,
        epoch="",
        offset=0,
        expires_at=90.0,
        tick=5,
        delivered_at=DELIVERED,
        **fields,
    )


def interval(is_plain: bool = False, **fields: Any) -> ConnectionInterval:
    return ConnectionInterval("c1", "u1", None, "user", is_plain, None, 0, **fields)


def end(code: int, unsent_since: float | None) -> ConnectionInterval:
    return interval(to_tick=9, ended_at=70.0, code=code, unsent_since=unsent_since)


def state_of(recipient: TraceRecipient) -> tuple[str, str | None, list[tuple[str, float]]]:
    return recipient.state, recipient.reason, list(recipient.history)


@pytest.mark.parametrize(
    ("is_plain", "ended", "state", "reason", "steps"),
    [
        (False, None, "sent", None, "sent"),
        (True, None, "delivered", None, "sent delivered"),
        (True, end(1000, None), "delivered", None, "sent delivered"),
        (False, end(1000, None), "sent", None, "sent"),
        (False, end(4002, 990.0), "dropped", "slow", "sent dropped"),
        (True, end(4002, 990.0), "dropped", "slow", "sent dropped"),
        (True, end(1006, 990.0), "dropped", "failed", "sent dropped"),
        (True, end(4002, 1001.0), "delivered", None, "sent delivered"),  # had left before that
        (False, end(4002, 1001.0), "sent", None, "sent"),
    ],
)
def test_what_was_sent_has_arrived_or_is_on_its_way_or_may_be_lost(
    is_plain: bool, ended: ConnectionInterval | None, state: str, reason: str | None, steps: str
) -> None:
    recipient = connected_recipient(entry(), interval(is_plain), ended, None, AT)
    assert (recipient.state, recipient.reason) == (state, reason)
    assert [step for step, _ in recipient.history] == steps.split()
    assert {at for step, at in recipient.history if step != "dropped"} == {AT}
    assert {at for step, at in recipient.history if step == "dropped"} <= {70.0}


def test_what_waits_in_the_server_has_not_arrived_at_a_plain_client() -> None:
    assert (
        connected_recipient(entry(), interval(True, unsent_since=990.0), None, None, AT).state
        == "sent"
    )
    assert connected_recipient(
        entry(), interval(True, unsent_since=1001.0), None, None, AT
    ).state == ("delivered")


def test_a_connection_that_could_not_be_written_to() -> None:
    broken = entry(failed=frozenset({"c1"}))
    assert state_of(connected_recipient(broken, interval(), None, None, AT)) == (
        "dropped",
        "failed",
        [("dropped", AT)],
    )
    assert connected_recipient(broken, interval(), end(4002, None), None, AT).reason == "slow"


def test_acknowledgements_of_the_connection_and_receipts_of_the_user_go_together() -> None:
    marked = entry(marks={("u1", "c1"): {"read": 62.0, "delivered": 60.0}, ("u1", "c2"): {}})
    recipient = connected_recipient(marked, interval(), None, Note("u1", 61.0, 62.0), AT)
    assert state_of(recipient) == (
        "read",
        None,
        [("sent", AT), ("delivered", 60.0), ("read", 62.0)],
    )
    stored = connected_recipient(entry(), interval(), None, Note("u1", 61.0, None), AT)
    assert state_of(stored) == ("delivered", None, [("sent", AT), ("delivered", 61.0)])


def test_what_was_acknowledged_is_not_lost() -> None:
    marked = entry(marks={("u1", "c1"): {"delivered": 60.0}})
    assert connected_recipient(marked, interval(), end(4002, 990.0), None, AT).state == "delivered"


def test_a_message_read_before_it_is_acknowledged_stays_read() -> None:
    marked = entry(marks={("u1", "c1"): {"read": 60.0, "delivered": 61.0, "sent": 62.0}})
    recipient = connected_recipient(marked, interval(), None, None, AT)
    assert recipient.state == "read"
    assert recipient.history == [("sent", AT), ("read", 60.0)]
    stored = connected_recipient(entry(), interval(), None, Note("u1", 60.0, 60.0), AT)
    assert stored.history == [("sent", AT), ("delivered", 60.0), ("read", 60.0)]
    late = entry(marks={("u1", "c1"): {"read": 60.0}})
    learnt = connected_recipient(late, interval(), None, Note("u1", 60.0, 60.0), AT)
    assert learnt.history == stored.history


@pytest.mark.parametrize(
    ("stream", "note", "is_gone", "state"),
    [
        ("", None, False, "dropped"),
        ("user:u1", None, False, "pending"),
        ("user:u1", None, True, "expired"),
        ("user:u1", Note("u1", 60.0, None), False, "delivered"),
        ("user:u1", Note("u1", 60.0, 61.0), False, "read"),
        ("user:u1", Note("u1", 60.0, None), True, "delivered"),
    ],
)
def test_for_the_absent_a_kept_message_waits(
    stream: str, note: Note | None, is_gone: bool, state: str
) -> None:
    recipient = offline_recipient(entry(stream), "u1", "offline", note, 90.0 if is_gone else None)
    assert recipient.state == state
    assert recipient.reason == ("offline" if note is None else None)
    assert recipient.connection_id is None


def test_all_are_counted_and_the_first_ones_listed_the_lost_ones_before_them() -> None:
    recipients = TraceRecipients(limit=3)
    for number in range(5):
        recipients.add(TraceRecipient(f"u{number}", f"c{number}", "sent", history=[("sent", AT)]))
    recipients.add(excluded_recipient(entry(), "u9", "excluded"))
    assert recipients.summary() == {
        "total": 6,
        "pending": 0,
        "sent": 5,
        "delivered": 0,
        "read": 0,
        "dropped": 1,
        "expired": 0,
    }
    assert [each["user_id"] for each in recipients.listing()] == ["u9", "u0", "u1"]
    assert recipients.is_truncated
    assert recipients.listing()[0] == {
        "user_id": "u9",
        "state": "dropped",
        "reason": "excluded",
        "history": [{"state": "dropped", "at": "1970-01-01T00:00:50.000Z"}],
    }
    assert recipients.reached == {f"u{number}" for number in range(5)}
