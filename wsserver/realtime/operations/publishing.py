"""Publishing by backends and administrators: checks permission, scope, target and fields; sends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from itertools import groupby
from typing import Any, cast

from msgspec import UNSET, ValidationError, convert, to_builtins

from wsserver.clock import Clock, rfc3339
from wsserver.cluster.broker import PublishResult
from wsserver.errors import Forbidden, ValidationFailed, WsServerError
from wsserver.identity.claims import ROLES
from wsserver.identity.ids import ID_FORM, is_id
from wsserver.identity.permissions import UNCONFINED_ROLES, Permissions
from wsserver.protocol.ids import new_id
from wsserver.protocol.origin import Origin
from wsserver.protocol.pushes import (
    LIVE_TYPES,
    Custom,
    NewMessage,
    PublishableFields,
    message_of,
    publishable_fields,
    require_publishable,
)
from wsserver.protocol.requests import (
    BODY,
    BatchRequest,
    Body,
    BroadcastRequest,
    PublishRequest,
    ReadBatch,
    TargetRequest,
    read_request,
)
from wsserver.protocol.targets import EVERYONE, Target, TargetType, session, user
from wsserver.protocol.validation import Fault, gather, one_of
from wsserver.realtime.access.actor import Actor, Audit, AuditRecorder
from wsserver.realtime.access.memberships import Members
from wsserver.realtime.access.tenancy import Scope, Tenancy
from wsserver.realtime.delivery.router import Router
from wsserver.realtime.messages.message import Message, Sent
from wsserver.realtime.messages.variants import Variants
from wsserver.realtime.streams.retention_policy import SESSION, is_kept_by_default, stream_of
from wsserver.realtime.tracing.dry_run import DryRuns, users_of

PUBLISH = "messages:publish"
NO_ONE: frozenset[str] = frozenset()
MAX_FAULTS_IN_BATCH = 10
"""Reported of each message."""
_KEPT, _LIVE, _REFUSED = "kept", "live", "refused"
_SESSION, _BROADCAST = TargetType.SESSION, TargetType.BROADCAST
_ROLE, _USER = TargetType.ROLE, TargetType.USER
"""Looked up once: in a class of Python 3.11 that takes 0.1 µs each time."""


class Publishing:
    """``POST /broadcast``, ``/messages`` and similar, also over the monitor's socket.

    ``require_term`` compares the term of a session for live messages; kept ones are compared in
    the transaction that stores them. ``reserved``: types that only extensions send.
    """

    def __init__(
        self,
        router: Router,
        permissions: Permissions,
        members: Members,
        tenancy: Tenancy,
        audit: Audit,
        clock: Clock,
        dry_runs: DryRuns,
        require_term: Callable[[str, int], Awaitable[None]],
        reserved: Collection[str] = (),
    ) -> None:
        self._reserved = reserved
        self._dry_runs = dry_runs
        self._require_term = require_term
        self._router = router
        self._permissions = permissions
        self._members = members
        self._tenancy = tenancy
        self._audit = AuditRecorder(audit, clock)
        self._clock = clock

    async def broadcast(self, actor: Actor, request: BroadcastRequest) -> dict[str, Any]:
        """Send to all connections, one organization or one role; returns the counts."""
        with self._audit.denials(actor, "broadcast", str(EVERYONE)):
            message = self._message(actor, request, EVERYONE, self._clock.wall())
            scope = self._scope(actor)
            await _require_inside(scope, actor, message, request)
            if request.organization_id is not UNSET:
                scope.require_organization(request.organization_id)
                message.organization_id = request.organization_id
        if request.role is not UNSET:
            message.role = request.role
        sent = await self._router.send(message)
        self._record(actor, "broadcast", message, sent)
        return sent.answer()

    async def publish(self, actor: Actor, request: PublishRequest) -> dict[str, Any]:
        """Send to a target named in the body; returns the counts."""
        return await self.submit(actor, checked_target(request), request)

    async def publish_to_user(self, actor: Actor, user_id: str, body: Body) -> dict[str, Any]:
        """Send to a user named in the path; returns the counts.

        Raises ``NotFound`` for one outside of the actor's organization.
        """
        self._permissions.require(actor.claims, PUBLISH)
        if user_id != actor.claims.sub:
            await self._scope(actor).find_user(user_id)
        return await self.submit(actor, user(user_id), body)

    async def publish_to_session(self, actor: Actor, session_id: str, body: Body) -> dict[str, Any]:
        """Send to a session named in the path; returns the counts. Raises as for a user."""
        self._permissions.require(actor.claims, PUBLISH)
        await self._scope(actor).find_session(session_id)
        return await self.submit(actor, session(session_id), body)

    def submit(self, actor: Actor, target: Target, body: Body) -> Awaitable[dict[str, Any]]:
        """Send without waiting: a kept message is queued when this returns.

        Unless the actor's role is confined to an organization: then its scope may have to be read
        from storage first.
        """
        with self._audit.denials(actor, "publish", str(target)):
            message = self._message(actor, body, target, self._clock.wall())
        if actor.claims.role in UNCONFINED_ROLES:
            return self._submit(actor, message)
        return self._submit_inside(actor, message, body)

    async def _submit_inside(self, actor: Actor, message: Message, body: Body) -> dict[str, Any]:
        with self._audit.denials(actor, "publish", str(message.target)):
            await _require_inside(self._scope(actor), actor, message, body)
        return await self._submit(actor, message)

    def _submit(self, actor: Actor, message: Message) -> Awaitable[dict[str, Any]]:
        if message.keep:
            kept = self._router.keep([message])
            return kept.then(lambda sent: self._sent(actor, message, sent[0]))
        return self._send_live(actor, message)

    async def _send_live(self, actor: Actor, message: Message) -> dict[str, Any]:
        if message.term is not None:
            await self._require_term(message.target.id, message.term)
        return self._sent(actor, message, await self._router.send(message))

    def _sent(self, actor: Actor, message: Message, sent: Sent) -> dict[str, Any]:
        if not _is_traffic(actor):
            self._record(actor, "publish", message, sent)
        return sent.answer()

    async def batch(self, actor: Actor, request: BatchRequest | ReadBatch) -> dict[str, Any]:
        """Send many messages in order; each succeeds or fails by itself. One audit entry.

        Consecutive kept messages are stored in one transaction.
        """
        with self._audit.denials(actor, "batch", ""):
            self._permissions.require(actor.claims, PUBLISH)
        bodies = _bodies_of(request)
        wall, origin = self._clock.wall(), actor.origin
        variants = Variants()
        read = [
            self._read(actor, index, body, wall, origin, variants)
            for index, body in enumerate(bodies)
        ]
        if actor.claims.role not in UNCONFINED_ROLES:
            read = await self._inside(actor, read, bodies)
        outcomes: list[Sent | WsServerError] = []
        for kind, group in groupby(read, _handling):
            if kind is _REFUSED:
                outcomes += cast("Iterable[WsServerError]", group)
            else:
                messages = cast("list[Message]", list(group))
                outcomes += await self._send_all(messages, keep=kind is _KEPT)
        results = list(map(_result_of, outcomes))
        sent = [outcome for outcome in outcomes if isinstance(outcome, Sent)]
        accepted, matched = len(sent), sum([each.receipt.matched for each in sent])
        if not _is_traffic(actor):
            self._audit.record(
                actor,
                "batch",
                "",
                messages=len(results),
                accepted=accepted,
                refused=len(results) - accepted,
                matched=matched,
            )
        unreachable = sorted({name for each in sent for name in each.receipt.unreachable})
        return {"results": results, **({"unreachable": unreachable} if unreachable else {})}

    async def explain(self, actor: Actor, request: PublishRequest) -> dict[str, Any]:
        """Dry run: the recipients that a message would have, and who is excluded and why.

        Connections of other organizations are not among the excluded for a confined role.
        """
        message = self._message(actor, request, checked_target(request), self._clock.wall())
        scope = self._scope(actor)
        await _require_inside(scope, actor, message, request)
        await scope.learn(users_of(message, self._members))
        return await self._dry_runs.explain(message, scope)

    def _read(
        self,
        actor: Actor,
        index: int,
        body: PublishRequest | WsServerError,
        wall: float,
        origin: Origin,
        variants: Variants,
    ) -> Message | WsServerError:
        """One message of a batch, or the error of an invalid one."""
        if isinstance(body, WsServerError):
            return body
        variant = variants.of(body, wall)
        if variant is not None:
            return variant
        try:
            message = self._permitted(actor, body, checked_target(body), wall, origin)
        except ValidationFailed as error:
            return _within_batch(error, index)
        except WsServerError as error:
            return error
        if message.dedup is not None:
            scope, key = message.dedup
            message.dedup = scope, f"{key}#{index}"
        variants.note(body, message)
        return message

    async def _inside(
        self,
        actor: Actor,
        messages: list[Message | WsServerError],
        bodies: Sequence[PublishRequest | WsServerError],
    ) -> list[Message | WsServerError]:
        """The messages, each replaced by its error if it names something outside of the scope."""
        pairs = {
            index: (message, body)
            for index, (message, body) in enumerate(zip(messages, bodies, strict=True))
            if isinstance(message, Message) and isinstance(body, PublishRequest)
        }
        checked = list(messages)
        if not pairs:
            return checked
        scope = self._scope(actor)
        # One read for all users rather than one for each message.
        await scope.learn({id_ for pair in pairs.values() for id_ in _users_named(*pair)})
        for index, (message, body) in pairs.items():
            try:
                await _require_inside(scope, actor, message, body)
            except WsServerError as error:
                checked[index] = error
        denied = (str(pairs[i][0].target) for i in pairs if isinstance(checked[i], Forbidden))
        for target in dict.fromkeys(denied):  # once each, as a batch may repeat them a lot
            self._audit.record(actor, "batch", target, Forbidden.code)
        return checked

    async def _send_all(
        self, messages: list[Message], *, keep: bool
    ) -> Sequence[Sent | WsServerError]:
        if not keep and any(message.term is not None for message in messages):
            return await self._send_each(messages)
        if not keep:
            # All are published before the first result of another node is awaited.
            begun = [self._router.begin(message) for message in messages]
            return [
                Sent(id_, each if isinstance(each, PublishResult) else await each)
                for id_, each in begun
            ]
        try:
            outcomes = await self._router.keep(messages)
        except WsServerError as error:
            return [error] * len(messages)
        return [each if each.refusal is None else each.refusal for each in outcomes]

    async def _send_each(self, messages: list[Message]) -> Sequence[Sent | WsServerError]:
        """Send live messages, some of which may be refused for their term, in their order."""
        outcomes: list[Sent | WsServerError] = []
        for message in messages:
            try:
                if message.term is not None:
                    await self._require_term(message.target.id, message.term)
                outcomes.append(await self._router.send(message))
            except WsServerError as error:
                outcomes.append(error)
        return outcomes

    def _record(self, actor: Actor, action: str, message: Message, sent: Sent) -> None:
        self._audit.record(
            actor,
            action,
            str(message.target),
            type=message.type,
            message_id=sent.message_id,
            matched=sent.receipt.matched,
        )

    def _message(self, actor: Actor, body: Body, target: Target, wall: float) -> Message:
        """The message of a body, if the actor may publish; ``wall``: the time."""
        self._permissions.require(actor.claims, PUBLISH)
        return self._permitted(actor, body, target, wall, actor.origin)

    def _permitted(
        self, actor: Actor, body: Body, target: Target, wall: float, origin: Origin
    ) -> Message:
        """The message of a body; ``origin``: the actor's."""
        keep, fields = _checked(body, target, self._reserved)
        message_id = new_id("msg", wall)
        replies_to = None
        if isinstance(fields, Custom):
            members = {"data": fields.data}
        elif isinstance(fields, NewMessage):
            members = {
                "session_id": fields.session_id,
                "message": message_of(message_id, fields, rfc3339(wall)),
            }
            if fields.reply_to is not UNSET:
                replies_to = SESSION + fields.session_id, fields.reply_to
        else:
            members = to_builtins(fields)
        return Message(
            type=body.type,
            members=members,
            target=target,
            message_id=message_id,
            organization_id=self._permissions.confined_to(actor.claims),
            # Users without an organization (customers) belong to the session.
            with_unaffiliated=target.type is _SESSION,
            exclude_users=frozenset(body.exclude_users) if body.exclude_users else NO_ONE,
            keep=keep,
            ttl_s=body.ttl_s if body.ttl_s is not UNSET else None,
            sender=_sender(body) or actor.claims.sub,
            dedup=actor.once if keep else None,
            term=body.term if body.term is not UNSET else None,
            origin=origin,
            replies_to=replies_to,
        )

    def _scope(self, actor: Actor) -> Scope:
        return self._tenancy.scope(self._permissions.confined_to(actor.claims))


