"""Answers that grow through restarts, and how they count in traces and exports."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing

import pytest

from tests.acceptance.conftest import Connect
from tests.support.running_server import RunningServer, Start
from tests.support.waiting import poll

WORDS = [f"word {number}, " for number in range(1, 13)]


def written(server: RunningServer) -> int:
    """The latest append that is in the file."""
    with closing(sqlite3.connect(f"file:{server.database}?mode=ro", uri=True)) as db:
        (seq,) = db.execute("SELECT max(seq) FROM answers").fetchone()
        return int(seq)


def send(server: RunningServer, answer: str, first: int, last: int) -> None:
    """Append words as a backend does: after ``out_of_order`` from where the server says."""
    seq = first
    while seq <= last:
        body = {"seq": seq, "text": WORDS[seq - 1]}
        response = server.post(f"/answers/{answer}/append", body)
        if response.status == 409:
            problem = response.json()
            assert problem["code"] == "out_of_order"
            assert problem["expected"] < seq, "only what was not written is asked for again"
            seq = problem["expected"]
        else:
            assert response.ok["seq"] == seq
            seq += 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_an_answer_goes_on_after_a_restart_in_the_middle(
    start: Start, connect: Connect, number: int
) -> None:
    server = start()
    started = server.post("/sessions/s1/answers", {"content": "Well: "}).ok
    answer = started["message_id"]
    send(server, answer, 1, 4)
    poll(lambda: written(server), lambda seq: seq >= 1)
    send(server, answer, 5, 8)  # some of it may not be written yet
    server.send_signal(number)
    server.wait()
    if number == signal.SIGTERM:
        assert written(server) == 8, "a server that stops writes everything"

    again = start(folder=server.folder)
    early = connect("early", to=again, sessions="*")
    early.join("s1")
    send(again, answer, 9, 10)
    late = connect("late", to=again, sessions="*")
    late.join("s1")
    send(again, answer, 11, 12)
    text = "Well: " + "".join(WORDS)
    finished = again.post(f"/answers/{answer}/finish", {}).ok
    assert (finished["state"], finished["length"]) == ("completed", len(text))
    for client in (early, late):
        ended = client.await_push("answer_ended")
        assert ended["message"]["content"] == text
    view = again.get(f"/answers/{answer}").ok
    assert (view["content"], view["seq"], view["ended_by"]) == (text, 12, "admin")
    (message,) = again.get("/sessions/s1/history").ok["messages"]
    assert (message["offset"], message["message"]["content"]) == (started["offset"], text)


def test_traces_and_exports_count_an_answer_as_one_message(start: Start, connect: Connect) -> None:
    server = start()
    member = connect("u1", to=server, sessions="*")
    member.join("s1")
    answer = server.post("/sessions/s1/answers", {}).ok["message_id"]
    send(server, answer, 1, len(WORDS))
    server.post(f"/answers/{answer}/finish", {})
    member.await_push("answer_ended")
    exported = server.get("/export/messages").ok["messages"]
    assert [(row["message_id"], row["content"]) for row in exported] == [(answer, "".join(WORDS))]
    trace = server.get(f"/messages/{answer}").ok
    assert (trace["type"], trace["class"]) == ("new_message", "kept")
    assert [each["user_id"] for each in trace["recipients"]] == ["u1"]
