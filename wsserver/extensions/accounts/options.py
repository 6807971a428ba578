"""Options of the extension: the tables ``[accounts.NAME]`` of the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from wsserver.addresses.reach import check_url
from wsserver.config import Settings, TableFault
from wsserver.config.channels import webhook_reach
from wsserver.errors import UrlForbidden
from wsserver.protocol.types import Id

SHORTEST_KEY = 16


class AccountOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[accounts.NAME]``."""

    kind: Literal["gewe", "webhook"]
    url: str
    """Of the messenger's API; of ``webhook`` where messages are posted."""
    key: str | None = None
    key_file: str | None = None
    """The key in the callback's address."""
    token: str | None = None
    token_file: str | None = None
    """The key of the messenger's API."""
    app_id: str | None = None
    """The device, of GeWe."""
    organization_id: Id | None = None
    members: tuple[Id, ...] = ()
    """Users who are members of each new session."""
    default_holder: Id | None = None
    """The AI responder that holds new sessions; otherwise that of the server."""
    rate_per_minute: Annotated[float, Meta(gt=0, le=6000)] = 40.0
    """Messages to contacts."""
    timeout_s: Annotated[float, Meta(gt=0, le=600)] = 30.0


def check_options(accounts: dict[str, AccountOptions], settings: Settings) -> Iterator[TableFault]:
    """Faults of addresses, keys and devices."""
    reach = webhook_reach(settings)
    devices: dict[str, str] = {}
    for name, options in accounts.items():
        try:
            check_url(options.url, reach)
        except UrlForbidden as error:
            yield TableFault(f"{name}.url", f"is wrong: {error.message}")
        for secret in "key", "token":
            yield from _secret_faults(name, secret, options)
        if options.kind != "gewe":
            continue
        if options.app_id is None:
            yield TableFault(f"{name}.app_id", "is missing: the id of the device")
        elif options.app_id in devices:
            other = devices[options.app_id]
            yield TableFault(f"{name}.app_id", f"is that of accounts.{other}, too")
        else:
            devices[options.app_id] = name


def secret_of(options: AccountOptions, name: str) -> str:
    """The key or token of an account; ``check_options`` has read it before."""
    value = getattr(options, name)
    return value if value is not None else _read(getattr(options, f"{name}_file"))


def _secret_faults(name: str, secret: str, options: AccountOptions) -> Iterator[TableFault]:
    value, file = getattr(options, secret), getattr(options, f"{secret}_file")
    path = f"{name}.{secret}"
    if value is not None and file is not None:
        yield TableFault(path, f"and {secret}_file exclude each other; remove one")
    elif value is None and file is None:
        yield TableFault(path, f"or {secret}_file is missing")
    else:
        if file is not None:
            path += "_file"
            try:
                value = _read(file)
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "not UTF-8"
                yield TableFault(path, f"cannot be read: {reason}")
                return
        if not value.isascii() or not value.isprintable() or not value:
            yield TableFault(path, "has to be printable ASCII on one line")
        elif secret == "key" and len(value) < SHORTEST_KEY:  # noqa: S105 - the name of the option
            yield TableFault(path, f"is too short: at least {SHORTEST_KEY} characters")


def _read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8").strip()
