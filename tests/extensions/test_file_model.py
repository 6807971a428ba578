"""Files as values: names, media types, ranges, metadata of tus."""

from __future__ import annotations

import re

import pytest

from tests.support.tus import metadata
from wsserver.errors import ValidationFailed
from wsserver.extensions.files.errors import RangeNotSatisfiable
from wsserver.extensions.files.model import (
    BINARY,
    Span,
    disposition,
    media_type_of,
    name_fault,
    range_of,
    served_type,
)
from wsserver.extensions.files.tus import Metadata, metadata_in


@pytest.mark.parametrize(
    "name", ["a.txt", "报告 2024.pdf", "👨‍👩‍👧.png", "x" * 255, "...a", 'a"b%;']
)
def test_names_that_are_taken(name: str) -> None:
    assert name_fault(name) == ""


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        ".",
        "..",
        "../a",
        "/a",
        "a/b",
        "a\\b",
        "x" * 256,
        "a\0",
        "a\r\nb",
        "\u202ea",
        "\x7f",
    ],
)
@pytest.mark.parametrize("more", ["", "\u2066", "\ufeff", "\u2028", "\u00ad"])
def test_names_that_are_refused(name: str, more: str) -> None:
    assert name_fault(name + more)


@pytest.mark.parametrize("name", ["a.txt", "报告.pdf", 'a"; x="b', "a\u200db%41", "é'()"])
def test_a_disposition_is_one_line_of_ascii(name: str) -> None:
    header = disposition(name)
    assert re.fullmatch(
        r"attachment; filename=\"[ !#-$&-\[\]-~]*\"; filename\*=UTF-8''[A-Za-z0-9%._~-]*", header
    )


def test_types_that_browsers_execute_are_not_sent_as_such() -> None:
    for kind in ("image/png", "video/mp4", "application/pdf", "text/plain", "application/zip"):
        assert served_type(kind) == kind
    for kind in ("text/html", "image/svg+xml", "application/xhtml+xml", "text/xml"):
        assert served_type(kind) == BINARY
    for kind in ("text/javascript", "application/javascript", "application/x-shockwave-flash"):
        assert served_type(kind) == BINARY
    assert served_type("application/vnd.mozilla.xul+xml") == BINARY


def test_media_types() -> None:
    assert media_type_of("Text/Plain; charset=utf-8") == "text/plain"
    for text in ("", "text", "text/", "/x", "a b/c", "a/b\r\nX: y"):
        assert media_type_of(text) is None


def test_ranges() -> None:
    assert range_of("bytes=0-0", 10) == Span(0, 1)
    assert range_of("bytes=3-", 10) == Span(3, 10)
    assert range_of("bytes=-3", 10) == Span(7, 10)
    assert range_of("bytes=-30", 10) == Span(0, 10)
    assert range_of("Bytes=2-99", 10) == Span(2, 10)
    for ignored in ("bytes=3-1", "items=0-1", "bytes=", "bytes=-", "bytes=x-1"):
        assert range_of(ignored, 10) is None
    for refused in ("bytes=10-", "bytes=-0", "bytes=0-1,3-4", "bytes=0-,0-"):
        with pytest.raises(RangeNotSatisfiable):
            range_of(refused, 10)
    with pytest.raises(RangeNotSatisfiable):
        range_of("bytes=0-", 0)


def test_metadata_of_uploads() -> None:
    assert metadata_in("") == Metadata()
    given = metadata(filename="报告.pdf", filetype="application/pdf", session_id="s1", other="x")
    assert metadata_in(given) == Metadata("报告.pdf", "application/pdf", "s1")
    assert metadata_in("is_confidential,filetype ") == Metadata()
    for text in ("filename !", "filename /w==", "filename YQ==,filename YQ==", ",", "x" * 5000):
        with pytest.raises(ValidationFailed):
            metadata_in(text)
