"""A JWKS server: publishes keys, and counts the requests."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.support.http_provider import HttpProvider


class JwksServer(HttpProvider):
    """Answers every request with the published keys."""

    def __init__(self) -> None:
        super().__init__()
        self.publish()

    def publish(self, *keys: dict[str, Any]) -> None:
        """Serve these JWKs from now on."""
        self.answer_with(200, msgspec.json.encode({"keys": keys}))

    @property
    def fetched(self) -> int:
        """How many requests there were."""
        return len(self.requests)
