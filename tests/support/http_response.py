"""An HTTP response, with checks of the API's documents."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    """Names in lower case; repeated ones joined."""
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def ok(self) -> Any:
        """The document of an answer that must be 200."""
        assert self.status == 200, (self.status, self.body)
        return self.json()

    @property
    def problem(self) -> tuple[int, str]:
        """Status and code of a refusal, which must be a whole problem document."""
        assert self.headers["content-type"] == "application/problem+json", self
        document = self.json()
        assert set(document) >= {"type", "title", "status", "detail", "code", "request_id"}
        assert document["status"] == self.status
        assert document["request_id"] == self.headers["x-request-id"]
        return self.status, str(document["code"])

    @property
    def code(self) -> str:
        """The code of a problem document."""
        return self.problem[1]
