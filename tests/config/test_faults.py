"""Faults of settings: all at once, each with its source and in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.loaded_settings import SECRET, faults_of
from wsserver.config import (
    ConfigFaults,
    load_settings,
)


def test_all_faults_are_reported_together_with_their_sources() -> None:
    faults = faults_of(
        "prot = 1\nport = 70000\nheartbeat_timeout_s = nan\nallowed_hosts = ['a b', 'c/d']",
        {"WSSERVER_JWT_SECRET": "short", "WSSERVER_MESSAGE_BURTS": "1"},
        host="0.0.0.0 ",
    )
    assert [(fault.key, fault.source) for fault in faults] == [
        ("prot", "file wsserver.toml"),
        ("WSSERVER_MESSAGE_BURTS", "env WSSERVER_MESSAGE_BURTS"),
        ("port", "file wsserver.toml"),
        ("heartbeat_timeout_s", "file wsserver.toml"),
        ("allowed_hosts", "file wsserver.toml"),
        ("allowed_hosts", "file wsserver.toml"),
        ("host", "flag --host"),
        ("jwt_secret", "env WSSERVER_JWT_SECRET"),
    ]


@pytest.mark.parametrize(
    ("toml", "key"),
    [
        ("port = -1", "port"),
        ("port = 70000", "port"),
        ("port = true", "port"),
        ("port = '8765'", "port"),
        ("port = 1.5", "port"),
        ("host = ''", "host"),
        ("host = '[::1]'", "host"),
        ("host = '127.1'", "host"),
        ("host = '*'", "host"),
        ("heartbeat_interval_s = 0", "heartbeat_interval_s"),
        ("heartbeat_timeout_s = -1", "heartbeat_timeout_s"),
        ("handshake_timeout_s = inf", "handshake_timeout_s"),
        ("drain_timeout_s = 0", "drain_timeout_s"),
        ("ack_timeout_s = 0", "ack_timeout_s"),
        ("ack_retries = -1", "ack_retries"),
        ("message_rate = 1" + "0" * 400, "message_rate"),
        ("coalesce_ms = -0.1", "coalesce_ms"),
        ("max_connections_per_user = 0", "max_connections_per_user"),
        ("connection_limit_policy = 'evict'", "connection_limit_policy"),
        ("synchronous = 'off'", "synchronous"),
        ("alert_error_rate = 1.1", "alert_error_rate"),
        ("allow_query_token = 1", "allow_query_token"),
        ("allowed_origins = 'https://a.example'", "allowed_origins"),
        ("allowed_origins = ['https://a.example/']", "allowed_origins"),
        ("allowed_origins = ['*']", "allowed_origins"),
        ("allowed_origins = ['file:///index.html']", "allowed_origins"),
        ("allowed_origins = ['a.example']", "allowed_origins"),
        ("allowed_origins = ['https://a.example:0']", "allowed_origins"),
        ("allowed_origins = ['https://u@a.example']", "allowed_origins"),
        ("allowed_hosts = ['https://a.example']", "allowed_hosts"),
        ("allowed_hosts = ['[::zz]']", "allowed_hosts"),
        ("allowed_hosts = ['a.example:99999']", "allowed_hosts"),
        ("trusted_proxies = ['10.0.0.1/8']", "trusted_proxies"),
        ("trusted_proxies = ['proxy']", "trusted_proxies"),
        ("plugins = ['module']", "plugins"),
        ("plugins = ['mod ule:f']", "plugins"),
        ("node = 'a b'", "node"),
        ("log_level = 'loud'", "log_level"),
        ("log_format = 'xml'", "log_format"),
        ("permissions = {root = ['monitor']}", "permissions"),
        ("permissions = {user = ['monitr']}", "permissions"),
        ("permissions = {user = 'monitor'}", "permissions"),
        ("permissions = ['monitor']", "permissions"),
        ("jwt_algorithm = []", "jwt_algorithm"),
        ("jwt_algorithm = 'none'", "jwt_algorithm"),
        ("jwt_algorithm = 'hs256'", "jwt_algorithm"),
        ("jwt_algorithm = ['HS256', 'RS256']", "jwt_algorithm"),
        ("jwt_algorithm = 'RS256'", "jwt_algorithm"),
        ("jwt_issuer = ['a']", "jwt_issuer"),
        ("redis = 1979-05-27", "redis"),
        ("[server]\nport = 1", "server"),
        ('data_dir = "a\\u0000b"', "data_dir"),
    ],
)
def test_a_bad_value_in_the_file(toml: str, key: str) -> None:
    assert {(fault.key, fault.source) for fault in faults_of(toml)} == {(key, "file wsserver.toml")}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "٨٧٦٥"),
        ("PORT", "8_765"),
        ("PORT", ""),
        ("PORT", "9" * 5000),
        ("MESSAGE_RATE", "nan"),
        ("MESSAGE_RATE", "1_0"),
        ("MESSAGE_RATE", "1e999"),
        ("ALLOW_QUERY_TOKEN", "maybe"),
        ("PERMISSIONS", "user=monitor"),
        ("PERMISSIONS", "[" * 100_000),
        ("PERMISSIONS", '{"user": [1]}'),
    ],
)
def test_a_bad_value_in_the_environment(name: str, text: str) -> None:
    (fault,) = faults_of(env={f"WSSERVER_{name}": text})
    assert (fault.key, fault.source) == (name.lower(), f"env WSSERVER_{name}")
    assert len(fault.message) < 200


def test_a_bad_variable_is_not_hidden_by_a_good_file() -> None:
    (fault,) = faults_of("port = 1", {"WSSERVER_PORT": "x"})
    assert fault.source == "env WSSERVER_PORT"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("WSSERVER_PROT", '; did you mean "WSSERVER_PORT"?'),
        ("WSSERVER_port", '; did you mean "WSSERVER_PORT"?'),
        ("WSSERVER_", ""),
        ("WSSERVER_PORT__X", ": port has no entries"),
    ],
)
def test_unknown_variables(name: str, hint: str) -> None:
    (fault,) = faults_of(env={name: "1"})
    assert (fault.key, fault.message) == (name, "is unknown" + hint)


def test_messages_are_in_words() -> None:
    assert str(faults_of("prot = 1")[0]) == (
        'prot (file wsserver.toml): is unknown; did you mean "port"?'
    )
    assert faults_of("port = 70000")[0].message == (
        "must be a whole number from 0 to 65535, not 70000"
    )
    assert faults_of("synchronous = 'off'")[0].message == 'must be "normal" or "full", not \'off\''
    assert faults_of("trusted_proxies = ['10.0.0.1/8']")[0].message.endswith(
        "did you mean 10.0.0.0/8?"
    )


def test_a_fault_is_one_line_whatever_the_name_was() -> None:
    (fault,) = faults_of('"a\\nb\\u001b[2J" = 1')
    assert str(fault) == "a\\nb\\x1b[2J (file wsserver.toml): is unknown"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"port = ", "is not valid TOML"),
        (b"port = 1\nport = 2", "is not valid TOML"),
        (b"\xff\xfe", "is UTF-16 text"),
        (b"a = \xff\xfe", "is not UTF-8"),
        (b"a = " + b"[" * 100_000, "is nested too deeply"),
    ],
)
def test_a_file_that_is_not_toml(content: bytes, message: str) -> None:
    Path("bad.toml").write_bytes(content)
    with pytest.raises(ConfigFaults) as caught:
        load_settings(Path("bad.toml"), {"WSSERVER_JWT_SECRET": SECRET}, {}, False)
    (fault,) = caught.value.faults
    assert (fault.key, fault.source) == ("config", "file bad.toml")
    assert fault.message.startswith(message)


def test_a_file_that_cannot_be_read() -> None:
    with pytest.raises(ConfigFaults, match="cannot be read"):
        load_settings(Path("none.toml"), {"WSSERVER_JWT_SECRET": SECRET}, {}, False)
