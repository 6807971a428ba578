"""Options of the extension: the tables ``[responders.NAME]`` of the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from wsserver.addresses.reach import check_url
from wsserver.config import Settings, TableFault
from wsserver.config.channels import webhook_reach
from wsserver.errors import UrlForbidden
from wsserver.protocol.types import Id

Kind = Literal["openai", "fastgpt"]
OnInterrupt = Literal["restart", "queue"]


class SenderOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose messages the answers are."""

    user_id: Id
    username: Annotated[str, Meta(min_length=1, max_length=64)] | None = None


class ResponderOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[responders.NAME]``."""

    kind: Kind
    url: str
    """The base address, to which the path of the kind is appended."""
    api_key: str | None = None
    api_key_file: str | None = None
    model: str | None = None
    system: str | None = None
    """Instructions at the head of each request."""
    sender: SenderOptions | None = None
    """By default the user id is the name of the responder."""
    history: Annotated[int, Meta(ge=1, le=200)] = 20
    """Messages that are sent along; FastGPT has its own history."""
    timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 60.0
    """Longest time without a byte from the provider."""
    variables: dict[str, Any] = {}
    """FastGPT's variables; of other services further members of the request."""
    concurrency: Annotated[int, Meta(ge=1, le=1000)] = 16
    """Answers at the same time, of each process."""
    on_interrupt: OnInterrupt = "restart"
    unit: Literal["tokens", "points"] | None = None
    """Of its usage; by default ``points`` for FastGPT, ``tokens`` for the others."""

    @property
    def usage_unit(self) -> str:
        """The unit of its usage."""
        return self.unit or ("points" if self.kind == "fastgpt" else "tokens")


def check_options(
    responders: dict[str, ResponderOptions], settings: Settings
) -> Iterator[TableFault]:
    """Faults of addresses and keys; without ``allow_loopback_urls`` loopback is refused."""
    reach = webhook_reach(settings)
    holder = settings.default_holder
    if responders and holder is not None and holder not in responders:
        yield TableFault(
            "",
            f"has no responder {holder!r}, which default_holder names; add [responders.{holder}]",
        )
    for name, options in responders.items():
        try:
            check_url(options.url, reach)
        except UrlForbidden as error:
            yield TableFault(f"{name}.url", f"is wrong: {error.message}")
        if options.api_key is not None and options.api_key_file is not None:
            yield TableFault(f"{name}.api_key", "and api_key_file exclude each other; remove one")
        if options.api_key_file is not None:
            try:
                key = read_key(options.api_key_file)
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "not UTF-8"
                yield TableFault(f"{name}.api_key_file", f"cannot be read: {reason}")
                continue
        else:
            key = options.api_key or ""
            if options.api_key is None:
                yield TableFault(f"{name}.api_key", "or api_key_file is missing")
                continue
        if not key or not key.isascii() or not key.isprintable():
            where = "api_key" if options.api_key_file is None else "api_key_file"
            yield TableFault(f"{name}.{where}", "has to be printable ASCII on one line")


def read_key(path: str) -> str:
    """The key in a file, without the line's end."""
    return Path(path).read_text(encoding="utf-8").strip()


def key_of(options: ResponderOptions) -> str:
    """The key of a responder; ``check_options`` has read it before."""
    return options.api_key or read_key(options.api_key_file or "")
