"""Messages from backends and operators: permission, shape and target checked, then sent."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Iterable, Sequence
from itertools import groupby
from typing import Any, cast

from msgspec import UNSET, to_builtins

from wsserver.clock import Clock, rfc3339
from wsserver.errors import Forbidden, ValidationFailed, WsServerError
from wsserver.identity.claims import ROLES
from wsserver.identity.ids import is_id
from wsserver.identity.permissions import UNCONFINED_ROLES, Permissions
from wsserver.protocol.ids import new_id
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
    TargetRequest,
    read_request,
)
from wsserver.protocol.targets import EVERYONE, Target, TargetType
from wsserver.protocol.validation import ID_FORM, Fault, gather, one_of
from wsserver.realtime.access.actor import Actor, Audit, AuditRecorder
from wsserver.realtime.access.members import Members
from wsserver.realtime.access.tenancy import Scope, Tenancy
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.delivery.router import Router
from wsserver.realtime.messages.message import Message, Sent
from wsserver.realtime.observability.events import EventBus
from wsserver.realtime.operations.published import tell_published
from wsserver.realtime.streams.retention_policy import is_kept_by_default, stream_of
from wsserver.realtime.tracing.dry_run import explain, people_of

PUBLISH = "messages:publish"
NO_ONE: frozenset[str] = frozenset()
MAX_FAULTS_IN_BATCH = 10
"""Of each message."""
_KEPT, _LIVE, _REFUSED = "kept", "live", "refused"


class Publishing:
    """``POST /broadcast``, ``/messages`` and their relatives, also over the monitor's socket."""

    def __init__(
        self,
        hub: Hub,
        router: Router,
        permissions: Permissions,
        members: Members,
        tenancy: Tenancy,
        audit: Audit,
        events: EventBus,
        clock: Clock,
    ) -> None:
        self._events = events
        self._hub = hub
        self._router = router
        self._permissions = permissions
        self._members = members
        self._tenancy = tenancy
        self._trail = AuditRecorder(audit, clock)
        self._clock = clock

    async def broadcast(self, actor: Actor, request: BroadcastRequest) -> dict[str, Any]:
        """Send to everybody, one organization or one role; returns the counts."""
        with self._trail.denials(actor, "broadcast", str(EVERYONE)):
            message = self._message(actor, request, EVERYONE)
            scope = self._scope(actor)
            await _require_inside(scope, actor, message, request)
            if request.organization_id is not UNSET:
                scope.require_organization(request.organization_id)
                message.organization_id = request.organization_id
        if request.role is not UNSET:
            message.role = request.role
        sent = await self._router.send(message)
        self._record(actor, "broadcast", message, sent)
        tell_published(self._events, message, sent)
        return sent.answer()

    async def publish(self, actor: Actor, request: PublishRequest) -> dict[str, Any]:
        """Send to a target named in the body; returns the counts."""
        return await self.publish_to(actor, checked_target(request), request)

    async def publish_to(self, actor: Actor, target: Target, body: Body) -> dict[str, Any]:
        """Send to a target named in the path; returns the counts."""
        return await self.submit(actor, target, body)

    def submit(self, actor: Actor, target: Target, body: Body) -> Awaitable[dict[str, Any]]:
        """Begin to send: what is to be kept is in line when this returns, and gives a promise.

        Not so for a role confined to an organization: what is inside of it may have to be looked
        up first.
        """
        with self._trail.denials(actor, "publish", str(target)):
            message = self._message(actor, body, target)
        if actor.claims.role in UNCONFINED_ROLES:
            return self._submit(actor, message)
        return self._submit_inside(actor, message, body)

    async def _submit_inside(self, actor: Actor, message: Message, body: Body) -> dict[str, Any]:
        with self._trail.denials(actor, "publish", str(message.target)):
            await _require_inside(self._scope(actor), actor, message, body)
        return await self._submit(actor, message)

    def _submit(self, actor: Actor, message: Message) -> Awaitable[dict[str, Any]]:
        if message.keep:
            kept = self._router.keep([message])
            return kept.then(lambda sent: self._sent(actor, message, sent[0]))
        return self._send_live(actor, message)

    async def _send_live(self, actor: Actor, message: Message) -> dict[str, Any]:
        return self._sent(actor, message, await self._router.send(message))

    def _sent(self, actor: Actor, message: Message, sent: Sent) -> dict[str, Any]:
        if not _is_traffic(actor):
            self._record(actor, "publish", message, sent)
        tell_published(self._events, message, sent)
        return sent.answer()

    async def batch(self, actor: Actor, request: BatchRequest) -> dict[str, Any]:
        """Send many, in order; each succeeds or fails by itself. One line in the audit trail.

        Neighbours that are to be kept are stored in one transaction.
        """
        with self._trail.denials(actor, "batch", ""):
            self._permissions.require(actor.claims, PUBLISH)
        bodies = [_body_of(raw, index) for index, raw in enumerate(request.messages)]
        read = [self._read(actor, index, body) for index, body in enumerate(bodies)]
        if actor.claims.role not in UNCONFINED_ROLES:
            read = await self._inside(actor, read, bodies)
        outcomes: list[Sent | WsServerError] = []
        for kind, group in groupby(read, _handling):
            if kind is _REFUSED:
                outcomes += cast("Iterable[WsServerError]", group)
            else:
                messages = cast("list[Message]", list(group))
                outcomes += await self._send_all(messages, keep=kind is _KEPT)
        for message, outcome in zip(read, outcomes, strict=True):
            if isinstance(message, Message) and isinstance(outcome, Sent):
                tell_published(self._events, message, outcome)
        results = [_result_of(outcome) for outcome in outcomes]
        sent = [outcome for outcome in outcomes if isinstance(outcome, Sent)]
        accepted, matched = len(sent), sum([each.receipt.matched for each in sent])
        if not _is_traffic(actor):
            self._trail.record(
                actor,
                "batch",
                "",
                messages=len(results),
                accepted=accepted,
                refused=len(results) - accepted,
                matched=matched,
            )
        return {"results": results}

    async def explain(self, actor: Actor, request: PublishRequest) -> dict[str, Any]:
        """Who would get a message and who not, and why; sends nothing.

        A role confined to an organization learns nothing of the others: their connections are
        not among the excluded either.
        """
        message = self._message(actor, request, checked_target(request))
        scope = self._scope(actor)
        await _require_inside(scope, actor, message, request)
        await scope.learn(people_of(message, self._members))
        return explain(message, self._hub, self._members, scope)

    def _read(
        self, actor: Actor, index: int, body: PublishRequest | WsServerError
    ) -> Message | WsServerError:
        """One message of a batch, or why it is none."""
        if isinstance(body, WsServerError):
            return body
        try:
            message = self._message(actor, body, checked_target(body))
        except ValidationFailed as error:
            return _within_batch(error, index)
        except WsServerError as error:
            return error
        if message.dedup is not None:
            scope, key = message.dedup
            message.dedup = scope, f"{key}#{index}"
        return message

    async def _inside(
        self,
        actor: Actor,
        messages: list[Message | WsServerError],
        bodies: Sequence[PublishRequest | WsServerError],
    ) -> list[Message | WsServerError]:
        """The same messages, each replaced by its error where it names something outside."""
        pairs = {
            index: (message, body)
            for index, (message, body) in enumerate(zip(messages, bodies, strict=True))
            if isinstance(message, Message) and isinstance(body, PublishRequest)
        }
        judged = list(messages)
        if not pairs:
            return judged
        scope = self._scope(actor)
        # All users at once rather than one read for each message.
        await scope.learn({id_ for pair in pairs.values() for id_ in _users_named(*pair)})
        for index, (message, body) in pairs.items():
            try:
                await _require_inside(scope, actor, message, body)
            except WsServerError as error:
                judged[index] = error
        denied = (str(pairs[i][0].target) for i in pairs if isinstance(judged[i], Forbidden))
        for target in dict.fromkeys(denied):  # once each, as a batch may repeat them a lot
            self._trail.record(actor, "batch", target, Forbidden.code)
        return judged

    async def _send_all(
        self, messages: list[Message], *, keep: bool
    ) -> Sequence[Sent | WsServerError]:
        if not keep:
            return [await self._router.send(message) for message in messages]
        try:
            return await self._router.keep(messages)
        except WsServerError as error:
            return [error] * len(messages)

    def _record(self, actor: Actor, action: str, message: Message, sent: Sent) -> None:
        self._trail.record(
            actor,
            action,
            str(message.target),
            type=message.type,
            message_id=sent.message_id,
            matched=sent.receipt.matched,
        )

    def _message(self, actor: Actor, body: Body, target: Target) -> Message:
        self._permissions.require(actor.claims, PUBLISH)
        keep, fields = _checked(body, target)
        wall = self._clock.wall()
        message_id = new_id("msg", wall)
        if isinstance(fields, Custom):
            members = {"data": fields.data}
        elif isinstance(fields, NewMessage):
            members = {
                "session_id": fields.session_id,
                "message": message_of(message_id, fields, rfc3339(wall)),
            }
        else:
            members = to_builtins(fields)
        return Message(
            type=body.type,
            members=members,
            target=target,
            message_id=message_id,
            organization_id=self._permissions.confined_to(actor.claims),
            # A session's customers belong to no organization, yet to the session.
            with_unaffiliated=target.type is TargetType.SESSION,
            exclude_users=frozenset(body.exclude_users) if body.exclude_users else NO_ONE,
            keep=keep,
            ttl_s=body.ttl_s if body.ttl_s is not UNSET else None,
            sender=_sender(body) or actor.claims.sub,
            dedup=actor.once if keep else None,
            origin=actor.origin,
        )

    def _scope(self, actor: Actor) -> Scope:
        return self._tenancy.scope(self._permissions.confined_to(actor.claims))


