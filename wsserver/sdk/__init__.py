"""Client of the server's API for backends: publishes, notifies, makes tokens, checks webhooks.

Imports nothing of the server; needs the extra ``sdk``.
"""

from __future__ import annotations

from wsserver.sdk.answer_writer import AnswerWriter
from wsserver.sdk.async_answer_writer import AsyncAnswerWriter
from wsserver.sdk.async_client import AsyncClient
from wsserver.sdk.client import Client
from wsserver.sdk.errors import (
    AnswerEnded,
    ApiError,
    BadAnswer,
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    RateLimited,
    Refused,
    ServerFailed,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unreachable,
    ValidationFailed,
)
from wsserver.sdk.results import (
    EVERYONE,
    Message,
    Notified,
    Published,
    Target,
    Ticket,
    to_connection,
    to_organization,
    to_role,
    to_session,
    to_user,
)
from wsserver.sdk.retrying import NO_RETRIES, RetryPolicy
from wsserver.sdk.tokens import TokenSigner
from wsserver.sdk.webhooks import WebhookEvent, WebhookRefused, verify_webhook

__all__ = [
    "EVERYONE",
    "NO_RETRIES",
    "AnswerEnded",
    "AnswerWriter",
    "ApiError",
    "AsyncAnswerWriter",
    "AsyncClient",
    "BadAnswer",
    "BadRequest",
    "Client",
    "Conflict",
    "Forbidden",
    "Message",
    "NotFound",
    "Notified",
    "Published",
    "RateLimited",
    "Refused",
    "RetryPolicy",
    "ServerFailed",
    "Target",
    "Ticket",
    "TokenSigner",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
    "ValidationFailed",
    "WebhookEvent",
    "WebhookRefused",
    "to_connection",
    "to_organization",
    "to_role",
    "to_session",
    "to_user",
    "verify_webhook",
]
