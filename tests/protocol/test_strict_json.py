"""Strict JSON: what is accepted, and the error of everything else."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Struct, convert
from msgspec.json import Decoder

from wsserver.errors import BadJson, BadUnicode, TooDeep
from wsserver.protocol.strict_json import MAX_DEPTH, decode, decode_as

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_valid_json_means_what_the_standard_library_says(
    value: Any, ascii_only: bool, indent: int | None
) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert decode(raw) == json.loads(raw)


@given(st.binary(max_size=40) | st.text('{}[]":,\\u d8c09eE+-.truefalsnN', max_size=30))
def test_whatever_comes_is_decoded_as_the_standard_library_does_or_refused(
    raw: bytes | str,
) -> None:
    raw = raw.encode() if isinstance(raw, str) else raw
    with contextlib.suppress(BadJson, BadUnicode, TooDeep):
        assert decode(raw) == json.loads(raw)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        " ",
        "{",
        "[1,]",
        '{"a":1,}',
        "{'a':1}",
        '{"a" 1}',
        "{} {}",
        "nul",
        "01",
        "+1",
        ".5",
        "NaN",
        "Infinity",
        "-Infinity",
        '{"a":NaN}',
        "1e400",
        "-1e400",
        '{"a":[1e400]}',
        '"a\nb"',
        '"\\x"',
        '"\\u12"',
        "\ufeff{}",
        "1" * 5000,
        '{"a":[' + "1" * 5000 + "]}",
    ],
)
def test_what_is_not_json_is_refused(raw: str) -> None:
    with pytest.raises(BadJson):
        decode(raw.encode())


@pytest.mark.parametrize(
    "raw",
    [
        '{"a":1,"a":2}',
        '{"a":"x","a":"y"}',
        '{"a":"x","a":1}',
        '{"a":1,"b":"a","a":"b"}',
        '{"a":1,"\\u0061":2}',
        '[{"a":1,"a":1}]',
        '{"x":{"y":[{"a":1,"b":{},"a":null}]}}',
        '{"":1,"":2}',
        '{"é":1,"\\u00e9":2}',
    ],
)
def test_a_repeated_key_is_refused_at_any_depth(raw: str) -> None:
    with pytest.raises(BadJson, match="duplicate"):
        decode(raw.encode())


@given(st.lists(st.tuples(TEXT, SCALARS), max_size=5), st.integers(0, 3))
def test_exactly_the_objects_with_repeated_keys_are_refused(
    pairs: list[tuple[str, Any]], depth: int
) -> None:
    members = ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in pairs)
    raw = '{"in":' * depth + "{" + members + "}" + "}" * depth
    if len({key for key, _ in pairs}) == len(pairs):
        assert decode(raw.encode()) == json.loads(raw)
    else:
        with pytest.raises(BadJson):
            decode(raw.encode())


@pytest.mark.parametrize(
    ("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]"), (" [\n", " ]")]
)
def test_the_outermost_value_is_depth_1_and_32_is_the_deepest(opening: str, closing: str) -> None:
    width = opening.count("[") + opening.count("{")
    fits = MAX_DEPTH // width
    assert MAX_DEPTH == 32
    inner = "" if opening == "[" else "1"
    decode((opening * fits + inner + closing * fits).encode())
    with pytest.raises(TooDeep):
        decode((opening * (fits + 1) + inner + closing * (fits + 1)).encode())


def test_an_endless_opening_is_too_deep_rather_than_a_crash() -> None:
    with pytest.raises(TooDeep):
        decode(b"[" * 100_000)
    with pytest.raises(TooDeep):
        decode(b'{"a":' * 10_000)


def test_pairs_inside_of_what_is_never_closed_count_too() -> None:
    with pytest.raises(TooDeep):
        decode(b"[[[]", 2)
    with pytest.raises(BadJson):
        decode(b"[[]", 2)


def nesting(raw: bytes) -> tuple[int, int]:
    """How deep a text goes, looked at one character after the other; and how shallow."""
    depth = deepest = lowest = 0
    inside = escaped = False
    for each in raw.decode():
        if inside:
            inside = escaped or each != '"'
            escaped = each == "\\" and not escaped
        elif each == '"':
            inside = True
        elif each in "[]{}":
            depth += 1 if each in "[{" else -1
            deepest, lowest = max(deepest, depth), min(lowest, depth)
    return deepest, lowest


TRICKY = st.text('[]{}"\\a,:', max_size=8)


@given(
    st.recursive(
        TRICKY | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TRICKY, inner, max_size=3),
        max_leaves=12,
    ),
    st.integers(1, 6),
)
def test_a_value_is_too_deep_if_counting_says_so(value: Any, limit: int) -> None:
    raw = json.dumps(value).encode()
    if nesting(raw)[0] > limit:
        with pytest.raises(TooDeep):
            decode(raw, limit)
    else:
        assert decode(raw, limit) == value


@given(
    st.lists(st.sampled_from(["[", "]", "{", "}", '"', '""', "\\", '\\"', "a"])).map("".join),
    st.integers(1, 6),
)
def test_what_is_too_deep_is_refused_however_broken_it_is(text: str, limit: int) -> None:
    deepest, lowest = nesting(text.encode())
    if deepest > limit and lowest == 0:  # closing what is not open is refused before all else
        with pytest.raises(TooDeep):
            decode(text.encode(), limit)


def test_brackets_in_strings_and_side_by_side_are_no_depth() -> None:
    assert decode(json.dumps({"a": "[" * 100, "b": '\\"{' * 50}).encode())["a"] == "[" * 100
    assert decode(b"[" + b"[]," * 100 + b"[]]") == [[]] * 101


@pytest.mark.parametrize(
    "raw",
    [
        rb'"\ud800"',
        rb'"\udc00"',
        rb'"\ud800A"',
        rb'"\ud800\u0041"',
        rb'"\udc00\ud800"',
        rb'{"\ud800":1}',
        rb'{"a":["x\uDFFF"]}',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\xc0\x80"',
    ],
)
def test_lone_surrogates_and_broken_utf8_are_bad_unicode(raw: bytes) -> None:
    with pytest.raises(BadUnicode):
        decode(raw)


def test_a_pair_of_surrogates_is_a_character() -> None:
    assert decode(rb'{"a":"\ud83d\ude00"}') == {"a": "\U0001f600"}


@pytest.mark.parametrize("number", [2**53 + 1, 2**64, -(2**63) - 1, 10**300])
def test_big_integers_stay_exact(number: int) -> None:
    assert decode(str(number).encode()) == number


def test_tiny_numbers_are_zero_and_no_fault() -> None:
    assert decode(b"1e-400") == 0.0
    assert math.copysign(1, decode(b"-0.0")) == -1


class Item(Struct, omit_defaults=True, forbid_unknown_fields=True):
    name: str
    note: str = ""
    more: list[str] = []
    data: Any = UNSET


ITEMS = Decoder(list[Item])


@pytest.mark.parametrize(
    "text",
    [
        '[{"name":"a"}]',
        '[{"name": "a", "note": "b", "more": ["c"], "data": {"x": ["y"]}}, {"name": "z"}]',
        r'[{"name": "\u60a8\u597d \u0022 \"", "note": "\n"}]',
        '[{"data": 1.5, "name": "您好"}]',
    ],
)
def test_a_faultless_text_is_decoded_as_a_type(text: str) -> None:
    found = decode_as(text.encode(), ITEMS)
    assert found == convert(decode(text.encode()), list[Item])


@pytest.mark.parametrize(
    "text",
    [
        '[{"name":"a","name":"a"}]',
        '[{"name":"a", "more": [], "name":"a"}]',
        '[{"name":"a","data":{"x":1,"x":2}}]',
        r'[{"name":"a","n\u0061me":"a"}]',
        r'[{"name":"\"","name":"a","note":"\u0022"}]',
        '[{"name":"a","unknown":1}]',
        '[{"name":1}]',
        '[{"name":"a"',
        '[{"name":"\\ud800"}]',
        "[" * 33 + "]" * 33,
    ],
)
def test_what_is_not_faultless_for_sure_is_left_to_the_decoder(text: str) -> None:
    assert decode_as(text.encode(), ITEMS) is None


@pytest.mark.parametrize(
    ("text", "is_refused"),
    [
        (r'{"a": "\u60a8 \"b\" \n"}', False),
        (r'{"a": "\\", "b": "\\\""}', False),
        (r'{"a": "\"", "a": "\u0022"}', True),
        (r'{"a": "\\", "a": 1}', True),
        (r'{"a": "\u005c\"", "\u0061": "\""}', True),
    ],
)
def test_escapes_hide_no_repeated_key(text: str, is_refused: bool) -> None:
    if is_refused:
        with pytest.raises(BadJson):
            decode(text.encode())
    else:
        assert decode(text.encode()) == json.loads(text)
