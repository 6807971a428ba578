"""What the directory reads from Redis, decoded; see ``directory_scripts`` for the forms."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from wsserver.cluster.directory import USERS_LISTED, Change, ConnectionRecord, SessionUsers
from wsserver.protocol.targets import Target, TargetType


def change_of(result: Sequence[Any]) -> Change:
    """The answer of ``CHANGE``."""
    count, number, became = result
    return Change(int(count), int(number), became.decode())


def session_users(members: Sequence[bytes], lost: Collection[str]) -> SessionUsers:
    """The users of a session's members on living nodes, which are sorted by user."""
    found: dict[str, dict[str, Any]] = {}
    for member in members:
        user_id, node, _, username = member.decode().split("\0", 3)
        if node in lost:
            continue
        if user_id not in found:
            if len(found) == USERS_LISTED:
                break
            name = username or None
            found[user_id] = {"user_id": user_id, "username": name, "connections": 0}
        found[user_id]["connections"] += 1
    return list(found.values())


def decoded(data: bytes) -> ConnectionRecord:
    """A connection of a node's hash."""
    return msgspec.msgpack.decode(data, type=ConnectionRecord)


def matches(connection: ConnectionRecord, target: Target) -> bool:
    """Whether a target matches a connection."""
    match target.type:
        case TargetType.USER:
            return connection.user_id == target.id
        case TargetType.SESSION:
            return target.id in connection.sessions
        case TargetType.ORGANIZATION:
            return connection.organization_id == target.id
        case TargetType.ROLE:
            return connection.role == target.id
        case TargetType.CONNECTION:
            return connection.connection_id == target.id
        case _:
            return True