async def _require_inside(scope: Scope, actor: Actor, message: Message, body: Body) -> None:
    """Raise ``Forbidden`` if a message is for, by or about a user or object outside of the scope.

    ``exclude_users`` may name any user: it discloses nothing about them.
    """
    if scope.organization_id is None:
        return
    target = message.target
    match target.type:
        case TargetType.ORGANIZATION:
            scope.require_organization(target.id)
        case TargetType.CONNECTION:
            await scope.require_connection(target.id)
        case TargetType.SESSION:
            await scope.require_session(target.id)
    if body.session_id is not UNSET and target != Target(TargetType.SESSION, body.session_id):
        await scope.require_session(body.session_id)
    me = actor.claims.sub
    await scope.require_users(each for each in _users_named(message, body) if each != me)


def _users_named(message: Message, body: Body) -> list[str]:
    """The users named as target, sender and subject of a message."""
    named = [message.target.id] if message.target.type is TargetType.USER else []
    if body.sender is not UNSET:
        named.append(body.sender.user_id)
    if body.user_id is not UNSET:
        named.append(body.user_id)
    return named


def _bodies_of(request: BatchRequest | ReadBatch) -> Sequence[PublishRequest | WsServerError]:
    """The bodies of a batch, or the errors of the invalid ones."""
    if isinstance(request, ReadBatch):
        return request.messages
    try:
        return convert(request.messages, list[PublishRequest])
    except ValidationError:
        return [_body_of(raw, index) for index, raw in enumerate(request.messages)]


