"""An answer whose node is killed: another one goes on where storage ends."""

from __future__ import annotations

import psycopg

from tests.support.answer_watchers import Watcher, append, start
from tests.support.running_server import RunningServer
from tests.support.waiting import poll


def test_another_node_goes_on_where_storage_ends(
    two: tuple[RunningServer, RunningServer], database_url: str
) -> None:
    one, other = two
    id_ = start(one, "s1", content="so ")
    append(one, id_, 1, "far ")
    poll(lambda: stored_seq(database_url, id_), lambda seq: seq == 1)
    watcher = Watcher(other, "u1", "s1")
    assert watcher.texts == {id_: "so far "}
    one.kill()
    answered = poll(lambda: append(other, id_, 9, "?"), lambda answer: answer.status != 503)
    assert answered.problem == (409, "out_of_order")
    expected = answered.json()["expected"]
    assert expected == 2
    append(other, id_, expected, "and on")
    watcher.until(id_, "so far and on")
    assert other.post(f"/answers/{id_}/finish").ok["length"] == 13
    assert watcher.until_ended(id_)["message"]["content"] == "so far and on"
    watcher.client.close()


def stored_seq(database_url: str, id_: str) -> int:
    """The latest append that is in the database, as a lost owner would leave it."""
    with psycopg.connect(database_url) as db:
        row = db.execute("SELECT seq FROM answers WHERE message_id = %s", [id_]).fetchone()
    assert row is not None
    return int(row[0])
