"""Factory of the notification channels (e-mail, SMS, push) and of the webhooks, from settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from wsserver.addresses.contact import parse_sender, parse_smtp_url
from wsserver.clock import Clock
from wsserver.config import Settings, secret_texts
from wsserver.config.channels import push_reach, split_webhook, webhook_reach
from wsserver.config.gateway import gateway_of
from wsserver.config.vapid import public_half, vapid_key
from wsserver.http_client import HttpClient
from wsserver.notifications.channels import email, push, sms
from wsserver.notifications.channels.apprise_provider import AppriseProvider, AppriseThreads
from wsserver.notifications.channels.base import Channel, PushSubscriptions
from wsserver.notifications.channels.email import EmailChannel
from wsserver.notifications.channels.push import PushChannel
from wsserver.notifications.channels.sms import SmsChannel, SmsProvider
from wsserver.notifications.channels.sms_gateway import SmsGateway
from wsserver.notifications.channels.web_push import WebPush
from wsserver.notifications.delivery_policy import Retries
from wsserver.notifications.publish_hook import ANSWER_LIMIT, PublishHook
from wsserver.notifications.webhooks import TIMEOUT_S, Target, Webhooks
from wsserver.protocol.notifications import ChannelName
from wsserver.redaction import Redactor
from wsserver.storage.tables.webhooks import WebhookOutbox
from wsserver.telemetry.spans import Telemetry
from wsserver.traced_http import TracedHttp


def channels_of(settings: Settings, clock: Clock) -> dict[ChannelName, Channel]:
    """The channels e-mail and SMS; without settings, their ``is_configured`` is False."""
    redact = Redactor(secret_texts(settings))
    return {
        "email": EmailChannel(
            parse_smtp_url(settings.smtp_url) if settings.smtp_url else None,
            parse_sender(settings.mail_from) if settings.mail_from else None,
            frontend_url=settings.frontend_url,
            redact=redact,
            limits=email.LIMITS._replace(
                concurrency=settings.email_concurrency, rate_per_s=settings.email_rate
            ),
        ),
        "sms": SmsChannel(
            _sms_providers(settings, clock, redact),
            frontend_url=settings.frontend_url,
            limits=sms.LIMITS._replace(
                concurrency=settings.sms_concurrency, rate_per_s=settings.sms_rate
            ),
        ),
    }


def push_channel_of(
    settings: Settings,
    subscriptions: PushSubscriptions,
    badge: Callable[[str], Awaitable[int]],
    clock: Clock,
) -> PushChannel:
    """The channel push: Web Push if it has settings; extensions add push platforms.

    ``badge``: the number of unread messages of a user.
    """
    web = None
    if settings.vapid_private_key and settings.vapid_subject:
        web = WebPush(
            vapid_key(settings.vapid_private_key),
            settings.vapid_subject,
            HttpClient(push_reach(settings)),
            clock,
            reach=push_reach(settings),
            redact=Redactor(secret_texts(settings)),
        )
    return PushChannel(
        web,
        subscriptions,
        badge=badge,
        limits=push.LIMITS._replace(
            concurrency=settings.push_concurrency, rate_per_s=settings.push_rate
        ),
    )


def push_key_of(settings: Settings) -> str | None:
    """Public VAPID key, with which browsers subscribe to Web Push; None: not configured."""
    if settings.vapid_private_key is None:
        return None
    return public_half(vapid_key(settings.vapid_private_key))


def _sms_providers(settings: Settings, clock: Clock, redact: Redactor) -> list[SmsProvider]:
    providers: list[SmsProvider] = []
    gateway = gateway_of(settings)
    if gateway is not None:
        http = HttpClient(None)
        providers.append(
            SmsGateway(gateway, http, clock, redact=redact, success=settings.sms_success)
        )
    if settings.apprise_urls:
        threads = AppriseThreads()
        providers += [AppriseProvider(url, threads, redact=redact) for url in settings.apprise_urls]
    return providers


def publish_hook_of(settings: Settings, clock: Clock, telemetry: Telemetry) -> PublishHook | None:
    """The hook before publishing; None: not configured."""
    if settings.publish_hook_url is None:
        return None
    timeout_s = settings.publish_hook_timeout_ms / 1000
    return PublishHook(
        settings.publish_hook_url,
        settings.webhook_secret or "",
        TracedHttp(
            HttpClient(webhook_reach(settings), timeout_s=timeout_s, kept_bytes=ANSWER_LIMIT + 1),
            telemetry,
            "publish hook",
        ),
        clock,
        timeout_s=timeout_s,
        is_open=settings.publish_hook_fail == "open",
        content_limit=settings.max_message_bytes,
    )


def webhooks_of(
    settings: Settings, outbox: WebhookOutbox, clock: Clock, telemetry: Telemetry
) -> Webhooks:
    """The webhooks; a URL that is configured twice gets the events of both entries, once."""
    globs: dict[str, tuple[str, ...]] = {}
    for text in settings.webhook_urls:
        url, more = split_webhook(text)
        globs[url] = (*globs.get(url, ()), *more)
    return Webhooks(
        [Target(url, tuple(dict.fromkeys(each))) for url, each in globs.items()],
        settings.webhook_secret or "",
        outbox,
        TracedHttp(HttpClient(webhook_reach(settings), timeout_s=TIMEOUT_S), telemetry, "webhook"),
        clock,
        retries=Retries(settings.delivery_backoff_s, settings.delivery_attempts),
        redact=Redactor(secret_texts(settings)),
    )
