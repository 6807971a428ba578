"""``Answers``: answers that grow, with permissions, scope and audit; how one begins and looks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import UNSET, Raw
from msgspec.json import encode

from wsserver.clock import Clock, rfc3339, rfc3339_or_none
from wsserver.errors import AnswerEnded, NotFound, ValidationFailed, WsServerError
from wsserver.identity.permissions import UNCONFINED_ROLES, Permissions
from wsserver.promise import Promise
from wsserver.protocol.answers import (
    AnswerAppendRequest,
    AnswerCancelRequest,
    AnswerFinishRequest,
    AnswerRequest,
    answer_faults,
    answer_message,
    answer_text,
    finish_faults,
)
from wsserver.protocol.contents import GROWING
from wsserver.protocol.ids import new_id
from wsserver.protocol.targets import session
from wsserver.protocol.types import JsonObject
from wsserver.realtime.access.actor import Actor, Audit, AuditRecorder
from wsserver.realtime.access.session_access import SessionAccess
from wsserver.realtime.access.tenancy import Tenancy
from wsserver.realtime.answers.answer_routing import AnswerNow, AnswerRouting
from wsserver.realtime.answers.followed_answers import FollowedAnswers
from wsserver.realtime.answers.growing_text import STALL_S, rate_of, require_size
from wsserver.realtime.answers.owned_answer import Ending, OwnedAnswer, stalls_of, watches_of
from wsserver.realtime.answers.owned_answers import OwnedAnswers
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.delivery.router import Router
from wsserver.realtime.messages.message import Message
from wsserver.realtime.streams.retention_policy import SESSION
from wsserver.storage.engine.connection import Connection
from wsserver.storage.messages.answers import AnswerStore, require_begin

PUBLISH = "messages:publish"
READ = "messages:read"

AnswerGuard = Callable[[str, str], Awaitable[None]]
"""Gets the session and the sender of an answer that is to begin; raises what refuses it."""


class Answers:
    """``POST /sessions/{id}/answers`` and ``/answers/{id}/…``, also over sockets."""

    def __init__(
        self,
        routing: AnswerRouting,
        owned: OwnedAnswers,
        followed: FollowedAnswers,
        store: AnswerStore,
        router: Router,
        permissions: Permissions,
        tenancy: Tenancy,
        access: SessionAccess,
        audit: Audit,
        clock: Clock,
    ) -> None:
        self._routing = routing
        self._owned = owned
        self._followed = followed
        self._store = store
        self._router = router
        self._permissions = permissions
        self._tenancy = tenancy
        self._access = access
        self._audit = AuditRecorder(audit, clock)
        self._clock = clock
        self._guards: list[AnswerGuard] = []

    def add_guard(self, guard: AnswerGuard) -> None:
        """Ask ``guard`` before each answer begins."""
        self._guards.append(guard)

    async def admit(self, session_id: str, sender: str) -> None:
        """Raise what a guard refuses an answer with: to know it before the text is paid for."""
        for guard in self._guards:
            await guard(session_id, sender)

    def growing_here(self) -> list[OwnedAnswer]:
        """The growing answers that this node owns."""
        return self._owned.all()

    def interrupt(self, answer: OwnedAnswer, reason: str) -> None:
        """End one of them for a reason of the server's, soon."""
        self._owned.interrupt(answer, reason)

    async def start(self, actor: Actor, session_id: str, request: AnswerRequest) -> JsonObject:
        """Begin an answer; returns its message id, position, and the term of the session.

        Raises ``NotFound`` for a session outside of the scope or an unknown ``reply_to``,
        ``Forbidden`` for a sender outside of it, ``TermChanged``, ``AnswerTooLong``, and what
        guards refuse with.
        """
        target = f"session:{session_id}"
        with self._audit.denials(actor, "answer", target):
            self._permissions.require(actor.claims, PUBLISH)
            scope = self._tenancy.scope(self._permissions.confined_to(actor.claims))
            await scope.find_session(session_id)
            if request.sender is not UNSET and request.sender.user_id != actor.claims.sub:
                await scope.require_users([request.sender.user_id])
        if faults := answer_faults(request):
            raise ValidationFailed(faults)
        require_size(request.content, self._owned.settings.max_bytes)
        message = self._message(actor, session_id, request)
        await self.admit(session_id, message.sender or actor.claims.sub)
        expected = None if request.term is UNSET else request.term

        def check(db: Connection) -> int:
            return require_begin(db, session_id, expected)

        wall = self._clock.wall()
        id_ = message.message_id
        hook = self._store.beginning(id_, session_id, request.content, wall, check)
        self._owned.expect(id_, session_id)
        try:
            (sent,) = await self._router.keep_checked(message, hook)
            (stored,) = await self._store.read([sent.message_id]) or (None,)
            if stored is None:  # its message is deleted already
                raise NotFound("answer", sent.message_id)
            if sent.is_new:
                self._owned.begin(stored)
        finally:
            self._owned.forget(id_)
        if sent.is_new and actor.claims.role != "service":
            self._audit.record(actor, "answer", target, message_id=id_)
        return {
            "message_id": sent.message_id,
            **sent.position,
            "seq": 0,
            "term": stored.row.term,
        }

    def append(
        self, actor: Actor, message_id: str, request: AnswerAppendRequest
    ) -> JsonObject | Awaitable[JsonObject]:
        """Append text; returns the number and the length, now or later.

        Raises as ``AnswerRouting.append``, and ``NotFound`` for an answer outside of the scope.
        """
        self._permissions.require(actor.claims, PUBLISH)
        if actor.claims.role in UNCONFINED_ROLES:
            return self._routing.append(message_id, request.seq, request.text)
        return self._append_inside(actor, message_id, request)

    async def _append_inside(
        self, actor: Actor, message_id: str, request: AnswerAppendRequest
    ) -> JsonObject:
        await self._require_inside(actor, message_id)
        outcome = self._routing.append(message_id, request.seq, request.text)
        return await outcome if isinstance(outcome, Promise) else outcome

    async def finish(
        self, actor: Actor, message_id: str, request: AnswerFinishRequest
    ) -> JsonObject:
        """End an answer by its producer.

        ``usage`` counts also where the answer was cancelled or interrupted before. Raises as
        ``AnswerRouting.end``; ``NotFound``, ``ValidationFailed``.
        """
        self._permissions.require(actor.claims, PUBLISH)
        await self._require_inside(actor, message_id)
        if faults := finish_faults(request):
            raise ValidationFailed(faults)
        ending = Ending(
            request.state,
            None if request.reason is UNSET else request.reason,
            None if request.content is UNSET else request.content,
            None if request.usage is UNSET else encode(request.usage).decode(),
            actor.claims.sub,
            None if request.seq is UNSET else request.seq,
        )
        try:
            return await self._routing.end(message_id, ending)
        except WsServerError as error:  # of another node it is no ``AnswerEnded``
            if error.code == AnswerEnded.code and ending.usage is not None:
                await self._store.note_usage(message_id, ending.usage)
            raise

    async def cancel(
        self, actor: Actor, message_id: str, request: AnswerCancelRequest
    ) -> JsonObject:
        """Cancel an answer. Raises as ``AnswerRouting.end``, ``NotFound``."""
        target = f"message:{message_id}"
        with self._audit.denials(actor, "answer_cancel", target):
            self._permissions.require(actor.claims, PUBLISH)
        await self._require_inside(actor, message_id)
        reason = None if request.reason is UNSET else request.reason
        ended = await self._routing.end(
            message_id, Ending("cancelled", reason, by=actor.claims.sub)
        )
        if actor.claims.role != "service":
            self._audit.record(actor, "answer_cancel", target)
        return ended

    async def cancel_by_member(
        self, connection: ConnectionInfo, message_id: str, reason: str | None
    ) -> None:
        """Cancel an answer in a session that the user may enter.

        Raises ``NotFound`` for all others, whether they exist or not; as ``AnswerRouting.end``.
        """
        session_id = await self._session_of(message_id)
        if session_id is None or connection.session_id not in (None, session_id):
            raise NotFound("answer", message_id)
        await self._access.prepare(connection.claims, session_id)
        if not self._access.allows(connection.claims, session_id):
            raise NotFound("answer", message_id)
        await self._routing.end(message_id, Ending("cancelled", reason, by=connection.user_id))

    async def get(self, actor: Actor, message_id: str) -> JsonObject:
        """An answer: its text, times, pauses and watchers. Raises ``NotFound``."""
        self._permissions.require(actor.claims, READ)
        await self._require_inside(actor, message_id)
        now = await self._routing.read(message_id)
        if now.row.state != GROWING:
            (stored,) = await self._store.read([message_id]) or (None,)
            if stored is None:
                raise NotFound("answer", message_id)
            now = AnswerNow(stored.row, answer_text(stored.push))
        return answer_view(now, self._clock.wall())

    async def _require_inside(self, actor: Actor, message_id: str) -> None:
        """Raise ``NotFound`` for an answer outside of the scope, as for an unknown one."""
        organization_id = self._permissions.confined_to(actor.claims)
        if organization_id is None:
            return
        session_id = await self._session_of(message_id)
        scope = self._tenancy.scope(organization_id)
        if session_id is None or not await scope.has_session(session_id):
            raise NotFound("answer", message_id)

    async def _session_of(self, message_id: str) -> str | None:
        answer = self._owned.get(message_id) or self._followed.get(message_id)
        if answer is not None:
            return answer.session_id
        row = await self._store.find(message_id)
        return None if row is None else row.session_id

    def _message(self, actor: Actor, session_id: str, request: AnswerRequest) -> Message:
        wall = self._clock.wall()
        message_id = new_id("msg", wall)
        sender = actor.claims.sub if request.sender is UNSET else request.sender.user_id
        return Message(
            type="new_message",
            members={
                "session_id": session_id,
                "message": answer_message(message_id, session_id, request, rfc3339(wall)),
            },
            target=session(session_id),
            message_id=message_id,
            organization_id=self._permissions.confined_to(actor.claims),
            with_unaffiliated=True,
            keep=True,
            sender=sender,
            dedup=actor.once,
            origin=actor.origin,
            replies_to=(
                None if request.reply_to is UNSET else (SESSION + session_id, request.reply_to)
            ),
        )


