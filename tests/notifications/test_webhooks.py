"""Webhooks, against a real receiver and a real database."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from tests.support.channel_jobs import CANARY, REDACT
from tests.support.database_processes import enter_process, remove_process
from tests.support.http_provider import Answer, HttpProvider, ReceivedRequest
from tests.support.message_rows import NOW, RETENTION_S
from wsserver.addresses.reach import Reach
from wsserver.clock import Clock
from wsserver.http_client import HttpClient
from wsserver.notifications.delivery_policy import Retries
from wsserver.notifications.http import HttpAnswer
from wsserver.notifications.webhooks import Target, Webhooks, judge_webhook, sign
from wsserver.realtime.observability.events import EventBus
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.leased_table import Lease, Result
from wsserver.storage.engine.sqlite import SqliteDatabase
from wsserver.storage.messages.streams import Append, Revised, Revision, StreamStore
from wsserver.storage.tables.webhooks import (
    OTHERS_KEPT_S,
    Posting,
    WebhookOutbox,
    remove_contents,
)
from wsserver.tasks import Tasks

SECRET = "hook-secret"
QUICK = Retries(backoff_s=0.01, attempts=4)


class Running:
    """Webhooks on a database, with the bus they listen to."""

    def __init__(self, path: Path, targets: list[Target], reach: Reach, retries: Retries) -> None:
        clock = Clock()
        self.database = SqliteDatabase(path / "d.sqlite3", clock=clock)
        self.outbox = WebhookOutbox(self.database)
        self.events = EventBus(Tasks(), clock, lambda: None)
        self.webhooks = Webhooks(
            targets,
            SECRET,
            self.outbox,
            HttpClient(reach, timeout_s=5),
            clock,
            retries=retries,
            redact=REDACT,
        )

    async def rows(self) -> list[tuple[Any, ...]]:
        """What is in the table: attempts, whether it is given up, the latest detail."""
        return await self.database.read(
            lambda db: db.execute(
                "SELECT attempts, due_at IS NULL, detail FROM webhook_outbox ORDER BY id"
            ).fetchall()
        )


@asynccontextmanager
async def running(
    path: Path,
    *targets: Target,
    reach: Reach | None = None,
    retries: Retries = QUICK,
) -> AsyncIterator[Running]:
    """Start on what the database has, stop at the end."""
    made = Running(path, list(targets), reach or Reach(loopback=True), retries)
    await made.database.open()
    made.webhooks.listen(made.events)
    await made.webhooks.start()
    try:
        yield made
    finally:
        await made.webhooks.stop()
        await made.database.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it; the test's time limit ends a vain wait."""
    while not condition():
        await asyncio.sleep(0.005)


def everything(provider: HttpProvider, path: str = "/hook") -> Target:
    return Target(provider.url(path), ("*",))


def verified(asked: ReceivedRequest) -> dict[str, Any]:
    """Check the signature as a receiver would."""
    given = dict(part.split("=", 1) for part in asked.headers["X-Wsserver-Signature"].split(","))
    signed = given["t"].encode() + b"." + asked.body
    expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(given["v1"], expected)
    event: dict[str, Any] = json.loads(asked.body)
    assert event["name"] == asked.headers["X-Wsserver-Event"]
    return event


def test_the_signature_is_the_documented_one() -> None:
    expected = hmac.new(b"s", b'1700000000.{"a":1}', hashlib.sha256).hexdigest()
    assert sign(b'{"a":1}', "s", 1700000000) == f"t=1700000000,v1={expected}"


@pytest.mark.gen_test
async def test_an_event_is_posted_and_signed(provider: HttpProvider, tmp_path: Path) -> None:
    async with running(tmp_path, everything(provider)) as here:
        here.events.emit("shop.sold", user_id="u1", what="鞋", odd=object)
        await until(lambda: here.webhooks.metrics.sent == 1)
        event = verified(provider.requests[0])
        assert (event["user_id"], event["what"]) == ("u1", "鞋")
        assert event["timestamp"].endswith("Z")
        assert provider.requests[0].headers["X-Wsserver-Delivery"].startswith("hook_")
        assert await here.rows() == []
        assert here.webhooks.health()["waiting"] == 0