async def _require_inside(scope: Scope, actor: Actor, message: Message, body: Body) -> None:
    """Raise ``Forbidden`` if a message is for, by or about somebody or something outside.

    Those in ``exclude_users`` may be anybody: they get nothing by it, and nothing is said of them.
    """
    if scope.organization_id is None:
        return
    target = message.target
    match target.type:
        case TargetType.ORGANIZATION:
            scope.require_organization(target.id)
        case TargetType.CONNECTION:
            scope.require_connection(target.id)
        case TargetType.SESSION:
            await scope.require_session(target.id)
    if body.session_id is not UNSET and target != Target(TargetType.SESSION, body.session_id):
        await scope.require_session(body.session_id)
    me = actor.claims.sub
    await scope.require_users(each for each in _users_named(message, body) if each != me)


def _users_named(message: Message, body: Body) -> list[str]:
    """The users that a message is for, by and about."""
    named = [message.target.id] if message.target.type is TargetType.USER else []
    if body.sender is not UNSET:
        named.append(body.sender.user_id)
    if body.user_id is not UNSET:
        named.append(body.user_id)
    return named


def _body_of(raw: Any, index: int) -> PublishRequest | WsServerError:
    """One body of a batch, or why it is none."""
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
        return {"status": 200, **outcome.answer()}
    return {
        "status": outcome.meaning.status,
        "code": outcome.code,
        "detail": outcome.message,
        **outcome.details,
    }


