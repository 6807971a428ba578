"""Options of the extension: the table ``[tasks]`` of the configuration."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class TaskOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[tasks]``."""

    retention_days: Annotated[float, Meta(gt=0)] = 365.0
    """How long tasks that have ended are kept."""
