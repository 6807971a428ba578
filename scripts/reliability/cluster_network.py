"""A network between a node and a server that can be slow, cut off, or lose connections."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress

_BLOCK = 65536
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing sends RST."""


class Link:
    """A TCP forwarder to a port of this machine; clients connect to ``port``."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self.port = 0
        self.delay_s = 0.0
        """Of each block, in each direction."""
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        """By connection: towards the client and towards the server."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Pass nothing on any more, and close nothing, as when all packets are dropped."""
        self._flows.clear()

    def mend(self) -> None:
        """Pass on what was held up, and everything after it, without delay."""
        self.delay_s = 0.0
        self._flows.set()

    def reset(self) -> None:
        """End all connections with RST, on both sides."""
        for pair in self._pairs:
            for writer in pair:
                _reset(writer)

    def abandon(self) -> None:
        """End all connections on the server's side only: the client hears nothing of it."""
        for to_client, to_server in list(self._pairs):
            self._pairs.discard((to_client, to_server))
            _reset(to_server)

    async def stop(self) -> None:
        """End everything."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._flows.wait()
            with suppress(OSError):
                behind, to_server = await asyncio.open_connection("127.0.0.1", self._behind)
                pair = writer, to_server
                self._pairs.add(pair)
                sending = asyncio.ensure_future(self._pump(reader, to_server, pair))
                try:
                    await self._pump(behind, writer, pair)
                    if pair not in self._pairs:  # abandoned: until the client gives up
                        await sending
                finally:
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)
                    self._pairs.discard(pair)
                    to_server.close()
        finally:
            writer.close()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        with suppress(OSError):
            while block := await reader.read(_BLOCK):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._flows.wait()
                if pair in self._pairs:
                    writer.write(block)
                    await writer.drain()
        if pair in self._pairs:
            writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    with suppress(OSError, ValueError):  # uvloop's, for one that is closed already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
