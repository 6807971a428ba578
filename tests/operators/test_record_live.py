"""``wsctl record`` against a running server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

from websockets.sync.client import connect

from tests.operators.conftest import Run
from tests.support.server_process import ServerProcess, environment
from tests.support.waiting import PATIENCE_S


def test_a_recording_is_a_file_for_the_trace_of_a_message(ctl: Run, server: ServerProcess) -> None:
    token = server.token("recorded", "user", sessions=["s9"])
    with subprocess.Popen(
        [sys.executable, "-m", "wsctl", "record", "recorded", "--out", "flight.json"],
        cwd=server.folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as recording:
        assert recording.stderr is not None
        assert "recording 0 connections of recorded" in recording.stderr.readline()
        with connect(server.websocket("/ws/chat", token)) as socket:
            for ref, command in enumerate(
                ({"type": "join_session"}, {"type": "send_message", "content": "Hello"})
            ):
                socket.send(json.dumps({**command, "session_id": "s9", "ref": ref}))
                while json.loads(socket.recv(timeout=PATIENCE_S)).get("ref") != ref:
                    pass
        recording.send_signal(signal.SIGINT)  # ends it early
        shown, _ = recording.communicate(timeout=PATIENCE_S)
        assert recording.returncode == 0
    assert shown.startswith("flight.json: ")
    document = json.loads((server.folder / "flight.json").read_text())
    assert (document["kind"], document["format"]) == ("wsserver-recording", 1)
    (message,) = [e["frame"] for e in document["events"] if e["type"] == "new_message"]
    assert message["message"]["content"] == "Xxxxx"
    story = ctl("trace", message["id"], "--with", "flight.json").stdout
    assert "client: sends send_message" in story
    assert "client: got new_message" in story
    assert ctl("record", "recorded", "--session", "s9").exit_code == 2