@pytest.mark.gen_test
async def test_what_other_processes_post_counts_in_the_database(
    provider: HttpProvider, tmp_path: Path
) -> None:
    target = everything(provider)
    async with running(tmp_path, target) as here:
        here.database.is_shared = True
        await enter_process(here.database, "other")
        postings = [Posting(f"hook_{name}", target.url, "e", b"{}", 1.0) for name in "ab"]
        await here.outbox.add(postings)
        claimed = await here.outbox.claim(target.url, 1.0, 2, Lease("other", 2.0))
        assert len(claimed) == 2
        await here.webhooks.release()
        assert here.webhooks.health()["waiting"] == 2
        assert provider.requests == []
        await here.outbox.record(
            Lease("other", 2.0), Result(claimed[0].ids, "sent", None, 1.0, "sent")
        )
        await here.webhooks.release()
        assert here.webhooks.health()["waiting"] == 1
        await remove_process(here.database, "other")
        await here.webhooks.release()
        await until(lambda: here.webhooks.metrics.sent == 1)
        assert here.webhooks.health()["waiting"] == 0


@pytest.mark.gen_test
async def test_an_event_for_a_url_that_other_processes_have_is_kept_for_a_day(
    provider: HttpProvider, tmp_path: Path
) -> None:
    made = Running(tmp_path, [everything(provider)], Reach(loopback=True), QUICK)
    made.database.is_shared = True
    await made.database.open()
    now = Clock().wall()
    await made.outbox.add(
        [
            Posting(f"hook_{number}", "https://other.example/", "e", b"{}", at)
            for number, at in enumerate((now, now - OTHERS_KEPT_S - 1))
        ]
    )
    await made.webhooks.start()
    assert [url for url, *_ in await made.outbox.waiting()] == ["https://other.example/"]
    assert len(await made.rows()) == 1
    await made.webhooks.stop()
    await made.database.close()


@pytest.mark.gen_test
async def test_each_url_gets_what_it_asked_for_once(provider: HttpProvider, tmp_path: Path) -> None:
    few = Target(provider.url("/few"), ("user_*", "user_connected", "alert_raised"))
    async with running(tmp_path, few, everything(provider, "/all")) as here:
        for name in ("user_connected", "typing_status_changed", "alert_raised"):
            here.events.emit(name)
        await until(lambda: here.webhooks.metrics.sent == 5)
    got = [(asked.path, asked.headers["X-Wsserver-Event"]) for asked in provider.requests]
    assert sorted(got) == [
        ("/all", "alert_raised"),
        ("/all", "typing_status_changed"),
        ("/all", "user_connected"),
        ("/few", "alert_raised"),
        ("/few", "user_connected"),
    ]


@pytest.mark.gen_test
async def test_it_is_tried_again_until_it_is_taken(provider: HttpProvider, tmp_path: Path) -> None:
    statuses = iter([500, 404, 200])
    provider.answer = lambda request: Answer(next(statuses))
    async with running(tmp_path, everything(provider)) as here:
        here.events.emit("a")
        await until(lambda: here.webhooks.metrics.sent == 1)
        assert here.webhooks.metrics.retried == 2
    ids = {asked.headers["X-Wsserver-Delivery"] for asked in provider.requests}
    assert len(provider.requests) == 3
    assert len(ids) == 1