def _body_of(raw: Any, index: int) -> PublishRequest | WsServerError:
    """One body of a batch, or the error of an invalid one."""
    try:
        return read_request(raw, PublishRequest, publish_faults)
    except ValidationFailed as error:
        return _within_batch(error, index)
    except WsServerError as error:
        return error


def _handling(message: Message | WsServerError) -> str:
    if isinstance(message, WsServerError):
        return _REFUSED
    return _KEPT if message.keep else _LIVE


def _result_of(outcome: Sent | WsServerError) -> dict[str, Any]:
    if isinstance(outcome, Sent):
        return outcome.answer(status=200)
    return {
        "status": outcome.meaning.status,
        "code": outcome.code,
        "detail": outcome.message,
        **outcome.details,
    }


def _is_traffic(actor: Actor) -> bool:
    """Whether publishes of the actor are not audited: those of backends would displace all else."""
    return actor.claims.role == "service"


def _is_to_be_kept(body: Body, target: Target) -> bool:
    """``keep`` of the body, or the default of its type; raises ``ValidationFailed``."""
    keep = is_kept_by_default(body.type, target) if body.keep is UNSET else body.keep
    if keep and stream_of(target) is None:
        message = "only messages for a session, a user, an organization or everybody are kept"
        raise ValidationFailed([{"field": "keep", "message": message}])
    if keep and body.type in LIVE_TYPES:
        raise ValidationFailed([{"field": "keep", "message": f"{body.type} is never kept"}])
    if body.ttl_s is not UNSET and not keep:
        raise ValidationFailed([{"field": "ttl_s", "message": "only for messages that are kept"}])
    if body.reply_to is not UNSET and not keep:
        message = "only in messages that are kept"
        raise ValidationFailed([{"field": "reply_to", "message": message}])
    return keep


