"""``PubSubConnection`` with a server that answers, does not, or answers what it should not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.cluster_nodes import eventually
from wsserver.cluster.redis.pubsub_connection import UNANSWERED_BYTES, PubSubConnection


class Far:
    """The server's side, and what the connection reports."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, bytes]] = []
        self.confirmed: list[bytes] = []
        self.writable = 0
        self.counts: list[int | None] = []
        self.requests = bytearray()
        self.writer: asyncio.StreamWriter

    def answer(self, data: bytes) -> None:
        self.writer.write(data)


@asynccontextmanager
async def connected(folder: Path) -> AsyncIterator[tuple[PubSubConnection, Far]]:
    far = Far()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far.writer = writer
        while data := await reader.read(65536):
            far.requests += data

    def note() -> None:
        far.writable += 1

    server = await asyncio.start_unix_server(serve, folder / "socket")
    loop = asyncio.get_running_loop()
    connection = PubSubConnection(
        lambda channel, data: far.received.append((channel, data)), far.confirmed.append, note
    )
    transport, _ = await loop.create_unix_connection(asyncio.Protocol, str(folder / "socket"))
    connection.attach(transport)
    try:
        yield connection, far
    finally:
        connection.abort("end of the test")
        await connection.lost
        server.close()
        far.writer.close()
        await far.writer.wait_closed()


@pytest.mark.gen_test
async def test_commands_are_written_whole_and_replies_and_pushes_told_apart(tmp_path: Path) -> None:
    async with connected(tmp_path) as (connection, far):
        connection.subscribe(["ä", "b"])
        connection.publish([("ä", b"x\r\n", far.counts.append), ("b", b"", None)])
        connection.unsubscribe(["b"])
        sent = (
            b"*3\r\n$9\r\nSUBSCRIBE\r\n$2\r\n\xc3\xa4\r\n$1\r\nb\r\n"
            b"*3\r\n$7\r\nPUBLISH\r\n$2\r\n\xc3\xa4\r\n$3\r\nx\r\n\r\n"
            b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nb\r\n$0\r\n\r\n"
            b"*2\r\n$11\r\nUNSUBSCRIBE\r\n$1\r\nb\r\n"
        )
        await eventually(lambda: bytes(far.requests), sent)
        far.answer(b">3\r\n$9\r\nsubscribe\r\n$2\r\n\xc3\xa4\r\n:1\r\n>3\r\n$7\r\nmess")
        await eventually(lambda: far.confirmed, ["ä".encode()])
        far.answer(b"age\r\n$2\r\n\xc3\xa4\r\n$1\r\nx\r\n:2\r\n:0\r\n")
        await eventually(lambda: far.counts, [2])
        assert far.received == [("ä".encode(), b"x")]


@pytest.mark.gen_test
async def test_what_is_unanswered_is_bounded(tmp_path: Path) -> None:
    async with connected(tmp_path) as (connection, far):
        half = bytes(UNANSWERED_BYTES // 2)
        connection.publish([("a", half, far.counts.append)])
        assert not connection.is_full
        connection.publish([("a", half, far.counts.append)])
        assert connection.is_full
        await eventually(lambda: len(far.requests) > UNANSWERED_BYTES)
        assert far.writable == 0
        far.answer(b":1\r\n")
        await eventually(lambda: far.writable, 1)
        assert not connection.is_full
        far.answer(b":1\r\n")
        await eventually(lambda: far.counts, [1, 1])
        assert far.writable == 1


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"-NOPERM no rights for the channel\r\n", "NOPERM no rights for the channel"),
        (b"+OK\r\n", "unexpected reply: b'OK'"),
        (b"HTTP/1.1 400 Bad Request\r\n", "malformed reply"),
        (None, "closed by the server"),
    ],
)
@pytest.mark.gen_test
async def test_it_ends_with_a_reason_and_answers_what_waits(
    reply: bytes | None, reason: str, tmp_path: Path
) -> None:
    async with connected(tmp_path) as (connection, far):
        connection.publish([("a", b"1", far.counts.append), ("a", b"2", far.counts.append)])
        await eventually(lambda: len(far.requests) > 0)
        if reply is None:
            far.writer.close()
        else:
            far.answer(b":4\r\n" + reply)
        assert reason in await connection.lost
        assert far.counts == ([None, None] if reply is None else [4, None])
        connection.publish([("a", b"3", far.counts.append)])
        assert far.counts[2:] == [None]
