"""A blocking client of event streams, for servers that are processes of their own."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any

from tests.support.http_response import Response
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_S


class EventReader:
    """One event stream; ``port`` is that of a proxy, if it goes through one."""

    def __init__(
        self,
        server: RunningServer,
        path: str = "/sse/chat",
        *,
        bearer: str,
        cursor: str = "",
        port: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.last_id = cursor
        self._bearer = bearer
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", port or server.port, timeout=PATIENCE_S
        )
        fields = {"Authorization": f"Bearer {bearer}", **(headers or {})}
        if cursor:
            fields["Last-Event-ID"] = cursor
        self._connection.request("GET", path, headers=fields)
        self.response = self._connection.getresponse()
        assert self.response.status == 200, self.response.read()
        self.established = self.push("connection_established")

    def block(self) -> dict[str, str]:
        """The fields up to the next empty line; an error at the end of the stream."""
        fields: dict[str, str] = {}
        while line := self.response.readline().decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            fields[name] = value
        if not fields:
            raise EOFError("the stream has ended")
        self.last_id = fields.get("id", self.last_id)
        return fields

    def push(self, type_: str | None = None) -> dict[str, Any]:
        """The next push, or the next one of a type."""
        while True:
            fields = self.block()
            if fields.get("event") == "message":
                found: dict[str, Any] = json.loads(fields["data"])
                if type_ in (None, found["type"]):
                    return found

    def run(self, server: RunningServer, commands: Any, **headers: str) -> Response:
        """Send commands by way of a server, which need not be that of the stream."""
        headers = {"X-Wsserver-Channel": self.established["channel"], **headers}
        return server.request(
            "POST", "/sse/commands", commands, bearer=self._bearer, headers=headers
        )

    def close(self) -> None:
        """Go away."""
        self.response.close()
        self._connection.close()
