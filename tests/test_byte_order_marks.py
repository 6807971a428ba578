"""Text files with a byte order mark, as editors on Windows write them."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from wsctl.cli.root import wsctl
from wsctl.config.contexts import Contexts
from wsctl.config.target import Target
from wsserver.app import key_source
from wsserver.clock import Clock
from wsserver.cluster.redis.link import _PasswordFile
from wsserver.config import ConfigFaults, load_settings, secret_bytes
from wsserver.config.vapid import vapid_key
from wsserver.identity.jwks import parse_jwks
from wsserver.notifications.templates import load_templates
from wsserver.storage.engine.postgres.connecting import Server

MARK = codecs.BOM_UTF8
SECRET = "s" * 32


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("WSCTL_URL", "WSCTL_TOKEN", "WSSERVER_JWT_SECRET"):
        monkeypatch.delenv(name, raising=False)


def marked(name: str, content: bytes | str) -> Path:
    path = Path(name)
    path.write_bytes(MARK + (content if isinstance(content, bytes) else content.encode()))
    return path


def load(text: str) -> Any:
    return load_settings(marked("c.toml", text), {}, {}, dev=False)


def test_the_configuration_and_the_secret() -> None:
    marked("secret", f"{SECRET}\r\n")
    settings = load('jwt_secret_file = "secret"\r\nport = 9000\r\n')
    assert settings.port == 9000
    assert secret_bytes(settings) == SECRET.encode()


def test_passwords_of_servers() -> None:
    file = marked("password", f"{SECRET}\r\n")
    assert Server("postgresql://chat@db/chat", file)._password() == SECRET
    assert _PasswordFile("chat", file).get_credentials() == ("chat", SECRET)


def test_keys() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    marked("public.pem", public)
    settings = load('jwt_public_key_file = "public.pem"')
    assert settings.jwt_algorithm == ("ES256",)
    assert "ES256" in key_source(settings, Clock()).algorithms
    assert vapid_key(str(marked("vapid.pem", private))).private_numbers() == key.private_numbers()
    numbers = key.public_key().public_numbers()
    coordinates = {
        name: codecs.encode(number.to_bytes(32), "base64").decode().strip().rstrip("=")
        for name, number in (("x", numbers.x), ("y", numbers.y))
    }
    jwk = {"kty": "EC", "crv": "P-256", **coordinates}
    jwk = {name: value.replace("+", "-").replace("/", "_") for name, value in jwk.items()}
    assert len(parse_jwks(MARK + json.dumps({"keys": [jwk]}).encode())) == 1


def test_templates() -> None:
    Path("texts").mkdir()
    marked("texts/en.toml", '[risk_alert]\r\ntitle = "Watch out"\r\n')
    load_templates(Path("texts"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf_16_is_refused_by_name(encoding: str) -> None:
    content = f'\ufeffjwt_secret = "{SECRET}"'.removeprefix("\ufeff" * (encoding == "utf-16"))
    Path("c.toml").write_bytes(content.encode(encoding))
    Path("secret").write_bytes(content.encode(encoding))
    with pytest.raises(ConfigFaults, match="UTF-16"):
        load_settings(Path("c.toml"), {}, {}, dev=False)
    with pytest.raises(ConfigFaults, match="UTF-16"):
        load('jwt_secret_file = "secret"')


def test_the_files_of_wsctl() -> None:
    token = marked("token", "abc.def.ghi\r\n")
    assert Target("http://127.0.0.1", token_file=token).token() == "abc.def.ghi"
    folder = Path("config/wsctl")
    folder.mkdir(parents=True)
    kept = {"current": "a", "contexts": {"a": {"url": "http://h"}}}
    marked(str(folder / "contexts.json"), json.dumps(kept))
    assert Contexts().current == "a"
    line = ["token", "create", "--user", "u1", "--secret-file", str(marked("secret", SECRET))]
    made = CliRunner().invoke(wsctl, line).stdout
    again = CliRunner().invoke(wsctl, ["token", "inspect", "-"], input="\ufeff" + made)
    assert again.exit_code == 0
    assert "u1" in again.stdout
