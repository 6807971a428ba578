"""Sections, code blocks, tables and parser warnings of reStructuredText files."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from docutils import nodes
from docutils.core import publish_doctree

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Block:
    """A code block."""

    name: str
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The lines after the prompts of a console block."""
        return [line[2:] for line in self.text.splitlines() if line.startswith("$ ")]


@cache
def parse(path: str) -> tuple[nodes.document, str]:
    """A file of the repository as a tree, with all that docutils has to say against it."""
    complaints = io.StringIO()
    settings = {
        "warning_stream": complaints,
        "report_level": 1,
        "halt_level": 5,
        "syntax_highlight": "none",
        "raw_enabled": False,
        "file_insertion_enabled": False,
    }
    text = (ROOT / path).read_text(encoding="utf-8")
    tree = publish_doctree(text, source_path=path, settings_overrides=settings)
    return tree, complaints.getvalue()


def blocks(path: str) -> list[Block]:
    """The code blocks of a file, in order; literal blocks without a language have none."""
    found = []
    for node in parse(path)[0].findall(nodes.literal_block):
        classes = [name for name in node["classes"] if name != "code"]
        name = node["names"][0] if node["names"] else ""
        found.append(Block(name, classes[0] if classes else "", node.astext()))
    return found


def block(path: str, name: str) -> Block:
    """The code block of that name."""
    return next(block for block in blocks(path) if block.name == name)


def outline(path: str) -> list[tuple[int, str]]:
    """The outline of a file, by depth: sections, and the kinds of elements in them."""
    shape: list[tuple[int, str]] = []

    def walk(node: nodes.Node, depth: int) -> None:
        for child in node.children:
            if isinstance(child, nodes.section):
                shape.append((depth, "section"))
                walk(child, depth + 1)
            elif isinstance(child, nodes.table):
                rows = sum(1 for _ in child.findall(nodes.row))
                shape.append((depth, f"table of {rows}"))
            elif isinstance(child, nodes.bullet_list):
                shape.append((depth, f"list of {len(child.children)}"))
            elif not isinstance(child, nodes.title):
                shape.append((depth, child.tagname))

    walk(parse(path)[0], 0)
    return shape


def table(path: str, name: str) -> list[list[str]]:
    """The rows, without the head, of the table of that class."""
    found = next(t for t in parse(path)[0].findall(nodes.table) if name in t["classes"])
    rows = next(found.findall(nodes.tbody)).children
    return [[entry.astext() for entry in row.children] for row in rows]
