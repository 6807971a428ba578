"""A live side with notifications and scripted channels, wired as ``app.build()`` does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.fake_clock import FakeClock
from tests.support.live_server import Live
from tests.support.waiting import PATIENCE_S
from wsserver.notifications.channels.base import Job, Limits, Outcome, sent
from wsserver.notifications.channels.websocket import WebSocketChannel
from wsserver.notifications.delivery_policy import DigestRule, Retries
from wsserver.notifications.templates import load_templates
from wsserver.notifications.wiring import NotificationSettings, NotificationSubsystem
from wsserver.protocol.notifications import ChannelName, Contact
from wsserver.storage.notifications.away import remove_contents
from wsserver.storage.notifications.contacts import ContactStore
from wsserver.storage.notifications.notifications import NotificationStore

LIMITS = Limits(10, 1000.0, 30.0)
RETRIES = Retries(2.0, 3)
DIGEST = DigestRule(3, 300.0)


class ScriptedChannel:
    """Channel with scripted outcomes; ``jobs``: all jobs that were sent."""

    def __init__(self, name: ChannelName, limits: Limits = LIMITS) -> None:
        self.name = name
        self.limits = limits
        self.is_configured = True
        self.jobs: list[Job] = []
        self.outcomes: list[Outcome | Exception] = []
        """Outcomes of the next attempts; afterwards everything is sent."""
        self.gate = asyncio.Event()
        """Attempts wait for it."""
        self.gate.set()
        self.held = 0
        """Attempts that wait for the gate."""
        self.is_closed = False

    def has_address(self, contact: Contact) -> bool:
        return bool({"email": contact.email, "sms": contact.phone, "push": contact.push}[self.name])

    async def send(self, job: Job) -> Outcome:
        self.jobs.append(job)
        outcome = self.outcomes.pop(0) if self.outcomes else sent("250 ok")
        self.held += 1
        try:
            await self.gate.wait()
        finally:
            self.held -= 1
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def close(self) -> None:
        self.is_closed = True


class LiveNotifications:
    """A live server (``live``) with the notification subsystem (``parts``)."""

    def __init__(
        self,
        clock: FakeClock,
        path: Path,
        *,
        channels: tuple[ScriptedChannel, ...] | None = None,
        retries: Retries = RETRIES,
        digest: DigestRule = DIGEST,
        away_notify_s: float = 0.0,
        away_channels: tuple[ChannelName, ...] = ("push",),
    ) -> None:
        self.clock = clock
        self.live = live = Live(
            clock,
            path,
            with_notifications=True,
            removals=[remove_contents],
            away_notify_s=away_notify_s,
        )
        if channels is None:
            channels = (ScriptedChannel("email"), ScriptedChannel("sms"))
        self.played = {channel.name: channel for channel in channels}
        self.store = NotificationStore(live.database)
        self.contacts = ContactStore(live.database)
        ways: dict[ChannelName, Any] = {
            "websocket": WebSocketChannel(live.router, clock),
            **self.played,
        }
        self.parts = parts = NotificationSubsystem(
            organization_of=live.organizations.get,
            channels=ways,
            contacts=self.contacts,
            templates=load_templates(),
            settings=NotificationSettings(
                retries=retries,
                digest=digest,
                away_notify_s=away_notify_s,
                away_channels=away_channels,
            ),
            acknowledgements=live.acknowledgements,
            metrics=live.metrics,
            connections=live.connections,
            manager=live.manager,
            members=live.members,
            directory=live.directory,
            tenancy=live.tenancy,
            permissions=live.permissions,
            audit=live.audit,
            database=live.database,
            clock=clock,
            tasks=live.tasks,
            receipts=live.receipts,
            writer=live.writer,
            control=live.control,
            hub=live.hub,
        )
        self.queue, self.metrics, self.directory = parts.queue, parts.metrics, parts.directory
        self.finder, self.service = parts.finder, parts.service
        self.acknowledgements = parts.acknowledgements
        live.dispatcher.add_handlers(parts.commands.table())
        self.is_stopped = False

    async def start(self) -> None:
        await self.live.start()
        await self.parts.start()

    async def stop(self) -> None:
        if self.is_stopped:
            return
        self.is_stopped = True
        for channel in self.played.values():
            channel.gate.set()
        await self.parts.stop()
        await self.parts.settle()
        await self.live.stop()

    async def crash(self) -> None:
        """Stop without recording what is under way."""
        self.is_stopped = True
        await self.live.tasks.cancel()
        await self.live.stop()

    async def reach(self, *user_ids: str, **fields: Any) -> None:
        """Store contacts of users."""
        for user_id in user_ids:
            contact = {"email": f"{user_id}@example.com", "phone": "+861380000", **fields}
            await self.contacts.put(Contact(user_id=user_id, **contact), None, self.clock.wall())

    async def states(self, notification_id: str) -> dict[str, str]:
        """The states by channel, or by user and channel where there are several users."""
        found = await self.store.get(notification_id)
        assert found is not None
        several = len({each.user_id for each in found.deliveries}) > 1
        return {
            f"{each.user_id} {each.channel}" if several else each.channel: each.state
            for each in found.deliveries
        }

    async def until(self, notification_id: str, **states: str) -> None:
        """Wait until the deliveries by these channels have come to these states."""
        await self.until_true(
            lambda found: {c: found.get(c) for c in states} == states,
            lambda: self.states(notification_id),
        )

    async def until_true(self, wanted: Callable[[Any], Any], ask: Callable[[], Any]) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                answer = await ask()
                if wanted(answer):
                    return answer
                self.queue.kick()
                await asyncio.sleep(0)

    async def idle(self) -> None:
        """Wait until the queue has looked at everything, and only held attempts are under way."""
        async with asyncio.timeout(PATIENCE_S):
            quiet = 0
            while quiet < 20:
                self.queue.kick()
                await self.live.database.settle()
                await asyncio.sleep(0)
                held = sum(channel.held for channel in self.played.values())
                quiet = quiet + 1 if self.queue.under_way == held else 0

    async def pass_time(self, seconds: float) -> None:
        await self.idle()  # what is under way is recorded with the time at which it began
        self.clock.advance(seconds)
        await self.queue.expire()
        await self.idle()
