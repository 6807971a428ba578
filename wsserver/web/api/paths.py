"""Path templates of the route table: compile them, find the endpoint of a path."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from wsserver.web.api.endpoint import Endpoint

_NAME = re.compile(r"\{([a-z_]+)\}")


class Found(NamedTuple):
    """An endpoint, and the path parameters."""

    endpoint: Endpoint
    parts: Mapping[str, str]
    """By name; raw."""


class Paths:
    """Finds the endpoint of a method and a path."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._fixed: dict[tuple[str, str], Found] = {}
        self._templates: list[tuple[re.Pattern[str], Endpoint]] = []
        for endpoint in endpoints:
            if "{" in endpoint.path:
                self._templates.append((re.compile(pattern_of(endpoint.path)), endpoint))
            else:
                self._fixed[endpoint.method, endpoint.path] = Found(endpoint, {})
        self._paths = {path for _, path in self._fixed}

    def find(self, method: str, path: str) -> Found | None:
        """The endpoint of a method and path; fixed paths first, as in ``routes.rules``."""
        found = self._fixed.get((method, path))
        if found is not None or path in self._paths:
            return found
        for pattern, endpoint in self._templates:
            if endpoint.method == method:
                match = pattern.fullmatch(path)
                if match is not None:
                    return Found(endpoint, match.groupdict())
        return None


def pattern_of(path: str) -> str:
    """Regular expression for a template: each ``{name}`` matches one segment."""
    return _NAME.sub(r"(?P<\1>[^/]*)", path.replace(".", r"\."))


def allowed_methods(methods: Mapping[str, Any] | Sequence[str]) -> tuple[str, ...]:
    """Value of ``Allow`` for a path with these methods."""
    extra = ("HEAD", "OPTIONS") if "GET" in methods else ("OPTIONS",)
    return (*sorted(methods), *extra)
