"""Endpoints of accounts: the messengers' callbacks, and the list for operators."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from wsserver.extending import Answer, ExtensionResource
from wsserver.extensions.accounts.service import MANAGE, READ, Accounts
from wsserver.web.api.answers import Time
from wsserver.web.api.endpoint import PUBLIC, Call

INTAKE = ExtensionResource(
    "accounts", "Intake", "Callbacks of messengers, with the key of the account.", prefix=""
)
RESOURCE = ExtensionResource("accounts", "Accounts", "Accounts of messengers.")


class IntakeQuery(Struct, forbid_unknown_fields=True):
    """The key of the account."""

    key: str = ""


class Intake(Answer):
    """What became of a callback."""

    result: Literal["stored", "repeated", "noted", "ignored"]
    message_id: str | UnsetType = UNSET


class Account(Answer):
    """An account, and its outbox."""

    account: str
    kind: str
    status: str
    organization_id: str | None
    pending: int
    sent: int
    failed: int
    last_sent_at: Annotated[Time | None, Meta(description="when the message was written")]


class AccountList(Answer):
    """The accounts of the configuration."""

    accounts: list[Account]


class UnsentMessage(Answer):
    """A message for a contact that waits to be sent, or was given up."""

    message_id: str
    session_id: str
    contact: str
    sender: str | None
    at: Time
    state: Literal["pending", "failed"]
    attempts: int
    due_at: Annotated[Time | None, Meta(description="of the next attempt")]
    detail: Annotated[str, Meta(description="why the last attempt failed")]


class WholeAccount(Account, kw_only=True):
    """An account with its configuration, and what was not sent."""

    members: list[str]
    default_holder: str | None
    rate_per_minute: float
    unsent: Annotated[list[UnsentMessage], Meta(description="the latest 100, newest first")]


class Retried(Answer):
    """How many messages are sent again."""

    retried: int


@INTAKE.endpoint(
    "POST /intake/gewe/{account}",
    PUBLIC,
    Intake,
    query=IntakeQuery,
    raw_request={"type": "object"},
    request_example={"TypeName": "Offline", "Appid": "wx_a1", "Wxid": "wxid_me"},
    takes_any_host=True,
    errors=("not_found", "rate_limited", "storage_unavailable"),
)
async def take_gewe(accounts: Accounts, call: Call) -> Any:
    """Callback of a GeWe account."""
    return await _take(accounts, "gewe", call)


@INTAKE.endpoint(
    "POST /intake/webhook/{account}",
    PUBLIC,
    Intake,
    query=IntakeQuery,
    raw_request={"type": "object"},
    request_example={"type": "message", "id": "m-1", "contact": "ann", "content": "Hello"},
    takes_any_host=True,
    errors=("not_found", "rate_limited", "storage_unavailable"),
)
async def take_webhook(accounts: Accounts, call: Call) -> Any:
    """Callback of an account of the kind webhook."""
    return await _take(accounts, "webhook", call)


async def _take(accounts: Accounts, kind: str, call: Call) -> Any:
    account, key = call.path["account"], call.query.key
    return await accounts.take(kind, account, key, call.body, call.remote_ip)


@RESOURCE.endpoint("GET /accounts", READ, AccountList)
async def list_accounts(accounts: Accounts, call: Call) -> Any:
    """Accounts of messengers, and what waits to be sent."""
    return {"accounts": await accounts.listing(call.caller)}


@RESOURCE.endpoint("GET /accounts/{account}", READ, WholeAccount, errors=("not_found",))
async def show_account(accounts: Accounts, call: Call) -> Any:
    """An account of a messenger, with what waits or was given up."""
    return await accounts.one(call.caller, call.path["account"])


@RESOURCE.endpoint(
    "POST /accounts/{account}/retry",
    MANAGE,
    Retried,
    action="retry_account",
    errors=("not_found",),
)
async def retry_account(accounts: Accounts, call: Call) -> Any:
    """Send again what was given up."""
    return {"retried": await accounts.retry(call.caller, call.path["account"])}
