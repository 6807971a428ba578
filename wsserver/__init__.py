"""wsserver: a real-time messaging server for WebSocket clients, beside your backend.

The names of ``__all__`` are the public face: ``Server`` runs the server inside a program, the rest
is what its methods take, return and raise. They are imported at their first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsserver.version import __version__

if TYPE_CHECKING:
    from wsserver.config import ConfigFaults, Settings, load_settings
    from wsserver.errors import (
        Forbidden,
        NotFound,
        StorageFull,
        StorageUnavailable,
        ValidationFailed,
        WsServerError,
    )
    from wsserver.notifications.recipients import Recipients, users
    from wsserver.notifications.service import NotificationService, Sending
    from wsserver.realtime.connections.connection import ConnectionInfo
    from wsserver.realtime.manager import WebSocketManager
    from wsserver.server import Published, Server
    from wsserver.server_answer import ServerAnswer

_MODULES = {
    "config": ("ConfigFaults", "Settings", "load_settings"),
    "errors": (
        *("Forbidden", "NotFound", "StorageFull", "StorageUnavailable", "ValidationFailed"),
        "WsServerError",
    ),
    "notifications.recipients": ("Recipients", "users"),
    "notifications.service": ("NotificationService", "Sending"),
    "realtime.connections.connection": ("ConnectionInfo",),
    "realtime.manager": ("WebSocketManager",),
    "server": ("Published", "Server"),
    "server_answer": ("ServerAnswer",),
}
_HOMES = {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names}

__all__ = [
    "ConfigFaults",
    "ConnectionInfo",
    "Forbidden",
    "NotFound",
    "NotificationService",
    "Published",
    "Recipients",
    "Sending",
    "Server",
    "ServerAnswer",
    "Settings",
    "StorageFull",
    "StorageUnavailable",
    "ValidationFailed",
    "WebSocketManager",
    "WsServerError",
    "__version__",
    "load_settings",
    "users",
]


if not TYPE_CHECKING:  # for which any name would exist

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value


def __dir__() -> list[str]:
    return __all__
