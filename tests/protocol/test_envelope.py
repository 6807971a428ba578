"""Reading ``type`` and ``ref`` of texts that strict decoding refuses."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsserver.protocol.command_decoder import CommandDecoder, RefusedCommand
from wsserver.protocol.commands import CHAT_COMMANDS
from wsserver.protocol.envelope import LEADING_MEMBERS, peek

DEEP = b'{"a":' * 40 + b"1" + b"}" * 40


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (rb'{"type":"ping","ref":"r1","data":"\ud83d"}', "bad_unicode"),
        (rb'{"data":"\ud83d","type":"ping","ref":"r1"}', "bad_unicode"),
        (rb'{"\ud83d":1,"type":"ping","ref":"r1"}', "bad_unicode"),
        (b'{"type":"ping","ref":"r1","data":' + DEEP + b"}", "too_deep"),
        (b'{"type":"ping","data":' + DEEP + b',"ref":"r1"}', "too_deep"),
        (b'{"type":"ping","data":NaN,"ref":"r1"}', "bad_json"),
        (b'{"type":"ping","data":-Infinity,"ref":"r1"}', "bad_json"),
        (b'{"type":"ping","data":1e999,"ref":"r1"}', "bad_json"),
        (b'{"type":"ping","data":{"a":1,"a":2},"ref":"r1"}', "bad_json"),
        (b'{"type":"ping","type":"ping","ref":"r1"}', "bad_json"),
        (rb'{"type":"ping","a":1,"a":"\"","\u0072ef":"r1"}', "bad_json"),
        (b' { "type" : "ping" , "ref" : "r1" , "data" : 01 }', "bad_json"),
        (b'{"type":"ping","ref":"r1","data":"cut of', "bad_json"),
        (rb'{"data":"\",\"ref\":\"no\"","type":"ping","ref":"r1",}', "bad_json"),
    ],
)
def test_an_error_found_before_the_envelope_is_read_carries_the_ref(raw: bytes, code: str) -> None:
    with pytest.raises(RefusedCommand) as refused:
        CommandDecoder(CHAT_COMMANDS).decode(raw)
    assert (refused.value.error.code, refused.value.ref) == (code, "r1")
    assert peek(raw) == ("ping", "r1")


@pytest.mark.parametrize(
    "ref",
    [
        b"true",
        b"null",
        b"1.5",
        b"NaN",
        b'["r1"]',
        b'{"ref":1}',
        b'"%s"' % (b"x" * 65),
        rb'"\ud83d"',
    ],
)
def test_a_ref_of_a_bad_form_is_not_echoed(ref: bytes) -> None:
    assert peek(b'{"type":"ping","ref":%s,"a":1,"a":2}' % ref) == ("ping", None)
    assert peek(b'{"type":"ping","ref":%s,"a":NaN}' % ref) == ("ping", None)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"[" * 33, b'"ref"', b"1", b"nonsense"])
def test_a_value_that_is_not_an_object_has_neither(raw: bytes) -> None:
    assert peek(raw) == (None, None)


def test_of_a_repeated_ref_the_last_one_counts_as_in_every_json_reader() -> None:
    assert peek(b'{"ref":1,"ref":2,"type":"ping"}') == ("ping", 2)


@pytest.mark.parametrize("levels", [1_000, 20_000, 500_000])
@pytest.mark.parametrize("bracket", [b"[", b'{"a":', b'[{"a":'])
def test_a_nest_too_deep_for_any_decoder_is_harmless(levels: int, bracket: bytes) -> None:
    assert levels >= sys.getrecursionlimit()
    bomb = bracket * levels
    assert peek(b'{"ref":7,"type":"ping","data":' + bomb) == ("ping", 7)
    assert peek(bomb) == (None, None)


def test_the_members_looked_at_in_a_broken_text_are_bounded() -> None:
    few = b"{" + b'"a":1,' * (LEADING_MEMBERS - 1)
    assert peek(few + b'"ref":7,') == (None, 7)
    assert peek(few + b'"a":1,"ref":7,') == (None, None)


@given(st.binary(max_size=80) | st.text(max_size=40).map(str.encode))
def test_no_text_raises(raw: bytes) -> None:
    peek(raw)
    peek(b'{"ref":' + raw)
    peek(b'{"type":"ping","ref":1,' + raw)


@given(
    st.integers() | st.text(max_size=64, alphabet=st.characters(exclude_categories=["Cs"])),
    st.recursive(st.none() | st.floats() | st.text(), st.lists),
)
def test_every_good_ref_is_read_beside_anything(ref: int | str, data: Any) -> None:
    for members in ({"ref": ref, "data": data}, {"data": data, "ref": ref}):
        assert peek(json.dumps(members).encode()) == (None, ref)