@pytest.mark.gen_test
async def test_at_last_it_is_given_up_and_stays_to_be_seen(
    provider: HttpProvider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    provider.answer_with(500, f"no {CANARY}".encode())
    async with running(tmp_path, everything(provider)) as here:
        here.events.emit("a")
        await until(lambda: here.webhooks.metrics.failed == 1)
        assert await here.rows() == [(4, 1, "500: no [redacted]")]
        assert here.webhooks.health()["waiting"] == 0
        assert await here.outbox.prune(Clock().wall() + 8 * 86_400) == 1
    assert len(provider.requests) == 4
    assert [each.name for each in caplog.records].count("wsserver.notifications.webhooks") == 1


@pytest.mark.gen_test
@pytest.mark.parametrize("status", [410, 302])
async def test_gone_and_redirected_webhooks_are_given_up_immediately(
    provider: HttpProvider, tmp_path: Path, status: int
) -> None:
    provider.answer_with(status, Location=provider.url("/inside"))
    async with running(tmp_path, everything(provider)) as here:
        here.events.emit("a")
        await until(lambda: here.webhooks.metrics.failed == 1)
    assert len(provider.requests) == 1


@pytest.mark.gen_test
async def test_a_restart_loses_nothing(provider: HttpProvider, tmp_path: Path) -> None:
    provider.hang()
    async with running(tmp_path, everything(provider)) as here:
        here.events.emit("a")
        await provider.arrived.wait()
        here.events.emit("b")  # stored by stop()
    provider.answer_with(200)
    asked_before = len(provider.requests)
    async with running(tmp_path, everything(provider)) as here:
        await until(lambda: here.webhooks.metrics.sent == 2)
        assert await here.rows() == []
    names = [each.headers["X-Wsserver-Event"] for each in provider.requests[asked_before:]]
    assert sorted(names) == ["a", "b"]


@pytest.mark.gen_test
async def test_a_url_that_is_not_configured_any_more(
    provider: HttpProvider, tmp_path: Path
) -> None:
    provider.answer_with(500)
    patient = Retries(backoff_s=300, attempts=8)
    async with running(tmp_path, everything(provider), retries=patient) as here:
        here.events.emit("a")
        await until(lambda: here.webhooks.metrics.retried == 1)
    async with running(tmp_path, everything(provider, "/other")) as here:
        assert await here.rows() == []


@pytest.mark.gen_test
async def test_one_that_hangs_holds_up_no_other(provider: HttpProvider, tmp_path: Path) -> None:
    provider.answer = lambda request: Answer(hang=request.path == "/slow")
    slow = Target(provider.url("/slow"), ("*",))
    async with running(tmp_path, slow, everything(provider, "/quick")) as here:
        for _ in range(20):
            here.events.emit("a")
        await until(lambda: here.webhooks.metrics.sent == 20)
        assert here.webhooks.health()["waiting"] == 20


@pytest.mark.gen_test
async def test_what_may_not_be_reached_is_not(provider: HttpProvider, tmp_path: Path) -> None:
    async with running(tmp_path, everything(provider), reach=Reach()) as here:
        here.events.emit("a")
        await until(lambda: here.webhooks.metrics.failed == 1)
        ((_, is_dead, detail),) = await here.rows()
        assert is_dead
        assert "https" in detail
    assert provider.requests == []


@pytest.mark.gen_test
async def test_no_event_is_too_odd(provider: HttpProvider, tmp_path: Path) -> None:
    async with running(tmp_path, everything(provider)) as here:
        here.events.emit("huge", text="x" * 300_000)
        here.events.emit("odd", number=10**400)
        here.events.emit("fine")
        await until(
            lambda: here.webhooks.metrics.sent >= 1 and not here.webhooks.health()["waiting"]
        )
    # Concurrent posts may arrive in any order.
    assert "fine" in {each.headers["X-Wsserver-Event"] for each in provider.requests}


@pytest.mark.gen_test
async def test_events_over_the_limit_are_dropped_and_logged(
    provider: HttpProvider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    provider.hang()
    async with running(tmp_path, everything(provider)) as here:
        for _ in range(10_005):  # without a pause, in which some could be stored
            here.events.emit("a")
        assert here.webhooks.metrics.dropped == 5
        assert here.webhooks.health()["waiting"] == 10_000
    assert "dropped total=1" in caplog.text


@pytest.mark.gen_test
async def test_a_batch_that_cannot_be_stored_does_not_end_the_storing(
    provider: HttpProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, everything(provider)) as here:
        with monkeypatch.context() as patched:

            async def broken(postings: object) -> None:
                raise RuntimeError("a bug")

            patched.setattr(here.outbox, "add", broken)
            here.events.emit("first")
            await until(lambda: here.webhooks.metrics.dropped == 1)
        assert here.webhooks.health()["waiting"] == 0
        here.events.emit("second")
        await until(lambda: here.webhooks.metrics.sent == 1)
    assert provider.requests[0].headers["X-Wsserver-Event"] == "second"


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (200, "sent"),
        (202, "sent"),
        (301, "failed"),
        (400, "retry"),
        (404, "retry"),
        (410, "failed"),
        (429, "retry"),
        (500, "retry"),
    ],
)
def test_answers_of_receivers(status: int, result: str) -> None:
    assert judge_webhook(HttpAnswer(status, {}, b""), REDACT, 0).result == result


