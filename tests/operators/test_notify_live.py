"""Notifications from the command line, against a real server."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.request import urlopen

import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.operators.conftest import Run
from tests.support.server_process import ServerProcess
from tests.support.waiting import PATIENCE_S


def notified(ctl: Run, *args: str) -> dict[str, Any]:
    result = ctl("notify", *args, "-o", "json")
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def test_the_story_of_a_notification(ctl: Run, server: ServerProcess) -> None:
    answer = notified(ctl, "zoe", "--title", "维护", "--message", "今晚十点", "--type", "error")
    id_ = answer["notification_id"]
    states = {each["channel"]: each["state"] for each in answer["deliveries"]}
    assert states["email"] == "not_configured"
    story = ctl("notifications", "show", id_).stdout
    assert f"{id_}  error: 维护" in story
    assert "not_configured" in story
    assert "今晚十点" in story
    assert id_ in ctl("notifications", "list", "--user", "zoe").stdout
    listed = ctl("notifications", "list", "--state", "not_configured", "-o", "json").stdout
    assert id_ in [each["notification_id"] for each in json.loads(listed)]
    assert "1 delivery retried" in ctl("notifications", "retry", id_).stdout
    assert "cancelled" in ctl("notifications", "cancel", id_).stdout


def test_a_template_with_its_parameters(ctl: Run, server: ServerProcess) -> None:
    flags = ("--param", "device_id=d1", "--param", "device_name=张三的微信", "--param", "attempt=2")
    answer = notified(ctl, "amy", "--template", "device_reconnect", *flags)
    assert "张三的微信" in ctl("notifications", "show", answer["notification_id"]).stdout
    refused = ctl("notify", "amy", "--template", "device_reconnect", "--param", "device_id=d1")
    assert refused.exit_code == 1
    assert "device_name" in refused.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["--title", "t", "--message", "m"],
        ["u1", "--broadcast", "--title", "t", "--message", "m"],
        ["u1"],
        ["u1", "--title", "t", "--message", "m", "--template", "maintenance"],
        ["u1", "--title", "t", "--message", "m", "--param", "a=1"],
        ["u1", "--template", "maintenance", "--param", "a"],
    ],
)
def test_what_contradicts_itself_is_2(ctl: Run, args: list[str]) -> None:
    assert ctl("notify", *args).exit_code == 2


def test_an_id_or_a_period_of_digits_is_text(ctl: Run, server: ServerProcess) -> None:
    digits = ("--param", "device_id=007", "--param", "device_name=8", "--param", "attempt=2")
    answer = notified(ctl, "amy", "--template", "device_reconnect", *digits)
    assert answer["params"] == {"device_id": "007", "device_name": "8", "attempt": 2}
    used = ("--param", "used=80.5", "--param", "quota=100", "--param", "period=2024")
    answer = notified(ctl, "amy", "--template", "cost_warning", *used)
    assert answer["params"] == {"used": 80.5, "quota": 100, "period": "2024"}
    refused = ctl("notify", "amy", "--template", "cost_warning", *used[2:], "--param", "used=much")
    assert refused.exit_code == 1
    assert "params.used" in refused.stderr


def test_time_to_acknowledgement_is_in_the_statistics(ctl: Run, server: ServerProcess) -> None:
    socket_url = server.websocket("/ws/chat", server.token("ann", "user"))
    with connect(socket_url, subprotocols=[Subprotocol("wsserver.v1")], proxy=None) as socket:
        while json.loads(socket.recv(PATIENCE_S))["type"] != "connection_established":
            pass
        name = notified(ctl, "ann", "--title", "T", "--message", "M")["notification_id"]
        while (push := json.loads(socket.recv(PATIENCE_S)))["type"] != "notification":
            pass
        socket.send(json.dumps({"type": "read", "ids": [push["notification"]["id"]], "ref": 1}))
        while json.loads(socket.recv(PATIENCE_S)).get("ref") != 1:
            pass
    assert " read " in ctl("notifications", "show", name).stdout
    stats = json.loads(ctl("stats", "-o", "json").stdout)["notifications"]["websocket"]
    assert stats["acknowledged"] == 1
    assert 0 <= stats["acknowledged_ms"]["max"] < 1000 * PATIENCE_S
    shown = ctl("stats").stdout
    assert re.search(r"websocket acknowledged p50/p95/p99/max +[0-9.,]+/.* ms", shown), shown
    metrics = urlopen(f"{server.url}/metrics").read().decode()
    assert 'wsserver_notifications_acknowledged_total{channel="websocket"} 1.0' in metrics
    assert 'acknowledged_seconds{channel="websocket",quantile="0.99"}' in metrics


def test_what_a_user_chooses_and_has_got(ctl: Run, server: ServerProcess) -> None:
    shown = ctl("preferences", "kim").stdout
    assert re.search(r"quiet hours +-\n", shown)
    changed = ctl(
        *("preferences", "kim", "--off", "sms", "--off", "maintenance:email", "--on", "push"),
        *("--quiet-hours", "22:00-07:00@Asia/Shanghai"),
        *("--daily-digest", "08:00@Asia/Shanghai=email,push"),
    ).stdout
    for words in (
        r"all others +sms off, push on",
        r"maintenance +email off",
        r"quiet hours +22:00 to 07:00, Asia/Shanghai \(preferences\)",
        r"daily digest +08:00, Asia/Shanghai, by email, push",
    ):
        assert re.search(words, changed), changed
    reset = ["--reset", "maintenance:email", "--daily-digest", "none", "--quiet-hours", "none"]
    known = json.loads(ctl("preferences", "kim", *reset, "-o", "json").stdout)
    assert known["channels"] == {"*": {"sms": False, "push": True}}
    assert (known["quiet_hours"], known["daily_digest"]) == (None, None)
    for wrong in (["--off", "pigeon"], ["--off", ":sms"], ["--daily-digest", "soon"]):
        assert ctl("preferences", "kim", *wrong).exit_code == 2
    refused = ctl("preferences", "kim", "--off", "nothing:sms")
    assert (refused.exit_code, "nothing" in refused.stderr) == (1, True)

    ctl("preferences", "kim", "--off", "email")
    answer = notified(ctl, "kim", "--title", "停机", "--message", "m", "--type", "error")
    id_ = answer["notification_id"]
    listed = ctl("notifications", "feed", "kim")
    while id_ not in listed.stdout:  # a moment after it was accepted
        listed = ctl("notifications", "feed", "kim")
    assert "停机" in listed.stdout
    assert "1 of 1; 1 unread in all" in listed.stderr + listed.stdout
    (entry,) = json.loads(ctl("notifications", "feed", "kim", "--unread", "-o", "json").stdout)
    assert (entry["id"], entry["read_at"]) == (id_, None)
    assert "no notifications" in ctl("notifications", "feed", "kim", "--archived").output
