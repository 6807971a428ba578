"""Text as it is searched: normal form, grams, terms of queries, snippets. No input or output.

A text is found by its *grams*: three characters of scripts that are written with spaces between
words, two where one of them is of another script (Chinese, Japanese, Thai …), and the first two of
each word. A term of more than two characters has the grams of all its parts; one of two is found if
one of them is of another script, or where a word begins with them.
"""

from __future__ import annotations

import re
import unicodedata

from wsserver.protocol.contents import is_complete, text_of

VERSION = f"1/{unicodedata.unidata_version}"
"""Of the normal form and the grams: another one needs another index."""
TEXT_LIMIT = 100_000
"""Characters of a message that are searched."""
GRAMS_LIMIT = 12
"""Grams of a query that the index is asked for; the text itself is compared afterwards."""
SNIPPET_BEFORE, SNIPPET_AFTER = 40, 100
"""Characters of a snippet around the beginning of what was found."""

# Scripts without spaces between words: Thai to Myanmar, Khmer, and all from the radicals on.
_WIDE = "\u0e00-\u109f\u1780-\u17ff\u2e80-\U0010ffff"
_NARROW_RUN = re.compile(f"[^{_WIDE}]{{2,}}")
_WIDE_RUN = re.compile(f"[^{_WIDE}]?[{_WIDE}]+[^{_WIDE}]?")
_BEFORE_WIDE = re.compile(f"(?=([^{_WIDE}][{_WIDE}]))")
_WORD_START = re.compile(r"(?=((?:(?<!\w)\w|[^\w\s])\S))")
_IS_WIDE = re.compile(f"[{_WIDE}]")


def searched_text(push: bytes) -> str:
    """The text of a ``new_message`` that is searched, as it is; empty: it is not searched.

    An answer is searched once it has ended.
    """
    return text_of(push)[:TEXT_LIMIT] if is_complete(push) else ""


def normal_form(text: str) -> str:
    """A text without the differences that do not count: case, width, kinds of blanks."""
    return _one_line(unicodedata.normalize("NFKC", text).casefold())


def _one_line(text: str) -> str:
    """A text with one blank for each run of blanks."""
    return " ".join(text.split())


def grams_of(text: str) -> set[str]:
    """The grams of a text in its normal form."""
    found: set[str] = set()
    for run in _NARROW_RUN.findall(text):
        found.update([run[at : at + 3] for at in range(len(run) - 2)])
        found.update(_WORD_START.findall(run))
    for run in _WIDE_RUN.findall(text):
        found.update([run[at : at + 2] for at in range(len(run) - 1)])
    # A narrow character between two wide ones belongs to the run before it only.
    found.update(_BEFORE_WIDE.findall(text))
    return found


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
    grams: list[str] = []
    for term in terms:
        found = _grams_of_term(term)
        if len(term) > 1 and not found:
            return []
        grams += found
    grams = list(dict.fromkeys(grams))
    step = -(-len(grams) // GRAMS_LIMIT) if grams else 1
    return grams[::step]


def _grams_of_term(term: str) -> list[str]:
    """Grams of a term wherever it stands in a text: of its middle, no beginnings of words."""
    if len(term) == 2:
        return [term] if _IS_WIDE.search(term) or _WORD_START.match(term) else []
    narrow = [run[at : at + 3] for run in _NARROW_RUN.findall(term) for at in range(len(run) - 2)]
    pairs = [term[at : at + 2] for at in range(len(term) - 1)]
    return narrow + [pair for pair in pairs if _IS_WIDE.search(pair)]


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
