"""Options of the extension: the table ``[quotas]`` of the configuration."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class QuotaOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[quotas]``."""

    retention_days: Annotated[float, Meta(ge=32)] = 400.0
    """How long reports of usage are kept; the counts of quotas do not depend on it."""
