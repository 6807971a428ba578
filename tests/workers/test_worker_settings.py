"""Settings of a worker, and their way to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wsserver.config import ConfigFaults, Settings, load_settings
from wsserver.lifecycle import check
from wsserver.workers.worker_settings import from_json, to_json, worker_names, worker_settings

SECRET = "0123456789abcdef0123456789abcdef"


def test_a_worker_gets_its_name_and_its_share() -> None:
    settings = Settings(node="box", workers=3, max_connections=100, sms_rate=6.0)
    second = worker_settings(settings, 2, "unix:///tmp/valkey.sock")
    assert worker_names(settings) == ("box/1", "box/2", "box/3")
    assert (second.node, second.workers) == ("box/2", 1)
    assert second.max_connections == 34  # rounded up: the sum is never below the limit
    assert second.sms_rate == 2.0
    assert second.redis_url == "unix:///tmp/valkey.sock"
    assert second.max_connections_per_user == settings.max_connections_per_user


def test_settings_survive_the_way_to_a_worker() -> None:
    settings = Settings(
        workers=2,
        jwt_secret="\udcff" + SECRET,  # bytes of the environment that are not UTF-8
        data_dir=Path("/tmp/用户"),
        templates_dir=Path("texts"),
        plugins=("a:b", "c:d"),
        permissions={"user": ("stats:read",)},
        sms_headers={"X-Key": "k"},
        drain_timeout_s=1.5,
    )
    assert from_json(json.loads(json.dumps(to_json(settings)))) == settings


def test_keys_of_another_version_are_ignored() -> None:
    assert from_json({**to_json(Settings()), "key_of_later": 1}) == Settings()


def test_more_than_one_worker_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsserver.config.channels.find_spec", lambda name: None)
    with pytest.raises(ConfigFaults) as found:
        load_settings(None, {"WSSERVER_JWT_SECRET": SECRET}, {"workers": 2})
    assert str(found.value) == (
        "workers (flag --workers): needs the extra workers, which is not installed:"
        " pip install 'wsserver[workers]'"
    )


def test_one_worker_needs_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsserver.config.channels.find_spec", lambda name: None)
    assert load_settings(None, {"WSSERVER_JWT_SECRET": SECRET}, {"workers": 1}).workers == 1


def test_a_system_without_shared_ports_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("socket.SO_REUSEPORT")
    with pytest.raises(ConfigFaults, match="must be 1 on this system"):
        load_settings(None, {"WSSERVER_JWT_SECRET": SECRET}, {"workers": 2})


@pytest.mark.parametrize("number", ["0", "257", "-1", "two"])
def test_an_impossible_number_of_workers_is_refused(number: str) -> None:
    with pytest.raises(ConfigFaults, match="a whole number from 1 to 256"):
        load_settings(None, {"WSSERVER_JWT_SECRET": SECRET, "WSSERVER_WORKERS": number})


def test_a_server_inside_a_program_is_one_process() -> None:
    with pytest.raises(ConfigFaults, match="only the command wsserver serve starts workers"):
        check(Settings(jwt_secret=SECRET, workers=2, port=0), [])
