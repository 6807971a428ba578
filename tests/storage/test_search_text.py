"""The text that is searched, its grams, the terms of queries, snippets."""

from __future__ import annotations

import json
import re

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from wsserver.storage.messages.search_text import (
    GRAMS_LIMIT,
    contains,
    grams_of,
    grams_to_ask,
    indexed_form,
    normal_form,
    searched_text,
    snippet,
    spaced_form,
    terms_of,
)

WIDE = "退款了กあ안"
TEXTS = st.text(alphabet=st.sampled_from('ab1 ,%*"é' + WIDE + "\U0001f600"), max_size=20)


def pushed(**message: object) -> bytes:
    return json.dumps({"type": "new_message", "message": message}).encode()


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "hello"}, "hello"),
        ({"content": {"title": "a", "parts": ["b", {"c": "d"}], "size": 7}}, "a\nb\nd"),
        ({"content": ""}, ""),
        ({"content": "x", "state": "growing"}, ""),
        ({"content": "x", "state": "completed"}, "x"),
        ({"deleted": True}, ""),
        ({}, ""),
    ],
)
def test_what_is_searched_of_a_message(message: dict[str, object], text: str) -> None:
    assert searched_text(pushed(**message)) == text


def test_case_width_and_blanks_do_not_count() -> None:
    assert normal_form("  Ｈｅｌｌｏ\n\tWORLD Straße ﬁ ") == "hello world strasse fi"


@given(TEXTS, st.integers(0, 20), st.integers(2, 9))
@example("111111é", 5, 2)
@example("退é1", 1, 2)
@example("é,é1", 2, 2)
def test_whatever_a_text_contains_is_found(text: str, start: int, length: int) -> None:
    normal = normal_form(text)
    terms = terms_of(normal[start : start + length])
    if not terms:
        return
    assert contains(text, terms)
    grams = grams_of(spaced_form(normal))
    missing = [gram for gram in grams_to_ask(terms) if gram not in grams]
    for gram in missing:
        # Two letters are found at the beginning of a word only.
        assert re.fullmatch(r" \w\w", gram)
        assert not set(gram) & set(WIDE + "\U0001f600")
        assert not re.search(rf"(?<!\w){re.escape(gram[1:])}", normal)


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("Refund  order", ["refund", "order"]),
        ("退款", ["退款"]),
        ("退 款", ["退 款"]),
        ("a b", ["a b"]),
        ("a bc", ["a", "bc"]),
        ("no no", ["no"]),
        ("  ", []),
        ("x", []),
        ('"*%', ['"*%']),
    ],
)
def test_the_terms_of_a_query(query: str, terms: list[str]) -> None:
    assert terms_of(query) == terms


@pytest.mark.parametrize("query", ["ok", "退款", '""', "**", "%%", "o'", "🙂🙂", "a退", "退 款"])
def test_two_characters_suffice(query: str) -> None:
    text = normal_form(f"it is {query}!")
    asked = grams_to_ask(terms_of(query))
    assert asked
    assert set(asked) <= grams_of(spaced_form(text))


@pytest.mark.parametrize(
    ("text", "spaced"),
    [
        ("hello world_1", " hello world_1 "),
        ("退款ok了", " 退 款 ok 了 "),
        ("it's :)", " it ' s : ) "),
        ("a\0b", " a \ufffd b "),
        ("a\0é", " a \ufffd é "),
        ("", ""),
    ],
)
def test_signs_and_wide_characters_stand_alone(text: str, spaced: str) -> None:
    assert spaced_form(text) == spaced


def test_the_index_is_asked_for_few_grams_of_a_long_query() -> None:
    asked = grams_to_ask(terms_of("the quick brown fox jumps over the lazy dog " * 4))
    assert 4 < len(asked) <= GRAMS_LIMIT


@pytest.mark.parametrize(
    ("text", "terms", "found"),
    [
        ("short", ["hor"], "short"),
        ("a\n b  c", ["c"], "a b c"),
        ("x" * 50 + "needle" + "y" * 200, ["needle"], f"…{'x' * 40}needle{'y' * 94}…"),
        ("ß" * 200, ["ss"], f"{'ß' * 140}…"),
        ("", ["a"], ""),
    ],
)
def test_a_snippet_is_about_what_was_found(text: str, terms: list[str], found: str) -> None:
    assert snippet(text, terms) == found


@given(st.text(st.characters(max_codepoint=127)))
@example("a.b  \x1fc_9")
def test_a_text_of_ascii_has_the_pieces_that_it_has_among_others(text: str) -> None:
    spaced = indexed_form(text)
    assert spaced == spaced_form(normal_form(text))
    assert indexed_form(f"{text} 退") == f"{spaced or ' '}退 "
