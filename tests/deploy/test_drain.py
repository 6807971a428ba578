"""A server that is replaced behind the proxy of ``deploy/``: nobody misses a message."""

from __future__ import annotations

import json
import re
import signal
import threading
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.support.cluster_servers import ClusterServers
from tests.support.event_reader import EventReader
from tests.support.nginx import NEEDS_NGINX, free_port, run_nginx
from tests.support.rst_blocks import ROOT
from tests.support.tokens import SECRET, token
from tests.support.waiting import PATIENCE_S, poll
from wsserver.sdk import Client, RetryPolicy, TokenSigner, to_session

CLIENTS = 6


class Reader(threading.Thread):
    """A client that comes back whenever it is put out, and notes what it gets."""

    def __init__(self, address: str, number: int) -> None:
        super().__init__(daemon=True)
        self.said: list[str] = []
        self.codes: list[int] = []
        self.is_ready = threading.Event()
        self.is_done = threading.Event()
        self._address = address
        self._position: dict[str, Any] | None = None
        self._bearer = token(f"u{number}", sessions=["s1"])

    def run(self) -> None:
        """Receive until the message ``end``."""
        while not self.is_done.is_set():
            try:
                with connect(
                    f"ws://{self._address}/ws/chat",
                    additional_headers={"Authorization": f"Bearer {self._bearer}"},
                    open_timeout=PATIENCE_S,
                ) as socket:
                    self._listen(socket)
            except ConnectionClosed as closed:
                self.codes.append(closed.rcvd.code if closed.rcvd else 1006)
            except Exception:  # noqa: BLE001 - refused by the proxy: it comes back
                self.codes.append(0)

    def _listen(self, socket: Any) -> None:
        since = {} if self._position is None else {"since": self._position}
        socket.send(json.dumps({"type": "join_session", "session_id": "s1", **since}))
        for text in socket:
            push = json.loads(text)
            if push["type"] == "session_joined" and "messages" in push:
                for each in push["messages"]:
                    self._take(each)
                if self._position is None:
                    self._position = {"epoch": push["epoch"], "offset": push["offset"]}
                self.is_ready.set()
            elif push["type"] == "new_message":
                self._take(push)
            if self.is_done.is_set():
                break

    def _take(self, push: dict[str, Any]) -> None:
        self._position = {"epoch": push["epoch"], "offset": push["offset"]}
        self.said.append(push["message"]["content"])
        if push["message"]["content"] == "end":
            self.is_done.set()


@NEEDS_NGINX
def test_nobody_misses_a_message_while_servers_are_replaced(
    cluster: ClusterServers, tmp_path: Path
) -> None:
    settings = {"drain_timeout_s": 8.0, "trusted_proxies": ["127.0.0.1"]}
    ports = [free_port(), free_port()]
    nodes = [cluster.start(f"chat-{n}", port=port, **settings) for n, port in enumerate(ports, 1)]
    port = free_port()
    text = (ROOT / "deploy" / "compose" / "nginx.conf").read_text()
    for number, node in enumerate(nodes, 1):
        text = text.replace(f"chat-{number}:8765 resolve", f"127.0.0.1:{node.port}")
    text = re.sub(r"(?m)^resolver .*$", "", text).replace("listen 8080", f"listen 127.0.0.1:{port}")
    text = text.replace("/dev/stdout", str(tmp_path / "access.log"))
    retry = RetryPolicy(attempts=1000, timeout_s=PATIENCE_S)
    (tmp_path / "nginx").mkdir()
    with run_nginx(tmp_path / "nginx", text, port) as address:
        readers = [Reader(address, number) for number in range(CLIENTS)]
        for reader in readers:
            reader.start()
        for reader in readers:
            assert reader.is_ready.wait(PATIENCE_S)
        assert all(node.health()["checks"]["connections"]["open"] for node in nodes)
        stream = EventReader(
            nodes[0], "/sse/chat/session/s1", bearer=token("e", sessions=["s1"]), port=port
        )
        with Client(
            f"http://{address}", TokenSigner(SECRET).service("shop"), retry=retry
        ) as client:
            said = []
            for number in range(30):
                if number == 10:
                    nodes[0].process.send_signal(signal.SIGTERM)
                said.append(str(number))
                client.publish(to_session("s1"), "new_message", content=said[-1])
            assert nodes[0].process.wait(PATIENCE_S) == 0
            client.publish(to_session("s1"), "new_message", content="end")
        for reader in readers:
            assert reader.is_done.wait(PATIENCE_S), (reader.said, reader.codes)
            assert reader.said == [*said, "end"], reader.codes
            assert set(reader.codes) <= {0, 1012, 1013}, reader.codes
        stream.close()
        poll(
            lambda: nodes[1].health()["checks"]["connections"]["open"],
            lambda count: count <= CLIENTS,
        )
