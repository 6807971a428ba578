"""Notifications from the command line, against a real server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.operators.conftest import Run
from tests.operators.processes import ServerProcess


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
    assert "1 delivery is tried again" in ctl("notifications", "retry", id_).stdout
    assert "called off" in ctl("notifications", "cancel", id_).stdout


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