def answer_view(now: AnswerNow, wall: float) -> JsonObject:
    """An answer as the REST API returns it."""
    row, content = now.row, now.content
    is_growing = row.state == GROWING
    stalls = [(stall.at, stall.ms) for stall in stalls_of(row)]
    if is_growing and row.last_text_at is not None and wall - row.last_text_at > STALL_S:
        stalls.append((row.last_text_at, round((wall - row.last_text_at) * 1000)))
    optional: dict[str, Any] = {
        "reason": row.reason,
        "first_text_at": rfc3339_or_none(row.first_text_at),
        "ended_at": rfc3339_or_none(row.ended_at),
        "ended_by": row.ended_by,
        "usage": None if row.usage is None else Raw(row.usage.encode()),
    }
    return {
        "message_id": row.message_id,
        "session_id": row.session_id,
        "state": row.state,
        "seq": row.seq,
        "term": row.term,
        "length": len(content),
        "content": content,
        "started_at": rfc3339(row.started_at),
        **{name: value for name, value in optional.items() if value is not None},
        "stalls": [{"at": rfc3339(at), "ms": ms} for at, ms in stalls],
        "rate": rate_of(row.length, row.first_text_at, row.last_text_at),
        "watchers": [
            {
                "user_id": watch.user_id,
                "from": rfc3339(watch.since),
                **({} if watch.until is None else {"until": rfc3339(watch.until)}),
            }
            for watch in watches_of(row)
        ],
    }
