"""Settings of PostgreSQL and Redis: extras, URLs, passwords."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.loaded_settings import SECRET
from wsserver.config import (
    ConfigFaults,
    Settings,
    load_settings,
    masked,
    secret_texts,
)


def test_a_database_url_without_its_extra_names_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wsserver.config.channels.find_spec", lambda name: None)
    with pytest.raises(ConfigFaults) as found:
        load_settings(None, {"WSSERVER_DATABASE_URL": "postgresql://h/d"}, {}, True)
    assert str(found.value) == (
        "database_url (env WSSERVER_DATABASE_URL): needs the extra postgres, which is not"
        " installed: pip install 'wsserver[postgres]'"
    )


@pytest.mark.parametrize(
    "url",
    ["mysql://h/d", "postgresql://h", "postgresql://u:p%zz@h/d", "postgresql://h/d?what=1", "x"],
)
def test_a_database_url_that_cannot_be_one_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ConfigFaults) as found:
        load_settings(None, {"WSSERVER_DATABASE_URL": url}, {}, True)
    assert "database_url (env" in str(found.value)
    assert "p%zz" not in str(found.value)


def test_the_flag_for_a_file_goes_before_the_url(tmp_path: Path) -> None:
    environ = {"WSSERVER_DATABASE_URL": "postgresql://h/d", "WSSERVER_JWT_SECRET": SECRET}
    settings = load_settings(None, environ, {"database": str(tmp_path / "x.sqlite3")}, False)
    assert (settings.database_url, settings.database) == (None, tmp_path / "x.sqlite3")


def redis_faults(environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigFaults) as found:
        load_settings(None, {"WSSERVER_JWT_SECRET": SECRET, **environ}, {}, False)
    return [str(fault) for fault in found.value.faults]


def test_a_redis_url_without_its_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsserver.config.channels.find_spec", lambda name: None)
    assert redis_faults({"WSSERVER_REDIS_URL": "redis://:canary@h:0"}) == [
        "redis_url (env WSSERVER_REDIS_URL): must have a port of 1 to 65535",
        "redis_url (env WSSERVER_REDIS_URL): needs the extra redis, which is not installed:"
        " pip install 'wsserver[redis]'",
    ]


def test_files_of_redis_that_cannot_be_read_are_named_together(tmp_path: Path) -> None:
    found = redis_faults(
        {
            "WSSERVER_REDIS_URL": "rediss://h?ssl_ca_certs=/nowhere/ca.pem",
            "WSSERVER_REDIS_PASSWORD_FILE": "/nowhere/canary",
        }
    )
    assert found == [
        "redis_url (env WSSERVER_REDIS_URL): has a file in ssl_ca_certs that is a file that does"
        " not exist",
        "redis_password_file (env WSSERVER_REDIS_PASSWORD_FILE): is a file that does not exist",
    ]


def test_a_second_password_and_a_password_without_a_url(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("canary-of-the-file\n")
    given = {"WSSERVER_REDIS_PASSWORD_FILE": str(file)}
    assert redis_faults(given) == ["redis_url (default): is missing: redis_password_file needs it"]
    assert redis_faults({**given, "WSSERVER_REDIS_URL": "redis://u:canary@h"}) == [
        "redis_password_file (env WSSERVER_REDIS_PASSWORD_FILE): is a second password: redis_url"
        " has one too"
    ]


def test_a_password_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"\xe4canary")
    given = {"WSSERVER_REDIS_URL": "redis://h", "WSSERVER_REDIS_PASSWORD_FILE": str(file)}
    assert redis_faults(given) == [
        "redis_password_file (env WSSERVER_REDIS_PASSWORD_FILE): names a file that is not UTF-8"
        " text"
    ]


def test_passwords_of_redis_are_masked(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("canary-of-the-file\n")
    url = "redis+sentinel://u:canary%2d1@a,b:7/main?sentinel_password=canary-2"
    settings = Settings(redis_url=url, redis_password_file=file)
    assert masked(settings)["redis_url"]["value"] == (
        "redis+sentinel://********@a,b:7/main?********"
    )
    assert "canary" not in repr(settings)
    secrets = {"canary-1", "canary%2d1", "canary-2", "canary-of-the-file"}
    assert secrets <= set(secret_texts(settings))
