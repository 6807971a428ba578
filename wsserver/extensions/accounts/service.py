"""``Accounts``: stores the messengers' callbacks, and lists the accounts with their outboxes."""

from __future__ import annotations

import hmac
import logging
from typing import Any

from msgspec import DecodeError
from msgspec.json import decode

from wsserver.clock import rfc3339
from wsserver.cluster.control import Notice
from wsserver.errors import (
    BadRequest,
    NotFound,
    OrganizationSet,
    TooManyFailures,
    WsServerError,
)
from wsserver.extending.context import ExtensionContext
from wsserver.extending.secrets import secret_of
from wsserver.extensions.accounts import gewe, plain
from wsserver.extensions.accounts.collector import OUTGOING_TYPES, Collector
from wsserver.extensions.accounts.incoming import (
    AccountStatus,
    MalformedReport,
    Nothing,
    Received,
    session_of,
)
from wsserver.extensions.accounts.options import AccountOptions
from wsserver.extensions.accounts.store import (
    AccountOutbox,
    AccountStore,
    begin_session,
    note_message,
)
from wsserver.identity.claims import LATEST_S, Claims
from wsserver.notifications.delivery_policy import Sending
from wsserver.notifications.recipients import Recipients
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.observability.events import ANSWER_ENDED, MESSAGE_PUBLISHED, Event
from wsserver.storage.engine.connection import Connection
from wsserver.storage.messages.conversations import Holder, HolderWish
from wsserver.storage.messages.message_rows import TransactionHook
from wsserver.web.http.failed_attempts import FailedAttempts

log = logging.getLogger(__name__)

READERS = {"gewe": gewe.read_callback, "webhook": plain.read_callback}
READ, MANAGE = "accounts:read", "accounts:manage"
ACCOUNT_STATUS = "account_status_changed"
UNKNOWN = "unknown"
"""Status of an account whose messenger has not reported any."""


class WrongKey(Notice, frozen=True):
    """A client address has tried a wrong key on one of the nodes."""

    address: str


