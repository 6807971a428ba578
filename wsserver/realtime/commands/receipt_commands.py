"""Handlers of the receipt commands ``ack`` and ``read``."""

from __future__ import annotations

from msgspec import UNSET

from wsserver.errors import BadRequest
from wsserver.protocol import commands
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.dispatcher import Answer, Handler
from wsserver.realtime.inbox.receipt_recorder import ReceiptRecorder


class ReceiptCommands:
    """The handlers of receipts; the reply is sent after the commit."""

    def __init__(self, receipts: ReceiptRecorder) -> None:
        self._receipts = receipts

    def table(self) -> dict[str, Handler]:
        """The handlers by command type."""
        return {"ack": self.ack, "read": self.read}

    async def ack(self, connection: ConnectionInfo, command: commands.Ack) -> Answer:
        """Record messages as received, by ids or as a whole stream up to an offset."""
        if command.ids is not UNSET:
            for field in ("stream", "offset"):
                if getattr(command, field) is not UNSET:
                    raise BadRequest(f"{field}: not together with ids", field=field)
            count = await self._receipts.acknowledge(connection, command.ids, "delivered")
        elif command.stream is not UNSET and command.offset is not UNSET:
            count = await self._receipts.acknowledge_up_to(
                connection, command.stream, command.offset
            )
        else:
            raise _incomplete(command)
        return "ack", {"acknowledged": count}

    async def read(self, connection: ConnectionInfo, command: commands.Read) -> Answer:
        """Record messages as read and received."""
        count = await self._receipts.acknowledge(connection, command.ids, "read")
        return "ack", {"acknowledged": count}


def _incomplete(command: commands.Ack) -> BadRequest:
    if command.stream is not UNSET:
        return BadRequest("offset: required with stream", field="offset")
    if command.offset is not UNSET:
        return BadRequest("stream: required with offset", field="stream")
    return BadRequest("ids: required, or stream and offset", field="ids")
