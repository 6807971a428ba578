"""Handlers of monitor commands, the equivalents of REST calls over the socket."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from wsserver.promise import Promise
from wsserver.protocol import commands
from wsserver.protocol.requests import (
    BroadcastRequest,
    DisconnectRequest,
    PingUserRequest,
    PublishRequest,
    Request,
    SubscribeRequest,
    read_request,
)
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.dispatcher import Answer, Handler
from wsserver.realtime.observability.monitors import Monitors
from wsserver.realtime.operations.admin_actions import AdminActions
from wsserver.realtime.operations.admin_queries import AdminQueries
from wsserver.realtime.operations.publishing import Publishing, checked_target, publish_faults


class MonitorCommands:
    """The handlers of ``/ws/admin/monitor``; each requires the permission of its REST call."""

    def __init__(
        self,
        monitors: Monitors,
        admin_queries: AdminQueries,
        publishing: Publishing,
        admin_actions: AdminActions,
    ) -> None:
        self._monitors = monitors
        self._admin_queries = admin_queries
        self._publishing = publishing
        self._admin_actions = admin_actions

    def table(self) -> dict[str, Handler]:
        """The handlers by command type."""
        return {
            "get_stats": self.get_stats,
            "subscribe": self.subscribe,
            "broadcast": self.broadcast,
            "publish": self.publish,
            "disconnect_user": self.disconnect_user,
            "ping_user": self.ping_user,
        }

    async def get_stats(self, connection: ConnectionInfo, command: commands.GetStats) -> Answer:
        """Reply with the statistics of all nodes."""
        read_request(command.args or {}, Request)
        return _result(await self._admin_queries.stats(actor_of(connection)))

    def subscribe(self, connection: ConnectionInfo, command: commands.Subscribe) -> Answer:
        """Choose events and the interval of the statistics."""
        request = read_request(command.args, SubscribeRequest)
        return _result(self._monitors.subscribe(connection, request))

    async def broadcast(self, connection: ConnectionInfo, command: commands.Broadcast) -> Answer:
        """Send to all connections."""
        request = read_request(command.args, BroadcastRequest, publish_faults)
        return _result(await self._publishing.broadcast(actor_of(connection), request))

    def publish(self, connection: ConnectionInfo, command: commands.Publish) -> Awaitable[Answer]:
        """Send to a target; the next command does not wait until this one is stored."""
        request = read_request(command.args, PublishRequest, publish_faults)
        target = checked_target(request)
        answer = self._publishing.submit(actor_of(connection), target, request)
        if isinstance(answer, Promise):
            return answer.then(_result)
        return _result_of(answer)

    async def disconnect_user(
        self, connection: ConnectionInfo, command: commands.DisconnectUser
    ) -> Answer:
        """Close a user's connections."""
        request = read_request(command.args, DisconnectRequest)
        return _result(await self._admin_actions.disconnect_user(actor_of(connection), request))

    async def ping_user(self, connection: ConnectionInfo, command: commands.PingUser) -> Answer:
        """Ping all connections of a user; replies with the round-trip times."""
        request = read_request(command.args, PingUserRequest)
        return _result(
            await self._admin_actions.ping_user(
                actor_of(connection), request.user_id, request.timeout_s
            )
        )


async def _result_of(answer: Awaitable[dict[str, Any]]) -> Answer:
    return _result(await answer)


def _result(answer: dict[str, Any]) -> Answer:
    return "result", {"result": answer}


def actor_of(connection: ConnectionInfo) -> Actor:
    """The user of a monitor's connection."""
    return Actor(connection.claims, connection.remote_ip, connection.connection_id, via="monitor")
