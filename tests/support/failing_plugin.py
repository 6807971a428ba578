"""A plugin that raises exceptions in a server, to test what internal errors disclose."""

from __future__ import annotations

from typing import Any


def install(manager: Any) -> None:
    """Make statistics, one session's access check and one event fail."""
    manager.stats = _fail
    allows = manager.sessions.access.allows

    def broken_access(claims: Any, session_id: str) -> bool:
        if session_id == "broken":
            _fail(claims)
        return bool(allows(claims, session_id))

    manager.sessions.access.allows = broken_access
    manager.add_event_handler("session_left", _fail)


def _fail(*_: Any) -> Any:
    raise RuntimeError("broken on purpose")
