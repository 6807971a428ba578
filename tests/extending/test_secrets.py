"""Secrets in options of extensions: given as such, or in a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec import Struct

from wsserver.config import TableFault
from wsserver.extending import secret_faults, secret_of

SECRET = "the-secret-itself"


class Options(Struct, kw_only=True):
    token: str | None = None
    token_file: str | None = None


def faults(shortest: int = 1, **options: str) -> list[TableFault]:
    return list(secret_faults("main", Options(**options), "token", shortest=shortest))


def in_file(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "token"
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("content", [b"abc", b" abc\r\n", b"\xef\xbb\xbfabc\n"])
def test_a_file_has_the_secret_between_white_space(tmp_path: Path, content: bytes) -> None:
    file = in_file(tmp_path, content)
    assert faults(token_file=file) == []
    assert secret_of(Options(token_file=file), "token") == "abc"
    assert secret_of(Options(token="abc"), "token") == "abc"


def test_one_of_both_is_needed() -> None:
    assert faults() == [TableFault("main.token", "or token_file is missing")]
    assert faults(token="a", token_file="/none") == [
        TableFault("main.token", "and token_file exclude each other; remove one")
    ]


@pytest.mark.parametrize("value", ["", "two\nlines", "schlüssel", "a\tb"])
def test_a_header_could_not_have_it(tmp_path: Path, value: str) -> None:
    message = "has to be printable ASCII on one line"
    assert faults(token=value) == [TableFault("main.token", message)]
    file = in_file(tmp_path, value.encode())
    assert faults(token_file=file) == [TableFault("main.token_file", message)]


def test_a_short_one_is_refused(tmp_path: Path) -> None:
    message = "is too short: at least 4 characters"
    assert faults(4, token="abc") == [TableFault("main.token", message)]
    assert faults(4, token_file=in_file(tmp_path, b"abc\n\n\n")) == [
        TableFault("main.token_file", message)
    ]
    assert faults(4, token="abcd") == []


def test_what_is_no_file_of_a_secret_is_refused_without_its_name(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # reading it would block
    cases = {
        str(pipe): "is not a regular file",
        "/dev/zero": "is not a regular file",
        str(tmp_path): "is not a regular file",
        SECRET: "is a file that does not exist",
        in_file(tmp_path, b"\xff\xfe\xfd"): "names a file that is UTF-16 text",
    }
    for file, message in cases.items():
        (fault,) = faults(token_file=file)
        assert fault.path == "main.token_file"
        assert fault.message.startswith(message)
        assert SECRET not in fault.message
    large = in_file(tmp_path, b"a" * (1 << 20) + b"a")
    assert [each.message for each in faults(token_file=large)] == [
        "names a file too large for a key"
    ]
    (fault,) = faults(token_file=in_file(tmp_path, b"\x80abc"))
    assert fault.message == "names a file that is not UTF-8 text"
