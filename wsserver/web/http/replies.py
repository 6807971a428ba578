"""HTTP replies as values: status, headers, body bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

JSON_TYPE: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as bytes."""

    body: bytes
    content_type: str = JSON_TYPE
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    is_routine: bool = False
    """Is it one of very many alike, each of which is worth no line in the log?"""


def json_reply(answer: Any, status: int = 200, *, is_routine: bool = False) -> Reply:
    """An answer as JSON."""
    return Reply(msgspec.json.encode(answer), status=status, is_routine=is_routine)
