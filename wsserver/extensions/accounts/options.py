"""Options of the extension: the tables ``[accounts.NAME]`` of the configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta

from wsserver.config import Settings, TableFault
from wsserver.extending.secrets import SecretOptions, secret_faults
from wsserver.extending.urls import url_faults
from wsserver.protocol.types import Id

SHORTEST_KEY = 16
ACCOUNT_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""It is in addresses, and in ids of sessions."""


class AccountOptions(SecretOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[accounts.NAME]``."""

    kind: Literal["gewe", "webhook"]
    url: str = ""
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
    devices: dict[str, str] = {}
    responders = settings.extension_settings.get("responders", {})
    for name, options in accounts.items():
        if ACCOUNT_NAME.fullmatch(name) is None:
            yield TableFault(name, "is no name of an account: 1 to 64 of A-Z a-z 0-9 . _ -")
        holder = options.default_holder
        if responders and holder is not None and holder not in responders:
            yield TableFault(
                f"{name}.default_holder", f"is {holder!r}, but there is no [responders.{holder}]"
            )
        yield from url_faults(f"{name}.url", options.url, settings)
        yield from secret_faults(name, options, "key", shortest=SHORTEST_KEY)
        yield from secret_faults(name, options, "token")
        if options.kind != "gewe":
            continue
        if not options.app_id:
            yield TableFault(f"{name}.app_id", "is missing: the id of the device")
        elif options.app_id in devices:
            other = devices[options.app_id]
            yield TableFault(f"{name}.app_id", f"is that of accounts.{other}, too")
        else:
            devices[options.app_id] = name
