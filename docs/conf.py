"""Sphinx configuration: builds the documentation as a site, with ``scripts/docs``.

The pages are plain reStructuredText that GitHub shows as it is, so they link to each other by file
name and have no toctree. Both are made here: links between files become links between pages, and
the sections of ``index.rst`` become the navigation. ``project/`` has a page for each file of the
repository's root that belongs to the documentation.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
ROOT_PAGES = "project/"
log = logging.getLogger(__name__)

project = "wsserver"
author = "The wsserver authors"
copyright = f"2026, {author}"
release = metadata.version(project)

primary_domain = None  # Python's would take `.. class::` for its own
highlight_language = "none"  # a `::` block may be a shell's, TOML or a program's output
smartquotes = False  # `--` and quotes are meant as written

html_theme = "furo"
html_title = f"wsserver {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b63ce", "color-brand-content": "#0b63ce"},
    "dark_css_variables": {"color-brand-primary": "#7db3ff", "color-brand-content": "#7db3ff"},
    "top_of_page_buttons": [],
}

_SECTION = re.compile(r"^(?P<title>\S.*)\n-{3,}\n(?P<body>(?:(?!^\S.*\n-{3,}\n).*\n)*)", re.M)
_LINK = re.compile(r"`(?P<text>[^`<]+?)\s+<(?P<file>[^`>#]+\.rst)>`_")
_IMAGE = re.compile(r"^(\.\. image:: )docs/", re.M)


def page_of(file: Path) -> str:
    """The page made of a file; raises ``ValueError`` outside the repository."""
    path = file.resolve().relative_to(ROOT).with_suffix("").as_posix()
    return path.removeprefix("docs/") if path.startswith("docs/") else ROOT_PAGES + path


def folder_of(page: str) -> Path:
    """The folder that the links of a page start from: that of the file it is made of."""
    return ROOT if page.startswith(ROOT_PAGES) else (DOCS / page).parent


def navigation(index: str) -> str:
    """A hidden toctree for each section of the index, with the pages that it links to."""
    trees = []
    for section in _SECTION.finditer(index):
        entries = [
            f"   {link['text']} <{page_of(DOCS / link['file'])}>"
            for link in _LINK.finditer(section["body"])
        ]
        if entries:
            head = [".. toctree::", "   :hidden:", f"   :caption: {section['title']}", ""]
            trees.append("\n".join([*head, *entries]))
    return "\n\n".join(trees)


def add_navigation(app: Sphinx, page: str, source: list[str]) -> None:
    """Append the navigation to the index as it is read."""
    if page == "index":
        source[0] += "\n" + navigation(source[0])


def drop_contents(app: Sphinx, tree: nodes.document) -> None:
    """Take out ``.. contents::``: the theme shows the headings of a page beside it."""
    for topic in list(tree.findall(nodes.topic)):
        if "contents" in topic["classes"]:
            topic.parent.remove(topic)


def resolve_images(app: Sphinx, path: Path, page: str, content: list[str]) -> None:
    """Point the images of included files, which lie beside this folder, into it."""
    content[0] = _IMAGE.sub(r"\1/", content[0])


def resolve_links(app: Sphinx, tree: nodes.document, page: str) -> None:
    """Turn links to files into links to pages; warns of those that lead nowhere."""
    for link in tree.findall(nodes.reference):
        url = urlsplit(link.get("refuri", ""))
        if link.get("internal") or url.scheme or not url.path:
            continue
        target = page_of(folder_of(page) / url.path)
        if target not in app.env.found_docs:
            log.warning("no page is made of %s", url.path, location=link)
        elif url.fragment and url.fragment not in app.env.get_doctree(target).ids:
            log.warning("%s has no section %s", url.path, url.fragment, location=link)
        else:
            anchor = f"#{url.fragment}" if url.fragment else ""
            link["refuri"] = app.builder.get_relative_uri(page, target) + anchor
            link["internal"] = True


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the hooks above; Sphinx calls it."""
    app.connect("source-read", add_navigation)
    app.connect("include-read", resolve_images)
    app.connect("doctree-read", drop_contents)
    app.connect("doctree-resolved", resolve_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
