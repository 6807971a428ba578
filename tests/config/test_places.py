"""Files and folders of the settings, and the development mode."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.support.loaded_settings import SECRET, faults_of, load
from wsserver.config import (
    ConfigFaults,
    load_settings,
    make_folders,
    read_settings,
    secret_bytes,
)


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