# What messages say


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("globs", "is_whole"),
    [
        (("*",), False),
        (("*", "user_*"), False),
        (("*", "message_received"), True),
        (("message_*",), True),
        (("message_received",), True),
    ],
)
async def test_what_a_message_says_is_posted_where_the_event_is_named(
    provider: HttpProvider,
    tmp_path: Path,
    globs: tuple[str, ...],
    is_whole: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    message = {"id": "msg_1", "content": CANARY}
    with caplog.at_level("INFO"):
        async with running(tmp_path, Target(provider.url("/hook"), globs)) as here:
            here.events.emit("message_received", message=message, user_id="u1")
            await until(lambda: here.webhooks.metrics.sent == 1)
    event = verified(provider.requests[0])
    assert event["user_id"] == "u1"
    shown = message if is_whole else {"id": "msg_1", "content_omitted": True}
    assert event["message"] == shown
    hints = [record for record in caplog.records if "webhook_urls" in record.getMessage()]
    assert len(hints) == (0 if is_whole else 1)


@pytest.mark.gen_test
async def test_what_backends_publish_is_posted_only_where_it_is_named(
    provider: HttpProvider, tmp_path: Path
) -> None:
    named = Target(provider.url("/named"), ("*", "message_published"))
    async with running(tmp_path, everything(provider)) as here:
        assert not here.events.hears("message_published")
    async with running(tmp_path / "other", everything(provider), named) as here:
        here.events.emit("message_published", bytes=5)
        here.events.emit("alert_raised")
        await until(lambda: here.webhooks.metrics.sent == 3)
    got = sorted((asked.path, asked.headers["X-Wsserver-Event"]) for asked in provider.requests)
    assert got == [
        ("/hook", "alert_raised"),
        ("/named", "alert_raised"),
        ("/named", "message_published"),
    ]


async def delete(database: Database, message_id: str) -> None:
    """Delete a message of a session, as the server does."""
    store = StreamStore(database)
    until = NOW + RETENTION_S
    await store.append([Append("session:s1", message_id, "new_message", b"{}", NOW, until)])
    revise = Revision("session:s1", message_id, lambda _: Revised(b"{}", NOW))
    await store.revise([revise])
    await database.run(partial(remove_contents, message_ids=[message_id]))


@pytest.mark.gen_test
async def test_what_a_deleted_message_said_is_not_posted_any_more(
    provider: HttpProvider, tmp_path: Path
) -> None:
    statuses = chain([503, 503], repeat(200))
    provider.answer = lambda request: Answer(next(statuses))
    target = Target(provider.url("/hook"), ("message_*",))
    slow = Retries(backoff_s=0.2, attempts=9)
    async with running(tmp_path, target, retries=slow) as here:
        for message_id in ("msg_1", "msg_2"):
            said = {"id": message_id, "session_id": "s1", "content": f"secret {message_id}"}
            here.events.emit("message_received", message_id=message_id, message=said)
        await until(lambda: len(provider.requests) >= 2)
        await delete(here.database, "msg_1")
        # As of another node, which has not heard of it.
        here.events.emit("message_received", message_id="msg_1", message=said | {"id": "msg_1"})
        await until(lambda: len(provider.requests) >= 5)
        events = [verified(asked) for asked in provider.requests]
        later = [each["message"] for each in events[2:] if each["message_id"] == "msg_1"]
        assert len(later) == 2
        for message in later:
            assert message == {"id": "msg_1", "session_id": "s1", "deleted": True, "created_at": ""}
        (kept,) = [each["message"] for each in events[2:] if each["message_id"] == "msg_2"]
        assert kept["content"] == "secret msg_2"
