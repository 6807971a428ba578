"""Secrets in settings are in no message and no repr."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.support.loaded_settings import CANARY, SECRET
from wsserver.config import (
    ConfigFaults,
    Settings,
    load_settings,
    masked,
    read_settings,
)


def test_secrets_are_in_no_message_and_no_repr() -> None:
    Path("c.toml").write_text(
        f"jwt_secret = ['{CANARY}']\njwks_url = 'http://u:{CANARY}@h.example/'\n"
        f"jwt_secret_file = '{CANARY}'\njwt_public_key_file = '{CANARY}'\n"
    )
    environs = [{}, {"WSSERVER_JWT_SECRET": CANARY}, {"WSSERVER_JWT_SECERT": CANARY}]
    for environ in environs:
        with pytest.raises(ConfigFaults) as caught:
            load_settings(Path("c.toml"), environ, {}, False)
        assert CANARY not in str(caught.value)
    settings = Settings(jwt_secret=CANARY, jwks_url=f"https://{CANARY}@h.example/")
    assert CANARY not in f"{settings} {settings!r}"


def test_masked_shows_sources_and_no_secrets() -> None:
    secret = CANARY + SECRET
    Path("c.toml").write_text("port = 1\n[permissions]\nuser = ['monitor']")
    settings, sources = read_settings(
        Path("c.toml"), {"WSSERVER_JWT_SECRET": secret}, {"host": "::1"}, False
    )
    shown = masked(settings, sources)
    assert CANARY not in msgspec.json.encode(shown).decode()
    assert shown["jwt_secret"] == {"value": "********", "source": "env WSSERVER_JWT_SECRET"}
    assert shown["port"] == {"value": 1, "source": "file c.toml"}
    assert shown["host"] == {"value": "::1", "source": "flag --host"}
    assert shown["data_dir"] == {"value": "var", "source": "default"}
    assert shown["permissions"]["value"] == {"user": ["monitor"]}
    url = f"https://u:{CANARY}@h.example/k?key={CANARY}"
    assert masked(Settings(jwks_url=url))["jwks_url"]["value"] == (
        "https://********@h.example/k?********"
    )


def test_settings_with_different_secrets_have_different_reprs() -> None:
    assert "port=1" in repr(Settings(port=1))
