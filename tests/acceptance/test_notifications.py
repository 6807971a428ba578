"""Notifications of a running server: accepted ones are never lost."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Connect
from tests.support.running_server import RunningServer, Start
from tests.support.server_process import ROOT
from tests.support.waiting import poll

MAIL_FILE = ROOT / "tests" / "support" / "mail_file.py"
SETTINGS = {"delivery_backoff_s": 0.05}
TEXT = {"title": "T", "message": "M"}


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    return tmp_path


def with_letters(start: Start, letters: Path, **settings: Any) -> RunningServer:
    prefix = [sys.executable, str(MAIL_FILE), str(letters)]
    return start(prefix=prefix, **SETTINGS, **settings)


def written(letters: Path) -> list[Any]:
    file = letters / "letters"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def notify(server: RunningServer, *users: str, **body: Any) -> str:
    answer = server.post("/notify", {"user_ids": list(users), **TEXT, **body})
    assert answer.status == 202, answer
    return str(answer.json()["notification_id"])


def until(server: RunningServer, name: str, **states: int) -> Any:
    return poll(
        lambda: server.get(f"/notifications/{name}").ok, lambda shown: shown["states"] == states
    )


def reach(server: RunningServer, *users: str) -> None:
    for user in users:
        assert server.put(f"/users/{user}/contacts", {"email": f"{user}@example.com"}).ok


def kill(server: RunningServer) -> None:
    server.send_signal(signal.SIGKILL)
    assert server.wait() == -signal.SIGKILL


@pytest.mark.long
def test_what_was_sent_and_not_recorded_is_not_lost(start: Start, letters: Path) -> None:
    first = with_letters(start, letters)
    reach(first, "u1")
    (letters / "die").touch()
    name = notify(first, "u1", channels=["email"])
    first.wait()  # killed between sending and recording
    assert len(written(letters)) == 1
    second = with_letters(start, letters, folder=first.folder)
    shown = until(second, name, sent=1)
    assert [each["outcome"] for each in shown["deliveries"][0]["attempts"]] == [
        "interrupted",
        "sent",
    ]
    once, again = written(letters)
    assert once == again  # at least once, and the provider can tell by the id


def test_everything_accepted_before_a_kill_arrives_after_it(
    start: Start, connect: Connect, letters: Path
) -> None:
    first = with_letters(start, letters)
    users = [f"u{number}" for number in range(50)]
    reach(first, *users)
    (letters / "down").touch()
    names = [notify(first, user, type="error") for user in users]
    kill(first)
    (letters / "down").unlink()
    second = with_letters(start, letters, folder=first.folder)
    for name in names:
        until(second, name, sent=2)
    assert sorted(each["to"] for each in written(letters)) == sorted(
        f"{user}@example.com" for user in users
    )
    for user, name in zip(users[:5], names, strict=False):
        client = connect(user, to=second)
        assert client.push("notification")["notification"]["id"] == name
        assert client.rest() == []
        client.close()


@pytest.mark.long
def test_a_delivery_waits_for_a_provider_that_is_down_and_lists_its_attempts(
    start: Start, letters: Path
) -> None:
    server = with_letters(start, letters)
    reach(server, "u1")
    (letters / "down").touch()
    name = notify(server, "u1", type="error")
    shown = poll(
        lambda: server.get(f"/notifications/{name}").ok,
        lambda shown: len(shown["deliveries"][1]["attempts"]) >= 2,
    )
    mail = shown["deliveries"][1]
    assert (mail["channel"], mail["state"]) == ("email", "pending")
    assert {(a["outcome"], a["detail"]) for a in mail["attempts"]} == {
        ("retry", "421 out for lunch")
    }
    assert mail["next_attempt_at"]
    assert shown["deliveries"][0]["state"] == "sent"  # the inbox did not wait
    (letters / "down").unlink()
    until(server, name, sent=2)
    assert len(written(letters)) == 1


@pytest.mark.long
def test_dead_letters_can_be_tried_again(start: Start, letters: Path) -> None:
    server = with_letters(start, letters, delivery_attempts=2)
    reach(server, "u1")
    (letters / "down").touch()
    name = notify(server, "u1", channels=["email"])
    until(server, name, failed=1)
    (letters / "down").unlink()
    assert server.post(f"/notifications/{name}/retry").ok["retried"] == 1
    shown = until(server, name, sent=1)
    assert [each["outcome"] for each in shown["deliveries"][0]["attempts"]] == [
        "retry",
        "retry",
        "sent",
    ]


def test_an_acknowledgement_calls_off_what_was_to_follow_also_over_a_kill(
    start: Start, connect: Connect, letters: Path
) -> None:
    first = with_letters(start, letters)
    reach(first, "u1", "u2")
    client = connect("u1", to=first)
    steps = {"escalate": [{"after_s": 1, "channel": "email"}]}
    name = notify(first, "u1", "u2", **steps)
    push = client.push("notification")
    assert client.call("ack", ids=[push["id"]])["acknowledged"] == 1
    kill(first)
    second = with_letters(start, letters, folder=first.folder)
    shown = until(second, name, delivered=1, cancelled=1, sent=2)
    assert [each["to"] for each in written(letters)] == ["u2@example.com"]
    acknowledged = {each["user_id"]: each.get("acknowledged_at") for each in shown["deliveries"]}
    assert acknowledged["u2"] is None


def test_a_warning_is_given_once_also_over_a_restart(start: Start) -> None:
    server = start()
    body = {
        "user_ids": ["u1"],
        "template": "cost_warning",
        "params": {"used": 80, "quota": 100, "period": "2024-01"},
    }
    assert server.post("/notify", body).status == 202
    server.stop()
    server = start(folder=server.folder)
    answer = server.post("/notify", body)
    assert (answer.status, answer.json()["deliveries"]) == (200, [])


def test_files_of_texts_are_laid_over_the_built_in_ones(
    start: Start, connect: Connect, tmp_path: Path
) -> None:
    (tmp_path / "zh-CN.toml").write_text('[feature_update]\ntitle = "新功能"\n', encoding="utf-8")
    server = start(templates_dir=tmp_path)
    client = connect("u1", to=server)
    answer = server.post(
        "/notify", {"user_ids": ["u1"], "template": "feature_update", "params": {"summary": "S"}}
    )
    assert answer.json()["title"] == "新功能"
    assert client.push("notification")["notification"]["title"] == "新功能"
