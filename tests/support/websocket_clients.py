"""WebSocket clients: one of the ``websockets`` library, and a raw one that sends any bytes."""

from __future__ import annotations

import base64
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as open_socket
from websockets.typing import Subprotocol

from tests.support.frames import CLOSE, TEXT, client_frame, read_close
from tests.support.http_response import Response
from tests.support.running_server import RunningServer
from tests.support.server_process import ServerProcess
from tests.support.waiting import PATIENCE_S

V1 = "wsserver.v1"


class Client:
    """A ``websockets`` client that separates replies from pushes."""

    def __init__(self, connection: AbstractContextManager[ClientConnection]) -> None:
        self._open = ExitStack()
        self.socket = self._open.enter_context(connection)
        self.pushes: list[dict[str, Any]] = []
        """Pushes that came while a reply was awaited; heartbeats are left out."""
        self.heartbeats: list[dict[str, Any]] = []
        self.unread_changes: list[dict[str, Any]] = []
        """Pushes ``unread_changed``, which come when the server gets to it, among the others."""
        self.feed_changes: list[dict[str, Any]] = []
        """Pushes ``notifications_changed``, which do so too."""
        self.established: dict[str, Any] = {}
        self._ref = 0

    @property
    def id(self) -> str:
        return str(self.established["connection_id"])

    def send(self, type_: str, **members: Any) -> None:
        self.socket.send(json.dumps({"type": type_, **members}))

    def call(self, type_: str, **members: Any) -> dict[str, Any]:
        """Send a command; returns its one reply."""
        self._ref += 1
        self.send(type_, ref=self._ref, **members)
        reply = self.reply()
        assert reply.get("ref") == self._ref, reply
        return reply

    def say(self, text: str) -> dict[str, Any]:
        """Send a text as it is; returns the reply."""
        self.socket.send(text)
        return self.reply()

    def reply(self) -> dict[str, Any]:
        """The next message that is no push: replies carry no timestamp."""
        while True:
            message = self._message()
            if "timestamp" not in message:
                return message
            self.pushes.append(message)

    def error(self, type_: str, **members: Any) -> dict[str, Any]:
        """The ``error`` of a command that must be refused."""
        answer = self.call(type_, **members)
        assert answer["type"] == "error", answer
        error: dict[str, Any] = answer["error"]
        assert isinstance(error["message"], str)
        assert isinstance(error["temporary"], bool)
        return error

    def code(self, type_: str, **members: Any) -> str:
        return str(self.error(type_, **members)["code"])

    def result(self, type_: str, **args: Any) -> Any:
        """The result of a monitor's command."""
        answer = self.call(type_, args=args)
        assert answer["type"] == "result", answer
        return answer["result"]

    def push(self, type_: str) -> dict[str, Any]:
        """The next push, which must be of this type."""
        message = self.pushes.pop(0) if self.pushes else self._message()
        assert message["type"] == type_, message
        assert message["timestamp"].endswith("Z")
        assert "ref" not in message
        return message

    def next_push(self) -> dict[str, Any]:
        """The next push, whatever it is."""
        return self.pushes.pop(0) if self.pushes else self._message()

    def await_push(self, type_: str) -> dict[str, Any]:
        """The next push of this type; those before it are dropped."""
        while True:
            message = self.pushes.pop(0) if self.pushes else self._message()
            if message["type"] == type_:
                return message

    def rest(self) -> list[dict[str, Any]]:
        """All pushes that came before the answer to a command sent now."""
        self.call("ping")
        taken, self.pushes = self.pushes, []
        return taken

    def join(self, session_id: str) -> dict[str, Any]:
        joined = self.call("join_session", session_id=session_id)
        assert joined["type"] == "session_joined", joined
        return joined

    def closed(self) -> tuple[int, str]:
        """Code and reason that the server closed with; pushes before it are kept."""
        while True:
            try:
                self.pushes.append(self._message())
            except ConnectionClosed as ended:
                end = ended.rcvd
                break
        assert end is not None, "cut off without a close frame"
        return end.code, end.reason

    def close(self) -> None:
        self._open.close()

    def await_unread(self, **members: Any) -> dict[str, Any]:
        """The next ``unread_changed`` with these members; those before it are dropped."""
        while True:
            while not self.unread_changes:
                message = self._receive()
                if message is not None:
                    self.pushes.append(message)
            push = self.unread_changes.pop(0)
            if push.items() >= members.items():
                return push

    def _message(self) -> dict[str, Any]:
        while (message := self._receive()) is None:
            pass
        return message

    def _receive(self) -> dict[str, Any] | None:
        """The next message; None: it is one of those that are collected apart."""
        message: dict[str, Any] = json.loads(self.socket.recv(timeout=PATIENCE_S))
        if message["type"] == "ping":
            self.heartbeats.append(message)
        elif message["type"] == "unread_changed":
            self.unread_changes.append(message)
        elif message["type"] == "notifications_changed":
            self.feed_changes.append(message)
        else:
            return message
        return None