def _check_term(body: Body, target: Target) -> None:
    """Raise ``ValidationFailed`` for the term of what is not for a session."""
    if body.term is not UNSET and target.type is not _SESSION:
        raise ValidationFailed([{"field": "term", "message": "only for a session's messages"}])


def _checked(
    body: Body, target: Target, reserved: Collection[str]
) -> tuple[bool, PublishableFields]:
    """Whether a message is kept, and its fields; raises ``ValidationFailed`` with all faults."""
    session_id = target.id if target.type is _SESSION else None
    if body.type in reserved:
        faults = gather(
            lambda: require_publishable(body.type, reserved), lambda: _is_to_be_kept(body, target)
        )
        raise ValidationFailed(faults)
    try:
        _check_term(body, target)
        return _is_to_be_kept(body, target), publishable_fields(body, session_id)
    except ValidationFailed:
        faults = gather(
            lambda: _is_to_be_kept(body, target),
            lambda: _check_term(body, target),
            lambda: publishable_fields(body, session_id),
        )
        raise ValidationFailed(faults) from None


def checked_target(request: PublishRequest) -> Target:
    """The target of a message; raises ``ValidationFailed``, also naming a reserved type."""
    try:
        return target_of(request.target)
    except ValidationFailed:
        raise ValidationFailed(publish_faults(request)) from None