class Accounts:
    """The accounts of the configuration."""

    def __init__(
        self,
        context: ExtensionContext[dict[str, AccountOptions]],
        store: AccountStore,
        outbox: AccountOutbox,
        collector: Collector,
    ) -> None:
        self._context = context
        self._options = context.options
        self._store = store
        self._outbox = outbox
        self._collector = collector
        self._keys = {name: secret_of(each, "key") for name, each in self._options.items()}
        self._failures = FailedAttempts(context.clock)
        context.control.add_listener(WrongKey, lambda wrong: self._failures.add(wrong.address))
        if self._options:
            context.events.add_event_handler(MESSAGE_PUBLISHED, self._published)
            context.events.add_event_handler(ANSWER_ENDED, self._published)
            context.tracing.add_outside(self._traced)

    # -- callbacks

    def _authenticate(self, kind: str, account: str, key: str, address: str) -> AccountOptions:
        """The account of a callback; raises ``NotFound`` for a wrong key, too."""
        wait_s = self._failures.wait_s(address)
        if wait_s:
            raise TooManyFailures(wait_s)
        options = self._options.get(account)
        expected = self._keys.get(account, "")
        is_right = hmac.compare_digest(key.encode(), expected.encode())
        if options is None or options.kind != kind or not is_right:
            self._context.control.notify(WrongKey(address))
            raise NotFound("account", account)
        return options

    async def take(
        self, kind: str, account: str, key: str, body: bytes, address: str
    ) -> dict[str, Any]:
        """Store what a callback from a client address reports, once.

        Raises ``NotFound``, ``TooManyFailures``, ``BadRequest`` for a body that is not the
        messenger's, and ``StorageUnavailable`` or ``StorageFull``: the messenger has to repeat it.
        """
        options = self._authenticate(kind, account, key, address)
        try:
            content = decode(body)
        except (DecodeError, UnicodeDecodeError, RecursionError):
            raise BadRequest("the body is not JSON", field="") from None
        try:
            report = READERS[kind](content)
        except MalformedReport as error:
            raise BadRequest(str(error), field="") from None
        if isinstance(report, Nothing):
            return {"result": "ignored"}
        if isinstance(report, Received) and "\0" in "".join(report[:3]):
            raise BadRequest("an id has a NUL, which cannot be stored", field="")
        if kind == "gewe" and gewe.app_of(content) not in ("", options.app_id):
            return {"result": "ignored"}  # another device of the same token
        if isinstance(report, AccountStatus):
            await self._status(account, options, report.status)
            return {"result": "noted"}
        return await self._message(kind, account, options, report)

    async def _message(
        self, kind: str, account: str, options: AccountOptions, received: Received
    ) -> dict[str, Any]:
        session_id = session_of(kind, account, received.contact)
        known = await self._store.message_of(account, received.provider_id)
        if known is not None:
            return {"result": "repeated", "message_id": known}
        if received.is_own:
            known = await self._echoed(session_id, account, received)
            if known is not None:
                return {"result": "repeated", "message_id": known}
        if await self._store.session(session_id) is None:
            await self._open(session_id, account, options)
        replies_to = None
        if received.quotes is not None:
            replies_to = await self._store.message_of(account, received.quotes)
        role = "agent" if received.is_own else "customer"
        message = self._context.chat.message(
            session_id,
            received.content,
            received.content_type,
            user_id=received.speaker[:128],
            username=received.name,
            role=role,
            dedup=(f"account {account}", received.provider_id),
            reply_to=replies_to,
        )
        at = self._context.clock.wall()

        def note(db: Connection, checked: None, place: Any) -> None:
            begin_session(db, session_id, account, received.contact, at)
            note_message(db, account, received.provider_id, message.message_id, at)

        sent = await self._context.pushes.send_checked(
            message, TransactionHook(lambda db: None, note)
        )
        return {"result": "stored" if sent.is_new else "repeated", "message_id": sent.message_id}

    async def _echoed(self, session_id: str, account: str, received: Received) -> str | None:
        """Our message that is echoed before the answer to the request that has sent it."""
        for message_id, stored in await self._outbox.being_sent(session_id):
            if decode(stored)["content"] == received.content:
                at = self._context.clock.wall()
                await self._store.sent(account, received.provider_id, message_id, at)
                return message_id
        return None

    async def _open(self, session_id: str, account: str, options: AccountOptions) -> None:
        """Give a new session its organization, members and holder."""
        chat, actor = self._context.chat, _actor(account)
        try:
            if options.organization_id is not None:
                await chat.assign(actor, session_id, options.organization_id)
        except OrganizationSet as error:
            log.warning("organization of session not set session_id=%s error=%s", session_id, error)
        if options.members:
            await chat.replace_members(actor, session_id, options.members)
        if options.default_holder is not None:
            wish = HolderWish(Holder("ai", options.default_holder))
            await chat.conversations.hold(session_id, wish, actor.claims.sub)

    async def _status(self, account: str, options: AccountOptions, status: str) -> None:
        at = self._context.clock.wall()
        former = await self._store.note_status(account, status, at) or UNKNOWN
        if former == status:
            return
        self._context.events.emit(ACCOUNT_STATUS, account=account, status=status, former=former)
        if status == "reconnecting":
            return
        organization = options.organization_id
        parameters = {
            "device_id": options.app_id or account,
            "device_name": account,
            "old_status": former,
            "new_status": status,
        }
        recipients = Recipients(role="admin")
        if organization is not None:
            recipients = Recipients(organization_id=organization)
        try:
            await self._context.notifications.send_template(
                recipients, "device_status", parameters, Sending(confined_to=organization)
            )
        except WsServerError as error:
            log.warning("status of account not notified account=%s error=%s", account, error)

    # -- outgoing

    async def _published(self, event: Event) -> None:
        session_id = event.get("session_id")
        if session_id is not None and event.get("type", "new_message") in OUTGOING_TYPES:
            await self._collector.collect(session_id)

    # -- for operators

    async def listing(self, actor: Actor) -> list[dict[str, Any]]:
        """The accounts that the requester may see, with what is in their outboxes."""
        organization = self._context.access.scope(actor, READ).organization_id
        counts = await self._outbox.counts()
        last_sent = await self._outbox.last_sent()
        statuses = await self._store.statuses()
        return [
            {
                "account": name,
                "kind": options.kind,
                "status": statuses.get(name, UNKNOWN),
                "organization_id": options.organization_id,
                "pending": counts.get((name, "pending"), 0),
                "sent": counts.get((name, "sent"), 0),
                "failed": sum(counts.get((name, state), 0) for state in ("failed", "dead")),
                "last_sent_at": rfc3339(last_sent[name]) if name in last_sent else None,
            }
            for name, options in sorted(self._options.items())
            if organization in (None, options.organization_id)
        ]

    async def one(self, actor: Actor, account: str) -> dict[str, Any]:
        """An account with what waits to be sent or was given up. Raises ``NotFound``."""
        self._find(actor, account, READ)
        options = self._options[account]
        unsent = [
            {
                **each._asdict(),
                "at": rfc3339(each.at),
                "due_at": rfc3339(each.due_at) if each.state == "pending" else None,
                "state": "pending" if each.state == "pending" else "failed",
            }
            for each in await self._outbox.unsent(account)
        ]
        # Read last: what has left the list meanwhile is counted as sent.
        (shown,) = [each for each in await self.listing(actor) if each["account"] == account]
        return {
            **shown,
            "members": list(options.members),
            "default_holder": options.default_holder,
            "rate_per_minute": options.rate_per_minute,
            "unsent": unsent,
        }

    def _find(self, actor: Actor, account: str, permission: str) -> None:
        """Raise ``NotFound`` for an account that is unknown, or outside of the scope."""
        organization = self._context.access.scope(actor, permission).organization_id
        options = self._options.get(account)
        if options is None or organization not in (None, options.organization_id):
            raise NotFound("account", account)

    async def _traced(self, message_id: str) -> list[dict[str, Any]]:
        """What has become of a message for a contact, for its trace."""
        found = await self._outbox.of_message(message_id)
        if found is None:
            return []
        is_pending, is_sent = found.state == "pending", found.state == "sent"
        at = rfc3339(found.due_at)
        return [
            {
                "by": f"account {found.account}",
                "recipient": found.contact,
                "state": found.state if is_pending or is_sent else "failed",
                "attempts": found.attempts,
                **({"due_at": at} if is_pending else {"at": at}),
                **({"reason": found.detail} if found.detail and not is_sent else {}),
            }
        ]

    async def retry(self, actor: Actor, account: str) -> int:
        """Send again what was given up; returns the number. Raises ``NotFound``."""
        self._find(actor, account, MANAGE)
        count = await self._outbox.retry(account, self._context.clock.wall())
        self._collector.kick(account)
        self._context.access.audit.record(actor, "retry_account", f"account:{account}", count=count)
        return count

    async def prune(self) -> None:
        """Delete what is kept no longer."""
        await self._store.prune(self._context.clock.wall())


def _actor(account: str) -> Actor:
    claims = Claims(sub=f"account:{account}", exp=LATEST_S, role="service")
    return Actor(claims, request_id=f"account:{account}", via="server")
