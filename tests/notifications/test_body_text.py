"""Decoding of HTTP answers: charsets, compression, wrong labels."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsserver.notifications.body_text import TEXT_LIMIT_BYTES, text_of, unescaped

TEXT = '{"msg": "发送成功"}'


@pytest.mark.parametrize(
    ("charset", "label"),
    [
        ("utf-8", "application/json"),
        ("utf-8", "application/json; charset=utf-8"),
        ("utf-8", "text/plain; charset=gbk"),  # a wrong label
        ("utf-8", "text/plain; charset=x-unknown"),
        ("utf-8", "text/plain; charset=rot13"),
        ("gbk", "text/plain; charset=unicode_escape"),
        ("gbk", "text/plain; charset=raw-unicode-escape"),
        ("gbk", "text/plain; charset=punycode"),
        ("utf-8", "text/plain; charset=utf-16"),
        ("utf-8", ""),
        ("utf-8-sig", "application/json"),
        ("gbk", "application/json; charset=gbk"),
        ("gbk", 'text/html; Charset = "GB2312"'),
        ("gb18030", "text/html;charset=gb18030"),
        ("gbk", "text/plain"),
        ("gbk", "text/plain; charset=utf-8"),
        ("gbk", "text/plain; charset=nonsense"),
        ("gbk", "text/plain; charset=ascii"),
        ("utf-16", "text/plain"),
        ("utf-16-le", "text/plain; charset=utf-16le"),
        ("utf-32", "text/plain; charset=utf-32"),
        ("iso2022_jp_2", "text/plain; charset=iso-2022-jp-2"),
    ],
)
def test_the_text_is_the_same(charset: str, label: str) -> None:
    assert text_of({"content-type": label}, TEXT.encode(charset)) == TEXT


def test_other_charsets() -> None:
    assert (
        text_of({"content-type": "text/plain; charset=big5"}, "傳送成功".encode("big5"))
        == "傳送成功"
    )
    assert text_of({"content-type": "a/b; charset=latin-1"}, "très bien".encode("latin-1")) == (
        "très bien"
    )
    assert text_of({}, b"caf\xe9!") == "café!"  # neither UTF-8 nor GB 18030


@pytest.mark.parametrize(
    "before", ['<?xml version="1.0" encoding="gbk"?><m>', "<html><meta charset=gbk><p>"]
)
def test_a_declaration_in_the_body_counts(before: str) -> None:
    text = before + "发送成功"
    assert text_of({"content-type": "text/xml"}, text.encode("gbk")) == text


@pytest.mark.parametrize("charset", ["utf-8", "gbk", "big5"])
def test_a_character_that_is_cut_off_spoils_nothing(charset: str) -> None:
    cut = "成功成功".encode(charset)[:-1]
    assert text_of({"content-type": f"a/b; charset={charset}"}, cut) == "成功成"


def test_compressed_bodies() -> None:
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    for coding, body in (
        ("gzip", gzip.compress(TEXT.encode("gbk"))),
        ("x-gzip", gzip.compress(TEXT.encode("gbk"))),
        ("GZIP", gzip.compress(TEXT.encode("gbk"))),
        ("deflate", zlib.compress(TEXT.encode("gbk"))),
        ("deflate", raw.compress(TEXT.encode("gbk")) + raw.flush()),
        ("gzip", TEXT.encode("gbk")),  # it only says so
        ("identity", TEXT.encode("gbk")),
    ):
        headers = {"content-encoding": coding, "content-type": "a/b; charset=gbk"}
        assert text_of(headers, body) == TEXT
    bomb = gzip.compress(b"x" * 10_000_000)
    assert len(text_of({"content-encoding": "gzip"}, bomb)) == TEXT_LIMIT_BYTES
    beginning = gzip.compress(TEXT.encode() * 20)[:-10]
    assert text_of({"content-encoding": "gzip"}, beginning).startswith(TEXT)


@given(
    st.binary(max_size=200),
    st.sampled_from(
        ["utf-8", "gbk", "idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined",
         "base64", "utf-7", "utf-16", "hz", "mbcs", "zlib_codec", "charmap", "a" * 40]
    ),
    st.sampled_from(["", "gzip", "deflate", "br"]),
)  # fmt: skip
def test_nothing_raises(body: bytes, label: str, coding: str) -> None:
    headers = {"content-type": f"text/plain; charset={label}", "content-encoding": coding}
    assert isinstance(unescaped(text_of(headers, body)), str)


def test_json_escapes() -> None:
    assert (
        unescaped(r'{"msg":"\u53d1\u9001\u6210\u529f","x":"\\u"}')
        == r'{"msg":"发送成功","x":"\\u"}'
    )
    assert unescaped(r"\ud83d\ude00") == "😀"
    assert unescaped(r"\ud83d") == "\ufffd"
    assert unescaped("plain") == "plain"