def _is_traffic(actor: Actor) -> bool:
    """Is a publish ordinary traffic? A backend's is: its thousands would bury what people did."""
    return actor.claims.role == "service"


def _is_to_be_kept(body: Body, target: Target) -> bool:
    """What the body says, else what is usual; raises ``ValidationFailed`` for the impossible."""
    keep = is_kept_by_default(body.type, target) if body.keep is UNSET else body.keep
    if keep and stream_of(target) is None:
        message = "only messages for a session, a user, an organization or everybody are kept"
        raise ValidationFailed([{"field": "keep", "message": message}])
    if keep and body.type in LIVE_TYPES:
        raise ValidationFailed([{"field": "keep", "message": f"{body.type} is never kept"}])
    if body.ttl_s is not UNSET and not keep:
        raise ValidationFailed([{"field": "ttl_s", "message": "only for messages that are kept"}])
    return keep


def _checked(body: Body, target: Target) -> tuple[bool, PublishableFields]:
    """Whether it is kept, and its fields; raises ``ValidationFailed`` that names every fault."""
    session_id = target.id if target.type is TargetType.SESSION else None
    try:
        return _is_to_be_kept(body, target), publishable_fields(body, session_id)
    except ValidationFailed:
        faults = gather(
            lambda: _is_to_be_kept(body, target), lambda: publishable_fields(body, session_id)
        )
        raise ValidationFailed(faults) from None


def checked_target(request: PublishRequest) -> Target:
    """The target of a message; raises ``ValidationFailed``, also naming a reserved type."""
    try:
        return target_of(request.target)
    except ValidationFailed:
        raise ValidationFailed(publish_faults(request)) from None


def publish_faults(body: Body, _: Collection[str] = ()) -> list[Fault]:
    """What is wrong with a message whichever way it comes: its type, its target's id."""
    faults = gather(lambda: require_publishable(body.type))
    if isinstance(body, PublishRequest):
        faults += gather(lambda: target_of(body.target))
    return faults


def _within_batch(error: ValidationFailed, index: int) -> ValidationFailed:
    """The same with the places of its faults in the whole body; not so many that it gets long."""
    faults = error.details["errors"][:MAX_FAULTS_IN_BATCH]
    place = f"messages[{index}]"
    return ValidationFailed(
        [
            {
                "field": place if fault["field"] == BODY else f"{place}.{fault['field']}",
                "message": fault["message"],
            }
            for fault in faults
        ]
    )


def _sender(body: Body) -> str | None:
    return body.sender.user_id if body.sender is not UNSET else None


def target_of(request: TargetRequest) -> Target:
    """Turn a request's target into ours; raises ``ValidationFailed`` for a missing or unfit id."""
    if request.type is TargetType.BROADCAST:
        if request.id is not UNSET:
            raise ValidationFailed([{"field": "target.id", "message": "a broadcast has no id"}])
        return EVERYONE
    if request.id is UNSET:
        raise ValidationFailed([{"field": "target.id", "message": "required"}])
    if request.type is not TargetType.USER and not is_id(request.id):
        raise ValidationFailed([{"field": "target.id", "message": ID_FORM}])
    if request.type is TargetType.ROLE and request.id not in ROLES:
        message = f"{request.id[:64]!r} is {one_of(ROLES)}"
        raise ValidationFailed([{"field": "target.id", "message": message}])
    return Target(request.type, request.id)
