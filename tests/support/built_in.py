"""The server with all built-in extensions: its routes, permissions, templates and frames."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from wsserver.config import Settings
from wsserver.extension_registry import load_extensions
from wsserver.identity import permissions
from wsserver.notifications import parameters
from wsserver.protocol import commands
from wsserver.web.resources import socket_frames, socket_replies
from wsserver.web.resources.routes import RouteTable

EXTENSIONS = load_extensions(Settings())
ROUTES = RouteTable(EXTENSIONS.resources, EXTENSIONS.errors)
ENDPOINTS, TAGS, ERRORS = ROUTES.endpoints, ROUTES.tags, ROUTES.errors
ALL_PERMISSIONS = permissions.ALL_PERMISSIONS | EXTENSIONS.permissions.keys()
DEFAULT_ROLES: Mapping[str, frozenset[str]] = {
    role: names | {name for name, roles in EXTENSIONS.permissions.items() if role in roles}
    for role, names in permissions.DEFAULT_ROLES.items()
}
PARAMETERS: Mapping[str, type] = {
    **parameters.PARAMETERS,
    **{name: kind for each in EXTENSIONS.templates for name, kind in each.parameters.items()},
}
COMMANDS = {**commands.MONITOR_COMMANDS, **EXTENSIONS.commands}
PUSHES: Mapping[str, type[Struct]] = {
    **socket_frames.PUSHES,
    **EXTENSIONS.pushes,
}
REPLIES: Mapping[str, tuple[str, type[Struct]]] = {
    **socket_replies.REPLIES,
    **EXTENSIONS.replies,
}
