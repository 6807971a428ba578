"""Concurrent requests: what is promised once is done once."""

from __future__ import annotations

from tests.acceptance.conftest import Connect, OpenRaw
from tests.support.frames import CLOSE, TEXT
from tests.support.running_server import RunningServer, Start
from tests.support.tokens import token
from tests.support.websocket_clients import V1, RawClient, together

SETTINGS = {"max_connections_per_user": 3}
CROWD = 12


def outcome(client: RawClient, path: str, headers: dict[str, str | None]) -> int:
    """What a v1 client gets: 0 for being let in, or the close code."""
    answer = client.upgrade(path, {"Sec-WebSocket-Protocol": V1, **headers})
    assert answer.status == 101
    opcode, payload = client.frame()
    if opcode == TEXT:
        return 0
    assert opcode == CLOSE
    return int.from_bytes(payload[:2], "big")


def test_a_ticket_lets_one_in(server: RunningServer, raw: OpenRaw) -> None:
    path = f"/ws/chat?ticket={server.post('/tickets', {}, token('racer')).ok['ticket']}"
    clients = [raw() for _ in range(CROWD)]
    codes = together(lambda number: outcome(clients[number], path, {}), CROWD)
    assert sorted(codes) == [0] + [4500] * (CROWD - 1)


def test_the_limit_holds_for_those_who_come_together(server: RunningServer, raw: OpenRaw) -> None:
    clients = [raw() for _ in range(CROWD)]
    headers = {"Authorization": f"Bearer {token('crowd')}"}
    codes = together(lambda number: outcome(clients[number], "/ws/chat", dict(headers)), CROWD)
    assert sorted(codes) == [0] * 3 + [4504] * (CROWD - 3)
    assert server.get("/users/crowd/connections").ok["total"] == 3


def test_evicting_leaves_the_newest(start: Start, raw: OpenRaw) -> None:
    server = start(max_connections_per_user=2, connection_limit_policy="evict_oldest")
    clients = [raw(to=server) for _ in range(CROWD)]
    headers = {"Authorization": f"Bearer {token('crowd')}"}
    codes = together(lambda number: outcome(clients[number], "/ws/chat", dict(headers)), CROWD)
    assert set(codes) == {0}
    assert server.get("/users/crowd/connections").ok["total"] == 2


def test_one_key_is_one_message(server: RunningServer, connect: Connect) -> None:
    reader = connect("reader")
    body = {"type": "news", "target": {"type": "user", "id": "reader"}}
    key = {"Idempotency-Key": "together"}
    answers = together(lambda _: server.post("/messages", body, headers=key), CROWD)
    ids = {answer.json()["message_id"] for answer in answers if answer.status == 200}
    assert len(ids) == 1
    refused = {answer.problem for answer in answers if answer.status != 200}
    assert refused <= {(409, "idempotency_pending")}
    assert [push["type"] for push in reader.rest()] == ["news"]


def test_one_client_message_id_is_one_message(connect: Connect) -> None:
    reader = connect("reader", sessions=["s1"])
    reader.join("s1")
    senders = [connect("sender", sessions=["s1"]) for _ in range(3)]
    for sender in senders:
        sender.join("s1")
    said = {"session_id": "s1", "content": "once", "client_message_id": "c1"}
    answers = together(lambda number: senders[number].call("send_message", **said), 3)
    assert len({answer["message_id"] for answer in answers}) == 1
    assert [push["type"] for push in reader.rest()].count("new_message") == 1


def test_all_members_receive_all_messages_in_the_same_order(connect: Connect) -> None:
    speakers = [connect(f"speaker{number}", sessions=["s2"]) for number in range(4)]
    for speaker in speakers:
        speaker.join("s2")

    def talk(number: int) -> None:
        for turn in range(15):
            said = speakers[number].call(
                "send_message", session_id="s2", content={"who": number, "turn": turn}
            )
            assert said["type"] == "ack"

    together(talk, 4)
    heard = [
        [
            (push["message"]["content"]["who"], push["message"]["content"]["turn"])
            for push in speaker.rest()
            if push["type"] == "new_message"
        ]
        for speaker in speakers
    ]
    assert len(heard[0]) == 60
    assert heard[1:] == [heard[0]] * 3
    for number in range(4):
        assert [turn for who, turn in heard[0] if who == number] == list(range(15))
