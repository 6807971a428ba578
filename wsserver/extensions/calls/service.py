"""``Calls``: begins, answers and ends calls, and pushes their changes to all concerned."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from contextlib import suppress
from functools import partial
from typing import Any, TypedDict

from wsserver.clock import Clock
from wsserver.errors import StorageFull, StorageUnavailable, WsServerError
from wsserver.extending.context import ExtensionContext
from wsserver.extensions.calls import model
from wsserver.extensions.calls.devices import Devices
from wsserver.extensions.calls.errors import (
    BadCallState,
    NobodyToCall,
    TooManyToCall,
    no_access,
)
from wsserver.extensions.calls.model import Call, Limits, Media, Party
from wsserver.extensions.calls.pushes import (
    declined_for,
    incoming,
    state_for_devices,
    state_for_user,
)
from wsserver.extensions.calls.store import CallStore, Decide
from wsserver.notifications.delivery_policy import Sending
from wsserver.notifications.recipients import Recipients
from wsserver.protocol.ids import new_id
from wsserver.protocol.targets import connection as to_connection
from wsserver.protocol.targets import user as to_user
from wsserver.realtime.connections.connection import ConnectionInfo

log = logging.getLogger(__name__)

CALL_STARTED = "call_started"
CALL_ANSWERED = "call_answered"
CALL_ENDED = "call_ended"
MISSED_CALL = "missed_call"
"""The name of the template."""
MAX_RUNG = 100
"""Users that a call rings."""
ACCESS_LOST = "access_lost"


class MissedCall(TypedDict):
    """Parameters of the template."""

    session_id: str
    caller_name: str


class Calls:
    """The calls of all nodes, whose state is in storage."""

    def __init__(
        self, context: ExtensionContext[Any], store: CallStore, devices: Devices, limits: Limits
    ) -> None:
        self._context = context
        self._store = store
        self._devices = devices
        self._limits = limits
        self._clock: Clock = context.clock

    async def find(self, call_id: str) -> Call:
        """A call; raises ``Forbidden``, as for one of others."""
        call = await self._store.get(call_id)
        if call is None:
            raise no_access(call_id)
        return call

    async def begin(
        self, connection: ConnectionInfo, session_id: str, media: tuple[Media, ...]
    ) -> tuple[Call, int]:
        """Ring the other users of a session; returns the call and the number of devices reached.

        Raises ``NobodyToCall``, ``TooManyToCall``, ``CallBusy``, ``RateLimited``.
        """
        rung = await self._context.chat.users_of(session_id) - {connection.user_id}
        if not rung:
            raise NobodyToCall(session_id)
        if len(rung) > MAX_RUNG:
            raise TooManyToCall(MAX_RUNG)
        now = self._clock.wall()
        call = Call(
            call_id=new_id("call", now),
            session_id=session_id,
            media=media,
            caller=_party(connection, now),
            rung=tuple(sorted(rung)),
            created_at=now,
            rings_until=now + self._limits.ring_s,
        )
        self._devices.entered(connection.connection_id, connection)
        await self._store.add(call, partial(self._begun_late, call))
        self._devices.rings(call)
        self._emit(CALL_STARTED, call)
        pushes = self._context.pushes
        rings = [pushes.send(incoming(call, to_user(user_id))) for user_id in call.rung]
        devices = sum([sent.receipt.sent for sent in await asyncio.gather(*rings)])
        if connection.is_alive:
            pushes.post(state_for_user(call, connection.user_id, connection.user_id))
        else:
            await self.lost({connection.connection_id})
        return call, devices

    def _begun_late(self, call: Call, is_stored: bool | None) -> None:
        """End a call that was stored although its caller was refused: it rings nowhere."""
        if is_stored:
            ending = self.cancel(call.caller.user_id, call.call_id, None)
            self._context.tasks.spawn(ending, name="call that was refused")

    async def answer(self, connection: ConnectionInfo, call_id: str) -> Call:
        """Answer a call on this device.

        Raises ``BadCallState`` if another one was first, ``CallBusy`` if it has another call.
        """
        now = self._clock.wall()
        self._devices.entered(connection.connection_id, connection)
        party = _party(connection, now)
        call = await self._change(
            call_id,
            lambda call: model.answered(call, party, now),
            connection.user_id,
            connection.connection_id,
        )
        if not connection.is_alive:
            await self.lost({connection.connection_id})
        return call

    async def decline(self, user_id: str, call_id: str, reason: str | None) -> None:
        """Decline a call for a user, on all of their devices."""
        now = self._clock.wall()
        await self._change(
            call_id, lambda call: model.declined(call, user_id, reason, now), user_id
        )

    async def cancel(self, user_id: str, call_id: str, reason: str | None) -> None:
        """Stop ringing, as the caller."""
        now = self._clock.wall()
        await self._change(
            call_id, lambda call: model.cancelled(call, user_id, reason, now), user_id
        )

    async def end(self, user_id: str, call_id: str, reason: str | None) -> None:
        """Hang up."""
        now = self._clock.wall()
        await self._change(call_id, lambda call: model.ended(call, user_id, reason, now), user_id)

    async def erase(self, user_id: str) -> dict[str, int]:
        """End the open calls of a user whose rows are to be erased, for all who are in them."""
        for call in await self._store.open_calls():
            with suppress(BadCallState):  # another user has answered it meanwhile
                if call.party_of(user_id) is not None:
                    await self.end(user_id, call.call_id, None)
                elif call.state == "ringing" and user_id in call.ringing_users:
                    await self.decline(user_id, call.call_id, None)
        return {}

    async def resume(
        self, user_id: str, connection_id: str, call_id: str, *, only_if_lost: bool = False
    ) -> Call:
        """Be in a call on another connection than before. Raises ``CallBusy`` for a busy one."""
        now = self._clock.wall()
        self._devices.entered(connection_id)
        return await self._change(
            call_id,
            lambda call: model.resumed(
                call, user_id, connection_id, now, only_if_lost=only_if_lost
            ),
            user_id,
            connection_id,
        )

    async def enforce_access(self, connection_ids: Collection[str]) -> None:
        """End the calls of connections of this node that may not enter their sessions any more."""
        access = self._context.access
        for call in await self._store.of_connections(connection_ids):
            for party in call.parties:
                connection = self._devices.connection(party.connection_id)
                if connection is None:
                    continue
                if not await access.may_enter(connection.claims, call.session_id):
                    await self.end(party.user_id, call.call_id, ACCESS_LOST)

    async def lost(self, connection_ids: Collection[str]) -> None:
        """Connections have ended: their parties are awaited from now on."""
        for found in await self._store.of_connections(connection_ids):
            for party in found.parties:
                if party.connection_id in connection_ids:
                    await self._lose(found.call_id, party)

    async def ring(self, user_id: str, connection_id: str) -> None:
        """A device has connected: it rings if its user is called."""
        for call_id in self._devices.ringing_for(user_id):
            call = await self._store.get(call_id)
            if call is not None and call.state == "ringing" and user_id in call.ringing_users:
                self._context.pushes.post(incoming(call, to_connection(connection_id)))

    async def start(self) -> None:
        """Learn of the open calls; after a start of the only server, all parties are away."""
        control = self._context.control
        if not control.has_others:
            for call in await self._store.open_calls():
                await self.lost({each.connection_id for each in call.parties})
        await self._learn()

    async def learn_again(self) -> None:
        """Learn of the open calls whose notices this node may have missed."""
        try:
            await self._learn()
        except WsServerError as error:
            log.warning("open calls not read error=%s", error)

    async def _learn(self) -> None:
        for call in await self._store.open_calls():
            self._devices.learn(call)

    async def confirm(self) -> None:
        """Note that the connections of this node are still there, and check their access."""
        self._devices.forget_old()
        here = self._devices.here
        if here:
            await self.enforce_access(here)
            in_call = await self._store.confirm(here, self._clock.wall())
            self._devices.left(here - in_call)

    async def look(self) -> None:
        """End what time has ended, and notify missed calls; on one node for all."""
        now = self._clock.wall()
        for found in await self._store.due(now):
            call = await self._change(
                found.call_id, lambda call: model.passed(call, self._limits, now), None
            )
            if call.state == "missed" and not call.is_told:
                await self._notify(call)
                await self._store.change(call.call_id, model.notified)

    async def _lose(self, call_id: str, party: Party) -> None:
        now = self._clock.wall()
        await self._change(
            call_id, lambda call: model.lost(call, party.connection_id, now), party.user_id
        )

    async def _change(
        self, call_id: str, decide: Decide, by: str | None, entering: str | None = None
    ) -> Call:
        changed = partial(self._changed, by)
        outcome = await self._store.change(call_id, decide, entering, changed)
        if outcome is None:
            raise no_access(call_id)
        changed(outcome)
        return outcome[1]

    def _changed(self, by: str | None, outcome: tuple[Call, Call] | None) -> None:
        """Push a change, also one that was stored although ``by`` was refused."""
        if outcome is not None and outcome[0] != outcome[1]:
            self._push_change(*outcome, by)

    def _push_change(self, before: Call, after: Call, by: str | None) -> None:
        post = self._context.pushes.post
        if after.state != before.state:
            for user_id in dict.fromkeys((after.caller.user_id, *after.rung)):
                post(state_for_user(after, user_id, by))
            self._emit(CALL_ANSWERED if after.is_open else CALL_ENDED, after)
        elif len(after.declined) > len(before.declined):
            post(declined_for(after, after.declined[-1]))
        else:
            self._devices.away(after)
            for message in state_for_devices(after, by, *before.parties):
                post(message)

    async def _notify(self, call: Call) -> None:
        parameters = {
            "session_id": call.session_id,
            "caller_name": call.caller.username or call.caller.user_id,
        }
        recipients = Recipients(user_ids=call.ringing_users)
        sending = Sending(channels=("websocket", "push"), once=(MISSED_CALL, call.call_id))
        notifications = self._context.notifications
        try:
            await notifications.send_template(recipients, MISSED_CALL, parameters, sending)
        except (StorageUnavailable, StorageFull):
            raise  # the call is found again
        except WsServerError as error:
            log.warning("missed call not notified call_id=%s error=%s", call.call_id, error)

    def _emit(self, name: str, call: Call) -> None:
        seconds = None
        if call.answered_at is not None and call.ended_at is not None:
            seconds = round(call.ended_at - call.answered_at, 3)
        self._context.events.emit(
            name,
            call_id=call.call_id,
            session_id=call.session_id,
            state=call.state,
            media=list(call.media),
            caller=call.caller.user_id,
            callee=None if call.callee is None else call.callee.user_id,
            reason=call.reason,
            duration_s=seconds,
        )


def _party(connection: ConnectionInfo, now: float) -> Party:
    return Party(connection.user_id, connection.claims.username, connection.connection_id, now)
