"""Options of the extension: the tables ``[responders.NAME]`` of the configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from wsserver.config import Settings, TableFault
from wsserver.extending.secrets import SecretOptions, secret_faults
from wsserver.extending.urls import url_faults
from wsserver.identity.ids import ID_FORM
from wsserver.protocol.types import ID_PATTERN, Id

Kind = Literal["openai", "fastgpt"]
OnInterrupt = Literal["restart", "queue"]


class SenderOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose messages the answers are."""

    user_id: Id
    username: Annotated[str, Meta(min_length=1, max_length=64)] | None = None


class ResponderOptions(SecretOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[responders.NAME]``."""

    kind: Kind
    url: str = ""
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
    variables: dict[str, Any] = field(default_factory=dict)
    """FastGPT's variables; of other services further members of the request."""
    concurrency: Annotated[int, Meta(ge=1, le=1000)] = 16
    """Answers at the same time, of each process."""
    on_interrupt: OnInterrupt = "restart"
    trace: bool = True
    """Whether its requests carry the context of a distributed trace."""
    unit: Literal["tokens", "points"] | None = None
    """Of its usage; by default ``points`` for FastGPT, ``tokens`` for the others."""

    @property
    def usage_unit(self) -> str:
        """The unit of its usage."""
        return self.unit or ("points" if self.kind == "fastgpt" else "tokens")


def check_options(
    responders: dict[str, ResponderOptions], settings: Settings
) -> Iterator[TableFault]:
    """Faults of names, URLs and keys."""
    holder = settings.default_holder
    if responders and holder is not None and holder not in responders:
        yield TableFault(
            "",
            f"has no responder {holder!r}, which default_holder names; add [responders.{holder}]",
        )
    for name, options in responders.items():
        if re.fullmatch(ID_PATTERN, name) is None:
            yield TableFault(name, f"is no name of a responder: {ID_FORM}")
        yield from url_faults(f"{name}.url", options.url, settings)
        yield from secret_faults(name, options, "api_key")
