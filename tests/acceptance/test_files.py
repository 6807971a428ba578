"""Uploads across the death of the server, and the memory that they take."""

from __future__ import annotations

import hashlib
import random
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.running_server import API, RunningServer, Start
from tests.support.tokens import token
from tests.support.tus import PART, metadata

ALICE = token("alice", sessions=["s1"], exp_in=36_000)
VERSION = {"Tus-Resumable": "1.0.0"}
MIB = 1024 * 1024


def create(server: RunningServer, length: int) -> str:
    about = metadata(filename="video.mp4", session_id="s1", content_type="video/mp4")
    headers = {**VERSION, "Upload-Length": str(length), "Upload-Metadata": about}
    answer = server.request("POST", f"{API}/files", bearer=ALICE, headers=headers)
    assert answer.status == 201, answer
    return answer.headers["location"]


def offset(server: RunningServer, path: str) -> int:
    answer = server.request("HEAD", path, bearer=ALICE, headers=VERSION)
    assert answer.status == 200, answer
    return int(answer.headers["upload-offset"])


def begin(server: RunningServer, path: str, at: int, length: int) -> socket.socket:
    """Send the head of a PATCH."""
    lines = {
        "Host": f"127.0.0.1:{server.port}",
        "Authorization": f"Bearer {ALICE}",
        **VERSION,
        "Upload-Offset": str(at),
        "Content-Type": PART,
        "Content-Length": str(length),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(f"PATCH {path} HTTP/1.1\r\n{head}\r\n".encode())
    return connection


def test_an_upload_survives_kills_at_random_bytes(start: Start) -> None:
    chance = random.Random(5)
    data = chance.randbytes(3 * MIB)
    server = start()
    path = create(server, len(data))
    stored = 0
    for _ in range(4):
        sent = chance.randrange(MIB)
        with begin(server, path, stored, len(data) - stored) as connection:
            connection.sendall(data[stored : stored + sent])
            server.send_signal(signal.SIGKILL)
            server.wait()
        server = start(folder=server.folder)
        now = offset(server, path)
        assert stored <= now <= stored + sent
        stored = now
    with begin(server, path, stored, len(data) - stored) as connection:
        connection.sendall(data[stored:])
        assert connection.recv(64).startswith(b"HTTP/1.1 204")
    found = server.request("GET", path, bearer=ALICE)
    assert hashlib.sha256(found.body).digest() == hashlib.sha256(data).digest()
    (listed,) = server.get("/files").ok["files"]
    assert listed["sha256"] == hashlib.sha256(data).hexdigest()


def test_a_stop_does_not_wait_for_an_upload_and_keeps_what_came(start: Start) -> None:
    server = start()
    path = create(server, MIB)
    with begin(server, path, 0, MIB) as connection:
        connection.sendall(bytes(600_000))
        while offset(server, path) < 512_000:  # in memory is less than a piece more
            pass
        server.stop()
    server = start(folder=server.folder)
    assert 512_000 <= offset(server, path) <= 600_000


@pytest.mark.long
@pytest.mark.slow
def test_a_gigabyte_takes_no_memory(start: Start) -> None:
    server = start(max_file_bytes=2**30, file_quota_bytes=0)
    length = 2**30
    path = create(server, length)
    before = _resident(server)
    digest = hashlib.sha256()
    with begin(server, path, 0, length) as connection:
        for piece in _pieces(length):
            connection.sendall(piece)
            digest.update(piece)
        assert connection.recv(64).startswith(b"HTTP/1.1 204")
    assert _resident(server) - before < 32 * MIB
    assert server.get("/files").ok["files"][0]["sha256"] == digest.hexdigest()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {ALICE}\r\n"
        connection.sendall(f"{head}Connection: close\r\n\r\n".encode())
        received, highest = 0, 0
        while data := connection.recv(MIB):
            received += len(data)
            highest = max(highest, _resident(server)) if received % 64 == 0 else highest
    assert received > length
    assert highest - before < 32 * MIB


def _pieces(length: int) -> Iterator[bytes]:
    piece = random.Random(7).randbytes(MIB)
    for number in range(length // MIB):
        yield piece[number % 1000 :] + piece[: number % 1000]


def _resident(server: RunningServer) -> int:
    """Resident memory of the server, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024
