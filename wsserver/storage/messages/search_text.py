"""Text as it is searched: normal form, grams, terms of queries, snippets. No input or output.

A text is found by its *grams*, the pieces of three characters of its *spaced form*: there a blank
is around each word, each sign, and each character of a script that is written without spaces
between words (Chinese, Japanese, Thai …). So any two of the latter are in one gram, and the first
two letters of each word. A term has the grams of its own spaced form without the blanks at its
ends, as it may be a part of a word; one of two letters is found where a word begins with them.
"""

from __future__ import annotations

import re
import unicodedata

from wsserver.protocol.contents import complete_text_of

VERSION = f"2/{unicodedata.unidata_version}"
"""Of the normal form and the grams: another one needs another index."""
TEXT_LIMIT = 100_000
"""Characters of a message that are searched."""
GRAMS_LIMIT = 12
"""Grams of a query that the index is asked for; the text itself is compared afterwards."""
SNIPPET_BEFORE, SNIPPET_AFTER = 40, 100
"""Characters of a snippet around the beginning of what was found."""

# Scripts without spaces between words: Thai to Myanmar, Khmer, and all from the radicals on.
_WIDE = "\u0e00-\u109f\u1780-\u17ff\u2e80-\U0010ffff"
_PIECES = re.compile(rf"[^\W{_WIDE}]+|\S")
_SIGNS = re.compile(r"([^A-Za-z0-9_\s])")
"""In a text of ASCII."""
_NUL, _NO_NUL = "\0", "\ufffd"
"""A NUL ends a text in SQLite's index."""


def searched_text(push: bytes) -> str:
    """The text of a ``new_message`` that is searched, as it is; empty: it is not searched.

    An answer is searched once it has ended.
    """
    return complete_text_of(push)[:TEXT_LIMIT]


def normal_form(text: str) -> str:
    """A text without the differences that do not count: case, width, kinds of blanks."""
    return _one_line(unicodedata.normalize("NFKC", text).casefold())


def _one_line(text: str) -> str:
    """A text with one blank for each run of blanks."""
    return " ".join(text.split())


def spaced_form(text: str) -> str:
    """The spaced form of a text in its normal form, with a blank at each end, or empty.

    Runs of blanks do not count.
    """
    if text.isascii():
        # The same pieces in less than a third of the time: there are fewer signs than words.
        pieces = " ".join(" ".join(_SIGNS.split(text)).split())
    else:
        pieces = " ".join(_PIECES.findall(text))
    return f" {pieces.replace(_NUL, _NO_NUL)} " if pieces else ""


def indexed_form(text: str) -> str:
    """The spaced form of a text as it is."""
    # Of ASCII, only the case and the blanks differ in the normal form.
    return spaced_form(text.lower() if text.isascii() else normal_form(text))


def grams_of(spaced: str) -> set[str]:
    """The grams of a spaced form that queries ask for: a character between blanks says little."""
    pieces = set(map("".join, zip(spaced, spaced[1:], spaced[2:], strict=False)))
    return {each for each in pieces if each[0] != " " or each[2] != " "}


def terms_of(query: str) -> list[str]:
    """What a text has to contain: the words of a query, in the normal form.

    A query of single characters is one term, with the blanks between them.
    """
    whole = normal_form(query)
    words = list(dict.fromkeys(whole.split(" ")))
    if not any(len(word) > 1 for word in words):
        return [whole] if len(whole) > 1 else []
    return words


def grams_to_ask(terms: list[str]) -> list[str]:
    """Grams that each text with these terms has, not too many; empty: no text can be found."""
    grams = list(dict.fromkeys(gram for term in terms for gram in sorted(_grams_of_term(term))))
    step = -(-len(grams) // GRAMS_LIMIT) if grams else 1
    return grams[::step]


def _grams_of_term(term: str) -> set[str]:
    """Grams of a term wherever it stands in a text; of two letters, at the beginning of a word."""
    spaced = spaced_form(term).strip(" ")
    return grams_of(f" {spaced}" if len(spaced) == 2 else spaced)


def contains(text: str, terms: list[str]) -> bool:
    """Whether a text has all of the terms."""
    normal = normal_form(text)
    return all(term in normal for term in terms)


def snippet(text: str, terms: list[str]) -> str:
    """The part of a text around the first of the terms, on one line."""
    line = _one_line(text)
    lowered = line.casefold()
    places = [at for at in map(lowered.find, terms) if at >= 0] if len(lowered) == len(line) else []
    begin = max(0, min(places, default=0) - SNIPPET_BEFORE)
    end = begin + SNIPPET_BEFORE + SNIPPET_AFTER
    return f"{'…' if begin else ''}{line[begin:end]}{'…' if end < len(line) else ''}"
