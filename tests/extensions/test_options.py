"""Options of the extensions ``responders`` and ``accounts``: every fault is named at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from wsserver.config import ConfigFaults, Settings
from wsserver.extension_registry import load_extensions
from wsserver.extensions.accounts.options import AccountOptions
from wsserver.extensions.mobile_push.options import PushApp
from wsserver.extensions.responders.options import ResponderOptions

KEY = "a-key-of-sixteen-characters"
RESPONDER = {"kind": "openai", "url": "https://api.example.com/v1", "api_key": "k"}
ACCOUNT = {"kind": "webhook", "url": "https://api.example.com/v1", "key": KEY, "token": "t"}
GEWE = {**ACCOUNT, "kind": "gewe", "app_id": "wx_1"}


def faults(extension: str, tables: dict[str, Any], **settings: Any) -> dict[str, str]:
    try:
        load_extensions(Settings(extension_settings={extension: tables}, **settings))
    except ConfigFaults as error:
        return {
            fault.key.removeprefix(extension).removeprefix("."): fault.message
            for fault in error.faults
        }
    return {}


def test_responders_and_accounts_that_fit_are_taken(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    file = str(tmp_path / "key")
    by_file = {"kind": "fastgpt", "url": "https://a.example/api", "api_key_file": file}
    responders = {"sales": RESPONDER, "help": by_file}
    assert faults("responders", responders, default_holder="help") == {}
    account = {**GEWE, "app_id": "wx_2", "key": None, "key_file": file}
    assert faults("accounts", {"a": ACCOUNT, "b": GEWE, "c": account}) == {}


def test_every_fault_of_responders_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    found = faults(
        "responders",
        {
            "a": {**RESPONDER, "url": "http://127.0.0.1:9/v1", "api_key_file": "/none"},
            "b": {**RESPONDER, "url": "ftp://example.com", "api_key": None},
            "c": {**RESPONDER, "api_key": None, "api_key_file": str(tmp_path / "pipe")},
            "d": {**RESPONDER, "api_key": "two\nlines"},
        },
        default_holder="nobody",
    )
    assert "default_holder" in found.pop("")
    assert found.keys() == {
        *("a.url", "a.api_key", "b.url", "b.api_key", "c.api_key_file", "d.api_key"),
    }
    assert found["c.api_key_file"] == "is not a regular file"
    allowed = {"a": {**RESPONDER, "url": "http://127.0.0.1:9/v1"}}
    assert faults("responders", allowed, allow_loopback_urls=True) == {}


def test_every_fault_of_accounts_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    pipe = str(tmp_path / "pipe")
    found = faults(
        "accounts",
        {
            "a": {**GEWE, "url": "http://127.0.0.1:9/v1", "app_id": None},
            "b": {**GEWE, "key": "short", "token": None, "token_file": pipe},
            "c": {**GEWE, "key": None, "key_file": str(tmp_path / "none"), "token": ""},
            "d": {**ACCOUNT, "key": None, "token_file": "/none"},
        },
    )
    assert found == {
        "a.url": found["a.url"],
        "a.app_id": "is missing: the id of the device",
        "b.key": "is too short: at least 16 characters",
        "b.token_file": "is not a regular file",
        "c.key_file": "is a file that does not exist",
        "c.token": "has to be printable ASCII on one line",
        "c.app_id": "is that of accounts.b, too",
        "d.key": "or key_file is missing",
        "d.token": "and token_file exclude each other; remove one",
    }


def test_everything_that_is_missing_is_named_at_once() -> None:
    assert faults("accounts", {"a": {"kind": "gewe"}}).keys() == {
        "a.url", "a.key", "a.token", "a.app_id",
    }  # fmt: skip
    assert faults("responders", {"a": {"kind": "openai"}}).keys() == {"a.url", "a.api_key"}


@pytest.mark.parametrize("name", ["", "a/b", "我", "a b", "x" * 200, "a\n"])
def test_names_fit_into_addresses_and_ids(name: str) -> None:
    for extension, table in ("responders", RESPONDER), ("accounts", ACCOUNT):
        (message,) = faults(extension, {name: table}).values()
        assert message.startswith("is no name of a")


def test_the_holder_of_an_account_is_a_responder() -> None:
    settings = Settings(
        extension_settings={
            "responders": {"bot": RESPONDER},
            "accounts": {
                "a": {**GEWE, "default_holder": "bot", "app_id": ""},
                "b": {**ACCOUNT, "default_holder": "nobody"},
            },
        }
    )
    with pytest.raises(ConfigFaults) as raised:
        load_extensions(settings)
    assert {fault.key: fault.message for fault in raised.value.faults} == {
        "accounts.a.app_id": "is missing: the id of the device",
        "accounts.b.default_holder": "is 'nobody', but there is no [responders.nobody]",
    }


@pytest.mark.parametrize(
    ("extension", "table"),
    [
        ("responders", {**RESPONDER, "api_key": KEY, "api_key_file": KEY}),
        ("accounts", {**ACCOUNT, "token": None, "token_file": KEY}),
    ],
)
def test_no_fault_has_a_secret_in_it(extension: str, table: dict[str, Any]) -> None:
    found = faults(extension, {"main": table})
    assert found
    assert KEY not in str(found)


def test_no_secret_is_in_the_repr_of_options() -> None:
    shown = repr(
        [
            AccountOptions(kind="gewe", key="secret-1", token="secret-2", app_id="wx_1"),
            ResponderOptions(kind="openai", api_key="secret-3", model="m-1"),
            PushApp(kind="jpush", app_key="secret-4", master_secret="secret-5"),
        ]
    )
    assert "secret-" not in shown
    assert [text for text in ("wx_1", "m-1", "jpush") if text not in shown] == []
