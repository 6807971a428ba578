"""Fingerprints of settings: equal for equal settings, and of no use for anything else."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from wsserver.config import Settings
from wsserver.config.fingerprints import SHARED, fingerprints
from wsserver.config.settings import FIELDS, KEY_SOURCES
from wsserver.config.upload_folder import MARKER, NAME

SECRET = "s" * 32


def test_equal_settings_have_equal_fingerprints_wherever_they_come_from(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{SECRET}\n")
    here = Settings(
        data_dir=tmp_path,
        jwt_secret=SECRET,
        permissions={"a": ("x",), "b": ("y",)},
        node="n1",
        extension_settings={"accounts": {"main": {"kind": "gewe", "url": "http://a"}}},
    )
    there = Settings(
        data_dir=tmp_path,
        jwt_secret_file=file,
        permissions={"b": ("y",), "a": ("x",)},
        node="n2",
        port=9000,
        extension_settings={"accounts": {"main": {"url": "http://a", "kind": "gewe"}}},
    )
    assert fingerprints(here, "cluster") == fingerprints(there, "cluster")


def test_what_differs_is_told_apart_and_not_shown(tmp_path: Path) -> None:
    here = Settings(data_dir=tmp_path, jwt_secret=SECRET)
    other = msgspec.structs.replace(here, jwt_secret="t" * 32, stream_limit=5)
    one, two = fingerprints(here, "cluster"), fingerprints(other, "cluster")
    assert {name for name in one if one[name] != two[name]} == {"jwt_secret", "stream_limit"}
    assert not set(one.values()) & set(fingerprints(here, "other cluster").values())
    assert {len(value) for value in one.values()} == {8}


def test_each_names_a_setting(tmp_path: Path) -> None:
    named = set(fingerprints(Settings(data_dir=tmp_path, jwt_secret=SECRET), "cluster"))
    named.remove(NAME)
    assert named <= set(FIELDS) | {"extension_settings"}
    assert named == {*SHARED, "jwt_secret", "jwt_public_key_file"}
    assert set(KEY_SOURCES) - named == {"jwt_secret_file"}  # it counts as jwt_secret


def of_folder(data_dir: Path, **settings: Any) -> str | None:
    return fingerprints(Settings(data_dir=data_dir, **settings), "cluster").get(NAME)


def test_folders_of_uploaded_files_are_the_same_or_not(tmp_path: Path) -> None:
    first = of_folder(tmp_path / "one")
    assert first is not None
    assert of_folder(tmp_path / "one") == first
    (tmp_path / "shares").mkdir()
    (tmp_path / "shares" / "files").symlink_to(tmp_path / "one" / "files")
    assert of_folder(tmp_path / "shares") == first
    assert of_folder(tmp_path / "apart") not in (first, None)
    (tmp_path / "file").write_text("no folder can be in it")
    assert of_folder(tmp_path / "file") not in (first, None)
    assert of_folder(tmp_path, file_store_url="s3://bucket") is None
    assert of_folder(tmp_path, disabled_extensions=("files",)) is None
    assert [each.name for each in (tmp_path / "one" / "files").iterdir()] == [MARKER]


def test_a_shared_folder_without_hard_links_is_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    first = of_folder(tmp_path)
    assert of_folder(tmp_path) == first
    (tmp_path / "files" / MARKER).write_bytes(b"\xff")
    assert of_folder(tmp_path) not in (first, None)
