"""Settings: which of their sources counts, their forms and spellings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.loaded_settings import load


def test_flag_beats_environment_beats_file_beats_default() -> None:
    toml = "port = 1\nmax_connections = 1\nmax_message_bytes = 1"
    env = {"WSSERVER_PORT": "2", "WSSERVER_MAX_CONNECTIONS": "2"}
    settings = load(toml, env, port=3)
    assert settings.port == 3
    assert settings.max_connections == 2
    assert settings.max_message_bytes == 1
    assert settings.queue_limit_bytes == 1_048_576


def test_flags_not_given_change_nothing() -> None:
    settings = load("port = 1\nplugins = ['a:b']", port=None, plugins=(), host=None)
    assert (settings.port, settings.plugins) == (1, ("a:b",))


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = load()
    assert (settings.host, settings.port) == ("127.0.0.1", 8765)
    assert settings.database == Path("var/wsserver.sqlite3")
    assert settings.jwt_algorithm == ("HS256",)
    assert (settings.heartbeat_interval_s, settings.heartbeat_timeout_s) == (30, 60)
    assert settings.permissions == {}
    assert settings.log_format is None


def test_the_database_lies_in_data_dir_unless_it_is_set() -> None:
    assert load("data_dir = 'd'").database == Path("d/wsserver.sqlite3")
    assert load("data_dir = 'd'", database="x.db").database == Path("x.db")


def test_environment_forms_of_each_kind() -> None:
    settings = load(
        env={
            "WSSERVER_ALLOWED_ORIGINS": "https://a.example, https://b.example:443,",
            "WSSERVER_ALLOW_QUERY_TOKEN": "Off",
            "WSSERVER_HEARTBEAT_INTERVAL_S": "0.5",
            "WSSERVER_JWT_ALGORITHM": "HS256,HS512",
            "WSSERVER_PERMISSIONS": '{"user": ["stats:read"], "manager": []}',
            "WSSERVER_PERMISSIONS__MANAGER": "stats:read,messages:read",
        }
    )
    assert settings.allowed_origins == ("https://a.example", "https://b.example")
    assert settings.allow_query_token is False
    assert settings.heartbeat_interval_s == 0.5
    assert settings.jwt_algorithm == ("HS256", "HS512")
    assert settings.permissions == {
        "user": ("stats:read",),
        "manager": ("stats:read", "messages:read"),
    }


def test_one_role_in_the_environment_leaves_the_file_s_other_roles() -> None:
    toml = '[permissions]\nuser = ["stats:read"]\nmanager = ["monitor"]'
    settings = load(toml, {"WSSERVER_PERMISSIONS__MANAGER": ""})
    assert settings.permissions == {"user": ("stats:read",), "manager": ()}


@pytest.mark.parametrize("text", ["true", "1", "yes", "on", "TRUE"])
def test_words_for_true(text: str) -> None:
    assert load(env={"WSSERVER_ALLOW_QUERY_TOKEN": text}).allow_query_token is True


def test_hosts_and_origins_get_one_spelling() -> None:
    settings = load(
        "host = 'LOCALHOST'\n"
        "allowed_origins = ['HTTPS://App.Example.com:443', 'http://[::1]:8080', 'app://ui']\n"
        "allowed_hosts = ['App.Example.com', '[0:0::1]:80']\n"
        "trusted_proxies = ['10.0.0.1', '::1', 'fd00::/8']\n"
    )
    assert settings.host == "localhost"
    assert settings.allowed_origins == (
        "https://app.example.com",
        "http://[::1]:8080",
        "app://ui",
    )
    assert settings.allowed_hosts == ("app.example.com", "[::1]:80")
    assert settings.trusted_proxies == ("10.0.0.1/32", "::1/128", "fd00::/8")
