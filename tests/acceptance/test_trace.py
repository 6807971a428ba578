"""§6, §11: traces of messages of a running server."""

from __future__ import annotations

from typing import Any

from tests.acceptance.conftest import Connect, OpenRaw
from tests.support.running_server import RunningServer, Start
from tests.support.tokens import token
from tests.support.waiting import poll

FIELDS = {
    *("message_id", "type", "class", "target", "accepted_at", "accepted_from"),
    *("recipients", "truncated", "summary"),
}
STATES = ("pending", "sent", "delivered", "read", "dropped", "expired")


def trace(server: RunningServer, message_id: str, query: str = "") -> dict[str, Any]:
    answer: dict[str, Any] = server.get(f"/messages/{message_id}{query}").ok
    assert set(answer) >= FIELDS
    summary = answer["summary"]
    assert set(summary) == {"total", *STATES}
    assert summary["total"] == sum(summary[state] for state in STATES)
    for each in answer["recipients"]:
        assert each["history"][-1]["state"] == each["state"]
        assert all(step["at"].endswith("Z") for step in each["history"])
    return answer


def online(server: RunningServer) -> int:
    count: int = server.health()["checks"]["connections"]["open"]
    return count


def until_online(server: RunningServer, number: int) -> None:
    poll(lambda: online(server), lambda count: count == number)


