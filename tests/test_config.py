"""Settings: their sources, and every fault."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from wsserver.config import (
    ConfigFaults,
    Fault,
    Settings,
    load_settings,
    make_folders,
    masked,
    read_settings,
    secret_bytes,
    secret_texts,
)
from wsserver.config.settings import FIELDS

SECRET = "s" * 32
CANARY = "canary-7d1f0c"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(
    toml: str = "", env: Mapping[str, str] | None = None, dev: bool = False, **flags: Any
) -> Settings:
    """Load with a secret, so that tests need not care."""
    environ = {"WSSERVER_JWT_SECRET": SECRET, "HOME": "/"} | dict(env or {})
    file = None
    if toml:
        file = Path("wsserver.toml")
        file.write_text(toml, encoding="utf-8")
    return load_settings(file, environ, flags, dev)


def faults_of(toml: str = "", env: Mapping[str, str] | None = None, **more: Any) -> list[Fault]:
    with pytest.raises(ConfigFaults) as caught:
        load(toml, env, **more)
    return caught.value.faults


def key_faults(environ: Mapping[str, str]) -> list[str]:
    with pytest.raises(ConfigFaults) as caught:
        load_settings(None, environ, {}, False)
    return [f"{fault.key}: {fault.message}" for fault in caught.value.faults]


def public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


# Precedence


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


# Faults


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


# Spellings


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


# Keys


def test_a_source_of_keys_is_required() -> None:
    (fault,) = key_faults({})
    assert fault.startswith("jwt_secret: is missing")


def test_two_sources_of_keys_are_one_too_many() -> None:
    Path("secret").write_text(SECRET)
    environ = {"WSSERVER_JWT_SECRET": SECRET, "WSSERVER_JWT_SECRET_FILE": "secret"}
    assert key_faults(environ) == [
        "jwt_secret_file: is a second source of keys: jwt_secret is set too"
    ]


def test_a_secret_file_s_line_break_is_not_the_secret_s() -> None:
    Path("secret").write_text(SECRET + "\r\n")
    settings = load_settings(None, {"WSSERVER_JWT_SECRET_FILE": "secret"}, {}, False)
    assert secret_bytes(settings) == SECRET.encode()
    Path("secret").write_text("s" * 31 + "\n")
    assert key_faults({"WSSERVER_JWT_SECRET_FILE": "secret"}) == [
        "jwt_secret_file: cannot be used: the secret has 31 bytes, at least 32 are needed"
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [("none", "is a file that does not exist"), (".", "is not a regular file")],
)
@pytest.mark.parametrize("key", ["jwt_secret_file", "jwt_public_key_file"])
def test_key_files_must_be_files(key: str, value: str, message: str) -> None:
    assert key_faults({f"WSSERVER_{key.upper()}": value}) == [f"{key}: {message}"]


@pytest.mark.parametrize(
    ("key", "default", "wrong"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "ES256", "ES384"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384", "ES256"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA", "RS256"),
        (rsa.generate_private_key(65537, 2048), "RS256", "HS256"),
    ],
    ids=["p256", "p384", "ed25519", "rsa"],
)
def test_a_public_key_decides_the_algorithm(key: Any, default: str, wrong: str) -> None:
    Path("key.pem").write_bytes(public_pem(key))
    environ = {"WSSERVER_JWT_PUBLIC_KEY_FILE": "key.pem"}
    assert load_settings(None, environ, {}, False).jwt_algorithm == (default,)
    (fault,) = key_faults(environ | {"WSSERVER_JWT_ALGORITHM": wrong})
    assert fault.startswith(f"jwt_algorithm: {wrong} cannot be used with jwt_public_key_file")


def test_an_rsa_key_may_be_used_with_ps_but_not_with_both() -> None:
    Path("key.pem").write_bytes(public_pem(rsa.generate_private_key(65537, 2048)))
    environ = {"WSSERVER_JWT_PUBLIC_KEY_FILE": "key.pem"}
    ps = load_settings(None, environ | {"WSSERVER_JWT_ALGORITHM": "PS256,PS512"}, {}, False)
    assert ps.jwt_algorithm == ("PS256", "PS512")
    (fault,) = key_faults(environ | {"WSSERVER_JWT_ALGORITHM": "RS256,PS256"})
    assert fault == "jwt_algorithm: mixes families (RSA, RSA-PSS); only one is allowed"


def test_keys_that_are_of_the_wrong_kind() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    cases = {
        pem: "this is a private key; only the public key is needed",
        b"nothing": "not a public key in PEM format",
        public_pem(ec.generate_private_key(ec.SECP256K1())): (
            "the curve secp256k1 is not supported"
        ),
        public_pem(rsa.generate_private_key(65537, 1024)): (
            "the RSA key has 1024 bits, at least 2048 are needed"
        ),
    }
    for content, message in cases.items():
        Path("key.pem").write_bytes(content)
        assert key_faults({"WSSERVER_JWT_PUBLIC_KEY_FILE": "key.pem"}) == [
            f"jwt_public_key_file: cannot be used: {message}"
        ]
    Path("key.pem").write_bytes(public_pem(private))
    (fault,) = key_faults({"WSSERVER_JWT_SECRET_FILE": "key.pem"})
    assert "the secret is a public key" in fault


@pytest.mark.parametrize(
    "url",
    [
        "http://login.example.com/jwks",
        "ftp://login.example.com/jwks",
        "file:///etc/passwd",
        "https://",
        "login.example.com",
        "https://login.example.com:99999/",
        "https://[::1/",
        "https://login.example.com/a b",
    ],
)
def test_bad_jwks_urls(url: str) -> None:
    (fault,) = key_faults({"WSSERVER_JWKS_URL": url})
    assert fault.startswith("jwks_url: must be")
    assert "login" not in fault or "login.example.com/jwks.json" in fault


@pytest.mark.parametrize(
    "url", ["https://login.example.com/jwks", "http://127.0.0.1:80/", "http://[::1]/"]
)
def test_good_jwks_urls(url: str) -> None:
    settings = load_settings(None, {"WSSERVER_JWKS_URL": url}, {}, False)
    assert (settings.jwks_url, settings.jwt_algorithm) == (url, ())
    (fault,) = key_faults({"WSSERVER_JWKS_URL": url, "WSSERVER_JWT_ALGORITHM": "HS256"})
    assert fault.startswith("jwt_algorithm: HS256 cannot be used with jwks_url")


# Places


def test_the_database_must_not_be_a_folder() -> None:
    Path("folder").mkdir()
    (fault,) = faults_of(database="folder")
    assert (fault.key, fault.message) == ("database", "is a folder: folder")


def test_a_database_in_a_missing_folder_is_a_typing_mistake() -> None:
    (fault,) = faults_of(database="nowhere/x.db")
    assert fault.message == "is in a folder that does not exist: nowhere"


def test_data_dir_must_be_possible() -> None:
    Path("file").write_text("")
    (fault,) = faults_of("data_dir = 'file/below'")
    assert fault.key == "data_dir"
    assert fault.message.startswith("cannot be a folder")


def test_reading_makes_nothing() -> None:
    load()
    read_settings(None, {}, {}, True)
    assert list(Path().iterdir()) == []


def test_make_folders_makes_those_of_the_settings() -> None:
    make_folders(load("data_dir = 'd'\ndatabase = 'd/deep/x.db'"))
    assert Path("d/deep").is_dir()


# Development mode


def test_dev_makes_a_secret_and_uses_it_again() -> None:
    first = load_settings(None, {}, {}, True)
    path = Path("var/dev-jwt-secret")
    assert first.jwt_secret_file == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secret = secret_bytes(first)
    assert secret is not None
    assert len(secret) >= 32
    path.chmod(0o644)
    assert secret_bytes(load_settings(None, {}, {}, True)) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir("var") == ["dev-jwt-secret"]


def test_dev_does_not_replace_a_damaged_secret() -> None:
    Path("var").mkdir()
    Path("var/dev-jwt-secret").write_text("")
    with pytest.raises(ConfigFaults, match="at least 32 are needed"):
        load_settings(None, {}, {}, True)


def test_dev_uses_a_configured_secret() -> None:
    settings = load(dev=True)
    assert secret_bytes(settings) == SECRET.encode()
    assert not Path("var/dev-jwt-secret").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "app.example.com"])
def test_dev_listens_on_loopback_alone(host: str) -> None:
    (fault,) = faults_of(dev=True, host=host)
    assert (fault.key, fault.source) == ("host", "flag --host")


# Secrets


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


# Documentation

DOCS = Path(__file__).parents[1] / "docs" / "configuration.rst"


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


# Redis


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