def open_client(
    server: RunningServer,
    path: str = "/ws/chat",
    *,
    bearer: str | None = None,
    offers: tuple[str, ...] = (V1,),
    headers: Mapping[str, str] | None = None,
    origin: str | None = None,
) -> Client:
    """Open a socket; raises ``websockets.exceptions.InvalidStatus`` for an HTTP refusal."""
    fields = dict(headers or {})
    if bearer is not None:
        fields["Authorization"] = f"Bearer {bearer}"
    connection = open_socket(
        server.ws_url + path,
        additional_headers=fields,
        subprotocols=[Subprotocol(offer) for offer in offers] or None,
        origin=origin,  # type: ignore[arg-type]
        compression=None,
        ping_interval=None,
        proxy=None,
        close_timeout=PATIENCE_S,
        max_size=None,
        max_queue=None,  # what a test does not read must not hold up its goodbye
    )
    return Client(connection)


def together(work: Callable[[int], Any], count: int) -> list[Any]:
    """Do something in many threads that start at the same moment; returns what each gave."""
    answers: list[Any] = [None] * count
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        barrier.wait(PATIENCE_S)
        answers[number] = work(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    return answers


class RawClient:
    """A TCP socket with hand-made RFC 6455 frames."""

    def __init__(self, server: ServerProcess, receive_buffer: int | None = None) -> None:
        self._server = server
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(("127.0.0.1", server.port))
        self._stream = self.socket.makefile("rb")

    def upgrade(
        self, path: str = "/ws/chat", headers: Mapping[str, str | None] | None = None
    ) -> Response:
        """Send an upgrade request; a header of None is left out."""
        fields: dict[str, str | None] = {
            "Host": f"127.0.0.1:{self._server.port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            **(headers or {}),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
        self.socket.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        return self.response()

    def response(self) -> Response:
        status = int(self._stream.readline().split()[1])
        headers: dict[str, str] = {}
        while line := self._stream.readline().strip().decode():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = self._stream.read(int(headers.get("content-length", 0)))
        return Response(status, headers, body)

    def open(self, bearer: str, path: str = "/ws/chat", v1: bool = True) -> dict[str, Any]:
        """Be let in; returns ``connection_established``."""
        offers = {"Sec-WebSocket-Protocol": V1} if v1 else {}
        answer = self.upgrade(path, {"Authorization": f"Bearer {bearer}", **offers})
        assert answer.status == 101, answer
        return self.message("connection_established")

    def send_frame(self, opcode: int, payload: bytes, *, final: bool = True) -> None:
        self.socket.sendall(client_frame(payload, opcode, fin=final))

    def send(self, type_: str, **members: Any) -> None:
        self.send_frame(TEXT, json.dumps({"type": type_, **members}).encode())

    def frame(self) -> tuple[int, bytes]:
        head = self._read(2)
        size = head[1] & 127
        if size == 126:
            size = int.from_bytes(self._read(2), "big")
        elif size == 127:
            size = int.from_bytes(self._read(8), "big")
        return head[0] & 15, self._read(size)

    def message(self, type_: str | None = None) -> dict[str, Any]:
        """The next JSON message, or the next one of a type."""
        while True:
            opcode, payload = self.frame()
            assert opcode != CLOSE, payload
            if opcode == TEXT:
                message: dict[str, Any] = json.loads(payload)
                if type_ == message["type"] or (
                    type_ is None and message["type"] != "unread_changed"
                ):
                    return message

    def closed(self) -> tuple[int, str]:
        """Code and reason of the close frame, which is answered; the socket is done with then."""
        while True:
            opcode, payload = self.frame()
            if opcode == CLOSE:
                self.send_frame(CLOSE, payload[:2])
                self.close()
                return read_close(payload)

    def close(self) -> None:
        self._stream.close()
        self.socket.close()

    def _read(self, count: int) -> bytes:
        data = self._stream.read(count)
        if len(data) < count:
            raise EOFError("the server closed the socket")
        return data


@contextmanager
def silent_client(server: ServerProcess) -> Iterator[RawClient]:
    """A client of a development server that never answers, which keeps it draining."""
    client = RawClient(server)
    try:
        client.open(server.token("silent", "user"))
        yield client
    finally:
        client.close()
