"""Requests to the nodes that own a user's connections, where the limit has been reached."""

from __future__ import annotations

from wsserver.cluster.control import Request


class CheckLiveness(Request[int], frozen=True):
    """Ping a user's silent connections, and close the dead ones; the answer: how many are left."""

    user_id: str


class EvictConnection(Request[bool], frozen=True):
    """Close a connection for a newer one of its user; False if there is no such connection."""

    connection_id: str
