"""A push platform's HTTP/2 server over TLS: gives the answers of a test, records the requests."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

from tests.support.certificates import Authority


class Http2Request(NamedTuple):
    """A request as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    """Number of the connection, from 1."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Http2Answer(NamedTuple):
    """An answer to give; ``hang``: none; ``cut``: the connection is closed instead."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}
    hang: bool = False
    cut: bool = False


class Http2Server:
    """An HTTP/2 server on 127.0.0.1; a client that does not offer ``h2`` is not served."""

    def __init__(self, authority: Authority) -> None:
        self._tls = authority.server()
        self._tls.set_alpn_protocols(["h2"])
        self.requests: list[Http2Request] = []
        self.answer: Callable[[Http2Request], Http2Answer] = lambda request: Http2Answer()
        self.connections = 0
        self.arrived = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.port = 0

    @property
    def url(self) -> str:
        """Its address."""
        return f"https://127.0.0.1:{self.port}"

    def answer_with(self, status: int, document: Any = None, **headers: str) -> None:
        """Answer everything with this from now on; ``_`` in a header's name is ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = b"" if document is None else json.dumps(document).encode()
        self.answer = lambda request: Http2Answer(status, body, named)

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening, cut what is open."""
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            chosen: ssl.SSLObject = writer.get_extra_info("ssl_object")
            if chosen.selected_alpn_protocol() == "h2":
                self.connections += 1
                await self._converse(reader, writer, self.connections)
        except (OSError, ProtocolError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()  # without waiting for the end of TLS

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        open_: dict[int, tuple[dict[str, str], bytearray]] = {}
        writer.write(connection.data_to_send())
        while data := await reader.read(65536):
            for event in connection.receive_data(data):
                if isinstance(event, RequestReceived):
                    open_[event.stream_id] = (
                        {str(k): str(v) for k, v in event.headers},
                        bytearray(),
                    )
                elif isinstance(event, DataReceived):
                    open_[event.stream_id][1].extend(event.data)
                    connection.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id
                    )
                elif isinstance(event, StreamReset):
                    open_.pop(event.stream_id, None)
                elif isinstance(event, StreamEnded):
                    headers, body = open_.pop(event.stream_id)
                    request = Http2Request(headers[":path"], headers, bytes(body), number)
                    if not self._reply(connection, event.stream_id, request):
                        return
            writer.write(connection.data_to_send())
            await writer.drain()

    def _reply(self, connection: H2Connection, stream: int, request: Http2Request) -> bool:
        """Answer a request; False: the connection is to be cut."""
        self.requests.append(request)
        self.arrived.set()
        answer = self.answer(request)
        if answer.cut or answer.hang:
            return not answer.cut
        headers = [(":status", str(answer.status)), *answer.headers.items()]
        connection.send_headers(stream, headers, end_stream=not answer.body)
        if answer.body:
            connection.send_data(stream, answer.body, end_stream=True)
        return True
