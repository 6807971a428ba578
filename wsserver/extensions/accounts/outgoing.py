"""``AccountQueue``: sends the messages in the outbox by the messengers' APIs."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from msgspec import DecodeError
from msgspec.json import decode, encode

from wsserver.config.channels import webhook_reach
from wsserver.errors import WsServerError
from wsserver.extending.context import ExtensionContext
from wsserver.extending.secrets import secret_of
from wsserver.extensions.accounts import gewe, plain
from wsserver.extensions.accounts.options import AccountOptions
from wsserver.extensions.accounts.store import (
    AccountOutbox,
    AccountStore,
    ClaimedSend,
)
from wsserver.notifications.channels.base import Limits, Outcome, failed, retry, sent
from wsserver.notifications.delivery_policy import Retries
from wsserver.notifications.delivery_queue import DeliveryQueue
from wsserver.notifications.http import HttpRequest, HttpSend, NoAnswer, excerpt, judge
from wsserver.protocol.targets import user
from wsserver.realtime.messages.message import Message
from wsserver.redaction import Redactor
from wsserver.storage.engine.leased_table import Result

log = logging.getLogger(__name__)

PROVIDER_ID_LIMIT = 128
ANSWER_LIMIT_BYTES = 64 * 1024
"""Of an answer to a message; a longer one is cut off, and its outcome unknown."""
STATUSES = {"sent": "delivered", "failed": "failed", "dead": "failed"}


class AccountQueue(DeliveryQueue[ClaimedSend]):
    """Sends what is in the outbox by the messengers' APIs, at the pace of each account."""

    def __init__(
        self,
        context: ExtensionContext[dict[str, AccountOptions]],
        store: AccountStore,
        outbox: AccountOutbox,
    ) -> None:
        options = context.options
        lanes = {
            name: Limits(1, each.rate_per_minute / 60, each.timeout_s)
            for name, each in options.items()
        }
        settings = context.settings
        super().__init__(
            outbox,
            lanes,
            retries=Retries(settings.delivery_backoff_s, settings.delivery_attempts),
            clock=context.clock,
            tasks=context.tasks,
        )
        self._context = context
        self._accounts: Mapping[str, AccountOptions] = options
        self._ids = store
        reach = webhook_reach(settings)
        self._http: dict[str, HttpSend] = {
            name: context.make_http_client(
                reach, timeout_s=each.timeout_s, kept_bytes=ANSWER_LIMIT_BYTES
            )
            for name, each in options.items()
        }
        self._tokens = {name: secret_of(each, "token") for name, each in options.items()}
        self._redactors = {name: Redactor([token]) for name, token in self._tokens.items()}

    async def attempt(self, lane: str, claimed: ClaimedSend) -> Result:
        """Send a message."""
        return await self._send(lane, claimed, self._post(lane, claimed))

    def recorded(
        self, lane: str, claimed: ClaimedSend, result: Result, states: Mapping[int, str]
    ) -> None:
        """Report to the sender what has become of a message."""
        status = STATUSES.get(states.get(claimed.id, ""))
        if status is None:
            return
        if status == "failed":
            log.warning(
                "message not sent account=%s message_id=%s error=%s",
                lane,
                claimed.delivery_id,
                result.detail,
            )
        members = {
            "message_id": claimed.delivery_id,
            "status": status,
            "session_id": claimed.session_id,
            "user_id": claimed.contact,
        }
        if status == "failed":
            members["reason"] = result.detail
        self._context.events.emit("account_message_sent", account=lane, **members)
        if claimed.sender is not None:
            self._context.pushes.post(
                Message(
                    type="message_status_update",
                    members=members,
                    target=user(claimed.sender),
                    is_addressed=False,
                )
            )

    async def _post(self, account: str, claimed: ClaimedSend) -> Outcome:
        options, token = self._accounts[account], self._tokens[account]
        stored = decode(claimed.content)
        content = stored["content"]
        headers = {"Content-Type": "application/json"}
        if options.kind == "gewe":
            path, body = gewe.request_of(options.app_id or "", claimed.contact, content)
            url, headers["X-GEWE-TOKEN"] = options.url.rstrip("/") + path, token
        else:
            body = plain.request_of(
                account, claimed.contact, claimed.delivery_id, content, stored["content_type"]
            )
            url, headers["Authorization"] = options.url, f"Bearer {token}"

        redact = self._redactors[account]
        try:
            answer = await self._http[account](HttpRequest("POST", url, headers, encode(body)))
        except NoAnswer as error:
            return retry(str(error))
        outcome = judge(answer, redact, self._context.clock.wall())
        if outcome.result != "sent":
            return outcome
        try:
            document = decode(answer.body)
        except (DecodeError, UnicodeDecodeError, RecursionError):
            document = None
        outcome_of = gewe.outcome_of if options.kind == "gewe" else plain.outcome_of
        try:
            provider_id, reason = outcome_of(document)
        except gewe.UnknownOutcome as error:
            # Not repeated: the contact would have the message twice if it was sent.
            return failed(f"outcome unknown, it may have been sent: {error}")
        if provider_id is None:
            return retry(excerpt(reason, redact))
        if not (len(provider_id) <= PROVIDER_ID_LIMIT and provider_id.isprintable()):
            provider_id = "unknown"
        if provider_id != "unknown":
            await self._note_sent(account, provider_id, claimed.delivery_id)
        return sent(provider_id)

    async def _note_sent(self, account: str, provider_id: str, message_id: str) -> None:
        """Note the messenger's id; without it the contact has the message all the same."""
        try:
            await self._ids.sent(account, provider_id, message_id, self._context.clock.wall())
        except WsServerError as error:
            log.warning(
                "id of a sent message not noted account=%s message_id=%s error=%s",
                account,
                message_id,
                error,
            )