def states(answer: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    """State and reason by user."""
    return {each["user_id"]: (each["state"], each.get("reason")) for each in answer["recipients"]}


def test_a_broadcast_reached_those_who_were_there_when_it_went_out(
    server: RunningServer, connect: Connect
) -> None:
    early = connect("early")
    connect("plain", v1=False)
    connect("unwanted")
    left = connect("left")
    left.close()
    until_online(server, 3)
    body = {"type": "news", "data": 1, "exclude_users": ["unwanted", "nobody"]}
    sent = server.post("/broadcast", body, token("boss", role="admin")).ok
    connect("late")
    early.close()
    until_online(server, 3)
    answer = trace(server, sent["message_id"])
    assert set(answer) == FIELDS
    assert (answer["message_id"], answer["type"]) == (sent["message_id"], "news")
    assert (answer["class"], answer["target"]) == ("live", {"type": "broadcast"})
    source = answer["accepted_from"]
    assert (source["user_id"], source["role"], source["via"]) == ("boss", "admin", "rest")
    assert states(answer) == {
        "early": ("sent", None),
        "plain": ("delivered", None),
        "unwanted": ("dropped", "excluded"),
        "nobody": ("dropped", "excluded"),
    }
    assert sent["matched"] == answer["summary"]["sent"] + answer["summary"]["delivered"]
    late = trace(server, sent["message_id"], "?user_id=late")
    assert states(late) == {"late": ("dropped", "offline")}


def test_a_session_is_traced_to_who_had_joined_it(server: RunningServer, connect: Connect) -> None:
    people = {name: connect(name, sessions="*") for name in ("a", "b", "c", "d")}
    for name in ("a", "b", "c"):
        people[name].join("room")
    people["c"].call("leave_session", session_id="room")
    sent = server.post("/sessions/room/messages", {"type": "news"}).ok
    people["b"].call("leave_session", session_id="room")
    people["d"].join("room")
    assert states(trace(server, sent["message_id"])) == {
        "a": ("sent", None),
        "b": ("sent", None),
    }
    for user, answer in (("c", "not_joined"), ("d", "not_joined"), ("e", "offline")):
        assert states(trace(server, sent["message_id"], f"?user_id={user}")) == {
            user: ("dropped", answer)
        }


def test_a_live_message_without_a_connection_is_dropped(server: RunningServer) -> None:
    sent = server.post("/users/nobody/messages", {"type": "news"}).ok
    assert states(trace(server, sent["message_id"])) == {"nobody": ("dropped", "offline")}


def test_sockets_and_monitors_are_sources_too(
    server: RunningServer, connect: Connect, monitor: Connect
) -> None:
    client = connect("u1", sessions=["s1"])
    client.join("s1")
    sent = client.call("send_message", session_id="s1", content="hi")
    source = {"user_id": "u1", "role": "user", "via": "socket", "id": client.id}
    assert trace(server, sent["message_id"])["accepted_from"] == source
    watcher = monitor("watcher")
    published = watcher.result("broadcast", type="news")
    source = {"user_id": "watcher", "role": "admin", "via": "monitor", "id": watcher.id}
    assert trace(server, published["message_id"])["accepted_from"] == source


def test_acknowledgements_are_in_it(server: RunningServer, connect: Connect) -> None:
    phone, laptop, sender = connect("u1"), connect("u1"), connect("u2", sessions=["s1"])
    live = server.post("/users/u1/messages", {"type": "news"}).ok
    phone.call("ack", ids=[live["message_id"]])
    sender.call("ack", ids=[live["message_id"]])  # who did not get it cannot acknowledge it
    by_connection = {
        each["connection_id"]: [step["state"] for step in each["history"]]
        for each in trace(server, live["message_id"])["recipients"]
    }
    assert by_connection == {phone.id: ["sent", "delivered"], laptop.id: ["sent"]}
    phone.call("read", ids=[live["message_id"]])
    assert trace(server, live["message_id"])["summary"]["read"] == 1
    kept = server.post("/users/u1/messages", {"type": "news", "keep": True}).ok
    laptop.call("ack", stream=kept["stream"], offset=kept["offset"])
    recipients = trace(server, kept["message_id"])["recipients"]
    assert {each["connection_id"]: each["state"] for each in recipients}[laptop.id] == "delivered"


def test_what_waits_in_an_inbox_is_traced_until_it_is_read(
    server: RunningServer, connect: Connect
) -> None:
    kept = server.post("/users/u8/messages", {"type": "news", "keep": True}).ok
    assert states(trace(server, kept["message_id"])) == {"u8": ("pending", "offline")}
    client = connect("u8")
    assert client.push("news")["id"] == kept["message_id"]
    (waiting,) = trace(server, kept["message_id"])["recipients"]
    assert (waiting["connection_id"], waiting["state"]) == (client.id, "sent")
    client.call("read", ids=[kept["message_id"]])
    (done,) = trace(server, kept["message_id"])["recipients"]
    assert (done["connection_id"], done["state"]) == (client.id, "read"), done
    assert done["history"][0]["state"] == "pending", done


def test_a_kept_message_is_traced_also_after_a_restart(start: Start, connect: Connect) -> None:
    first = start()
    client = connect("u1", to=first, sessions=["s1"])
    client.join("s1")
    sent = client.call("send_message", session_id="s1", content="hi")
    first.put("/sessions/s1/members", {"user_ids": ["u1", "u3"]})
    waits = first.post("/users/u9/messages", {"type": "news", "keep": True}).ok
    answer = trace(first, sent["message_id"])
    position = {name: sent[name] for name in ("stream", "epoch", "offset")}
    assert set(answer) == FIELDS | set(position)
    assert {name: answer[name] for name in position} == position
    assert states(answer) == {"u1": ("sent", None), "u3": ("pending", "offline")}
    client.close()
    first.stop()
    again = start(folder=first.folder)
    answer = trace(again, sent["message_id"])
    assert answer["class"] == "kept"
    assert {name: answer[name] for name in position} == position
    assert (answer["accepted_from"]["user_id"], answer["accepted_from"]["id"]) == ("u1", client.id)
    assert states(answer) == {"u1": ("pending", None), "u3": ("pending", None)}
    assert states(trace(again, waits["message_id"])) == {"u9": ("pending", None)}


def test_who_reads_too_slowly_has_not_got_what_waited(
    start: Start, connect: Connect, raw: OpenRaw
) -> None:
    server = start(queue_limit_bytes=100_000)
    neighbour = connect("neighbour", to=server, v1=False)
    slow = raw(server, receive_buffer=4096)
    slow.open(token("slow"), v1=False)
    sent = []
    while online(server) == 2:
        sent.append(server.post("/broadcast", {"type": "news", "data": "x" * 30_000}).ok)
        assert neighbour.push("news")["id"] == sent[-1]["message_id"]
        assert len(sent) < 1000
    answer = trace(server, sent[-1]["message_id"])
    assert states(answer) == {"slow": ("dropped", "slow"), "neighbour": ("delivered", None)}
    for each in sent:
        assert states(trace(server, each["message_id"], "?user_id=slow"))["slow"] in (
            ("dropped", "slow"),
            ("delivered", None),
        )
    after = server.post("/broadcast", {"type": "news"}).ok
    assert states(trace(server, after["message_id"])) == {"neighbour": ("delivered", None)}


def test_what_is_too_old_or_unknown_is_not_found(start: Start) -> None:
    server = start(trace_retention_s=0.3)
    sent = server.post("/broadcast", {"type": "news"}).ok
    path = f"/messages/{sent['message_id']}"
    poll(lambda: server.get(path).status, lambda status: status == 404)
    answer = server.get(path)
    assert answer.problem == (404, "not_found")
    assert "0.3 s" in answer.json()["detail"]
    off = start(trace_retention_s=0)
    sent = off.post("/broadcast", {"type": "news"}).ok
    assert off.get(f"/messages/{sent['message_id']}").problem == (404, "not_found")


def test_asking_in_the_wrong_way(server: RunningServer) -> None:
    assert server.get("/messages/a%20b").problem == (400, "bad_request")
    assert server.get("/messages/msg_1?user=u1").problem == (400, "bad_request")
    assert server.get("/messages/msg_1?user_id=a%20b").problem == (400, "bad_request")
    assert server.get("/messages/explain").status == 405
    assert server.put("/messages/msg_1", {}).status == 405
