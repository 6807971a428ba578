"""The console's texts, each in both languages, and its lists, which are the server's."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import wsserver
from tests.support.built_in import ENDPOINTS

PACKAGE = Path(wsserver.__file__).parent
CONSOLE = PACKAGE / "static" / "console"
MODULES = [*CONSOLE.rglob("*.js"), *PACKAGE.glob("extensions/*/console/*.js")]
TABLES = [path for path in MODULES if "= texts(" in path.read_text(encoding="utf-8")]
PAIR = re.compile(r'^  (\w+): \[\s*("(?:[^"\\]|\\.)*"),\s*("(?:[^"\\]|\\.)*"),?\s*\]', re.MULTILINE)
IMPORT = re.compile(r'import \{([^}]*)\} from "([^"]*)"')
BLANK = re.compile(r"\{(\w+)\}")


def pairs(path: Path) -> dict[str, tuple[str, str]]:
    """The texts of a table: English and Chinese."""
    found = PAIR.findall(path.read_text(encoding="utf-8"))
    return {name: (json.loads(english), json.loads(chinese)) for name, english, chinese in found}


def of(path: Path, address: str) -> Path:
    """The file that a module imports."""
    if address.startswith("/static/"):
        return PACKAGE / address[1:]
    return (path.parent / address).resolve()


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.name)
def test_both_languages_have_the_same_values(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = pairs(path)
    entries = re.findall(r"^  (\w+): (?:\[|\")", text, re.MULTILINE)
    assert found
    assert sorted(found) == sorted(entries)
    for name, (english, chinese) in found.items():
        assert chinese.strip() or not english.strip(), name
        assert set(BLANK.findall(english)) == set(BLANK.findall(chinese)), name


def test_every_text_that_is_asked_for_is_there() -> None:
    missing = []
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        tables = {}
        for names, address in IMPORT.findall(text):
            known = pairs(of(path, address)) if of(path, address) in TABLES else None
            for name in filter(None, map(str.strip, names.split(","))):
                original, _, local = name.partition(" as ")
                if known is not None and original == "t":
                    tables[local or original] = known
        for local, known in tables.items():
            used = re.findall(rf'(?<![\w.]){local}\("(\w+)"', text)
            missing += [f"{path.name}: {name}" for name in used if name not in known]
    assert missing == []
    page = (CONSOLE / "index.html").read_text(encoding="utf-8")
    asked = re.findall(r'data-(?:text|label)="(\w+)"', page)
    assert set(asked) <= set(pairs(CONSOLE / "parts" / "texts.js"))


def test_the_chat_tester_has_all_texts_in_both_languages() -> None:
    text = (CONSOLE / "chat" / "texts.js").read_text(encoding="utf-8")
    entry = re.compile(r'^  (\w+): ("(?:[^"\\]|\\.)*"),$', re.MULTILINE)
    english, chinese = (dict(entry.findall(part)) for part in text.split("const ZH"))
    assert list(english) == list(chinese)
    for name, value in english.items():
        assert set(BLANK.findall(value)) == set(BLANK.findall(chinese[name])), name
    page = (CONSOLE / "chat" / "index.html").read_text(encoding="utf-8")
    modules = "".join(path.read_text(encoding="utf-8") for path in CONSOLE.glob("chat/*.js"))
    asked = re.findall(r'data-(?:text|label)="(\w+)"', page) + re.findall(
        r'\btext\("(\w+)"', modules
    )
    assert set(asked) <= set(english)


def test_the_audit_page_suggests_every_action() -> None:
    text = (CONSOLE / "pages" / "audit.js").read_text(encoding="utf-8")
    listed = re.search(r"const ACTIONS = \[(.*?)\n\];", text, re.DOTALL)
    assert listed is not None
    signing = {"console_sign_in", "console_sign_out"}
    actions = {each.action for each in ENDPOINTS if each.action} | signing
    assert set(re.findall(r'"(\w+)"', listed[1])) == actions