def publish_faults(body: Body, _: Collection[str] = ()) -> list[Fault]:
    """The faults of a message's type and target."""
    faults = gather(lambda: require_publishable(body.type))
    if isinstance(body, PublishRequest):
        faults += gather(lambda: target_of(body.target))
    return faults


def _within_batch(error: ValidationFailed, index: int) -> ValidationFailed:
    """The error with field names relative to the batch, and a limited number of faults."""
    faults = error.details["errors"][:MAX_FAULTS_IN_BATCH]
    prefix = f"messages[{index}]"
    return ValidationFailed(
        [
            {
                "field": prefix if fault["field"] == BODY else f"{prefix}.{fault['field']}",
                "message": fault["message"],
            }
            for fault in faults
        ]
    )


def _sender(body: Body) -> str | None:
    return body.sender.user_id if body.sender is not UNSET else None


def target_of(request: TargetRequest) -> Target:
    """Convert a request's target; raises ``ValidationFailed`` for a missing or invalid id."""
    if request.type is _BROADCAST:
        if request.id is not UNSET:
            raise ValidationFailed([{"field": "target.id", "message": "a broadcast has no id"}])
        return EVERYONE
    if request.id is UNSET:
        raise ValidationFailed([{"field": "target.id", "message": "required"}])
    if request.type is not _USER and not is_id(request.id):
        raise ValidationFailed([{"field": "target.id", "message": ID_FORM}])
    if request.type is _ROLE and request.id not in ROLES:
        message = f"{request.id[:64]!r} is {one_of(ROLES)}"
        raise ValidationFailed([{"field": "target.id", "message": message}])
    return Target(request.type, request.id)
