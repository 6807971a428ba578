"""A deleted message leaves nothing of its content behind: in answers, in the file, in its log."""

from __future__ import annotations

import json
from pathlib import Path

from tests.acceptance.conftest import Connect
from tests.support.running_server import Start

SECRET_TEXT = "the-secret-of-this-test"


def test_nothing_is_left_of_a_deleted_message(start: Start, connect: Connect) -> None:
    # Nothing listens there, so events wait in the outbox.
    server = start(
        webhook_urls=["http://127.0.0.1:9/hook#message_received"],
        webhook_secret="s" * 32,
        allow_loopback_urls=True,
    )
    client = connect("u1", to=server, sessions=["s1"])
    client.join("s1")
    sent = client.call("send_message", session_id="s1", content=f"{SECRET_TEXT} {'x' * 9000}")
    client.call("edit_message", message_id=sent["message_id"], content=f"{SECRET_TEXT} again")
    body = {"type": "new_message", "content": f"{SECRET_TEXT} too"}
    header = {"Idempotency-Key": "k1"}
    other = server.post("/sessions/s1/messages", body, headers=header).json()
    assert SECRET_TEXT in server.get("/sessions/s1/history").body.decode()
    for message_id in (sent["message_id"], other["message_id"]):
        assert server.delete(f"/messages/{message_id}").status == 200
    client.rest()

    answers = [
        server.get("/sessions/s1/history?changes=true").body.decode(),
        server.get(f"/messages/{sent['message_id']}").body.decode(),
        server.get("/webhooks/deliveries").body.decode(),
        server.get("/audit").body.decode(),
        server.post("/sessions/s1/messages", body, headers=header).body.decode(),
        json.dumps(client.call("history", session_id="s1", changes=True)),
    ]
    for delivery in server.get("/webhooks/deliveries").json()["deliveries"]:
        answers.append(server.get(f"/webhooks/deliveries/{delivery['delivery_id']}").body.decode())
    assert len(answers) > 6
    assert [answer for answer in answers if SECRET_TEXT in answer] == []
    client.close()
    server.stop()
    for file in Path(server.database.parent).glob("wsserver.sqlite3*"):
        assert SECRET_TEXT.encode() not in file.read_bytes(), file
    assert not any(SECRET_TEXT in line for line in server.lines)
