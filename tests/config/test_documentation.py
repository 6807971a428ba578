"""Every setting is documented, and what is written of it is true."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.loaded_settings import SECRET
from wsserver.config import (
    ConfigFaults,
    Settings,
    load_settings,
    masked,
)
from wsserver.config.settings import FIELDS

DOCS = Path(__file__).parents[2] / "docs" / "configuration.rst"


BESIDE = {
    "database_password_file": {"WSSERVER_DATABASE_URL": "postgresql://h.example/d"},
    "redis_password_file": {"WSSERVER_REDIS_URL": "redis://h.example"},
    "smtp_url": {"WSSERVER_MAIL_FROM": "a@b"},
    "sms_url": {"WSSERVER_SMS_BODY": "{text}"},
    "sms_headers": {"WSSERVER_SMS_URL": "https://h.example/{to}/{text}"},
    "sms_body": {"WSSERVER_SMS_URL": "https://h.example/{to}"},
    "vapid_private_key": {"WSSERVER_VAPID_SUBJECT": "mailto:a@b"},
    "webhook_urls": {"WSSERVER_WEBHOOK_SECRET": "s"},
    "publish_hook_url": {"WSSERVER_WEBHOOK_SECRET": "s"},
    "turn_url": {"WSSERVER_TURN_SECRET": "s"},
    "turn_secret": {"WSSERVER_TURN_URL": "turn:h.example"},
}
"""Key → what it needs beside it."""


KEYS = [field for field in msgspec.structs.fields(Settings) if field.name in FIELDS]


def documented() -> dict[str, dict[str, str]]:
    """Key → its ``Default``, ``Example`` and ``Environment`` lines."""
    keys: dict[str, dict[str, str]] = {}
    for line in DOCS.read_text(encoding="utf-8").splitlines():
        if line.startswith("``") and line.endswith("``") and line.count("`") == 4:
            current = keys.setdefault(line.strip("`"), {})
        elif line.startswith("    :"):
            name, _, text = line.strip()[1:].partition(": ")
            current[name] = text.strip().strip("`")
    return keys


def test_every_key_is_documented_and_every_documented_key_exists() -> None:
    assert list(documented()) == list(FIELDS)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_the_documentation_of_a_key_is_true(key: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = documented()[key.name]
    beside = BESIDE.get(key.name, {})
    assert set(entry) == {"default", "file", "environment"}
    shown = masked(Settings())[key.name]["value"]
    if key.name not in ("node", "jwt_algorithm", "max_connections") and shown is not None:
        assert tomllib.loads(f"x = {entry['default']}")["x"] == shown
    name, _, text = entry["environment"].partition("=")
    assert name == f"WSSERVER_{key.name.upper()}"

    def given(toml: str, environ: dict[str, str]) -> Any:
        Path("c.toml").write_text(toml)
        for name in ("database-password", "redis-password"):
            Path(name).write_text("of the example")
        secret = {} if key.name.startswith("jw") else {"WSSERVER_JWT_SECRET": SECRET}
        try:
            settings = load_settings(Path("c.toml"), secret | beside | environ, {}, False)
        except ConfigFaults as faults:
            # What an example names need not be on this machine; a bad spelling has other words.
            absent = re.compile("is a file that does not exist|is missing|cannot be used with")
            return [str(fault) for fault in faults.faults if not absent.search(fault.message)]
        return getattr(settings, key.name)

    from_file = given(entry["file"], {})
    assert from_file == given("", {name: text.strip("'")})
    if not key.name.startswith(("jw", "vapid")):
        assert not isinstance(from_file, list)
        assert from_file != getattr(Settings(), key.name)
