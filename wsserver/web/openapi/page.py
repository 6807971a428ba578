"""Readable HTML page of the OpenAPI document, without scripts and external resources."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="/api/v1/docs.css">
</head>
<body>
"""
_TAIL = "</body>\n</html>\n"

STYLESHEET = """\
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 3rem; border-bottom: 1px solid #8886; }
h3 { margin-top: 2.5rem; font-size: 1.05rem; }
h3 code { font-size: 1.05rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9rem; }
pre { padding: .75rem; overflow-x: auto; background: #8881; border-radius: .4rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; }
th { font-weight: 600; border-bottom: 1px solid #8886; }
.method { display: inline-block; min-width: 4.5rem; font-weight: 700; }
.access { color: #777; }
nav a { margin-right: 1rem; }
"""


_WEBSOCKETS = "WebSockets"
_EVENT_STREAMS = "Event streams over HTTP"


def render_index() -> str:
    """HTML of the index page ``/``."""
    return (
        _HEAD.format(title="wsserver")
        + "<h1>wsserver</h1>\n<p>A WebSocket server for live chat is running here.</p>\n<ul>\n"
        '<li><a href="/console">Console</a></li>\n'
        '<li><a href="/api/v1/docs">REST API</a> '
        '(<a href="/api/v1/openapi.json">OpenAPI 3.1</a>)</li>\n'
        '<li><a href="/api/v1/websocket/health">Health</a></li>\n</ul>\n' + _TAIL
    )


def render_page(document: Mapping[str, Any]) -> str:
    """HTML of the API description."""
    info = document["info"]
    tags = {tag["name"]: tag["description"] for tag in document["tags"]}
    headings = [*tags, _WEBSOCKETS, _EVENT_STREAMS, "Codes"]
    parts = [
        _HEAD.format(title=f"{escape(info['title'])} API"),
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>\n",
        f"<p>{_inline(info['description'])}</p>\n",
        '<p><a href="/api/v1/openapi.json">OpenAPI 3.1</a></p>\n<nav>',
        *(f'<a href="#{_anchor(tag)}">{escape(tag)}</a>' for tag in headings),
        "</nav>\n",
    ]
    schemas = document["components"]["schemas"]
    for tag, description in tags.items():
        parts.append(f'<h2 id="{_anchor(tag)}">{escape(tag)}</h2>\n<p>{escape(description)}</p>\n')
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if tag in operation["tags"]:
                    parts.append(_operation(method.upper(), path, operation, schemas))
    parts += [
        _sockets(_WEBSOCKETS, document["x-websockets"]),
        _sockets(_EVENT_STREAMS, document["x-event-streams"]),
        _codes(document["x-problem-codes"]),
        _TAIL,
    ]
    return "".join(parts)


def _operation(
    method: str, path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]
) -> str:
    parts = [
        f'<h3 id="{escape(operation["operationId"])}"><span class="method">{method}</span>'
        f"<code>{escape(path)}</code></h3>\n",
        f"<p>{_inline(operation['summary'])} "
        f'<span class="access">— {escape(operation["x-permission"])}</span></p>\n',
    ]
    rows = [
        (each["name"], each["in"], _described(each["schema"]), each.get("description", ""))
        for each in operation["parameters"]
        if each["in"] != "header"
    ]
    if rows:
        parts.append(_table(("parameter", "in", "type", ""), rows))
    if "requestBody" in operation:
        parts.append(_content("Body", operation["requestBody"]["content"], schemas))
    answer = next(each for status, each in operation["responses"].items() if status < "300")
    if "content" in answer:
        parts.append(_content("Answer", answer["content"], schemas))
    errors = [
        f"{status}: {_inline(answer['description'])}"
        for status, answer in operation["responses"].items()
        if status != "200"
    ]
    parts.append(f"<details><summary>Errors</summary><p>{'<br>'.join(errors)}</p></details>\n")
    return "".join(parts)


def _content(title: str, content: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    described = next(iter(content.values()))
    media_type = ", ".join(content)
    name = described["schema"].get("$ref", "").rpartition("/")[2]
    parts = [f"<p><b>{title}</b> {escape(media_type)}"]
    schema = schemas.get(name, {})
    if schema.get("description"):
        parts.append(f": {_inline(schema['description'])}")
    parts.append("</p>\n")
    required = schema.get("required", ())
    rows = [
        (field, _described(of), "required" if field in required else "", of.get("description", ""))
        for field, of in schema.get("properties", {}).items()
    ]
    if rows:
        parts.append(_table(("field", "type", "", ""), rows))
    if "example" in described:
        text = json.dumps(described["example"], indent=2, ensure_ascii=False)
        parts.append(f"<pre>{escape(text)}</pre>\n")
    return "".join(parts)


def _described(schema: Mapping[str, Any]) -> str:
    """Short text for a schema, such as ``integer (≥ 1)``."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(map(_described, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(json.dumps(each) for each in schema["enum"])
    text = str(schema.get("type", "any"))
    if text == "array":
        text = f"list of {_described(schema.get('items', {}))}"
    bounds = [
        f"{sign} {schema[key]}"
        for key, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("maxLength", "length ≤"),
            ("maxItems", "items ≤"),
            ("pattern", ""),
        )
        if key in schema
    ]
    if schema.get("default") not in (None, [], {}):
        bounds.append(f"default {json.dumps(schema['default'])}")
    return f"{text} ({', '.join(each.strip() for each in bounds)})" if bounds else text


def _sockets(title: str, sockets: Iterable[Mapping[str, str]]) -> str:
    rows = [(each["path"], each["access"], each["summary"]) for each in sockets]
    return f'<h2 id="{_anchor(title)}">{title}</h2>\n' + _table(("path", "for", ""), rows)


def _codes(codes: Mapping[str, Mapping[str, Any]]) -> str:
    parts = ['<h2 id="codes">Codes</h2>\n<table>\n<tr><th>code</th><th>status</th><th></th></tr>\n']
    for code, meaning in codes.items():
        again = "; temporary, may be retried" if meaning["temporary"] else ""
        parts.append(
            f'<tr id="{escape(code)}"><td><code>{escape(code)}</code></td>'
            f"<td>{meaning['status']}</td><td>{escape(meaning['title'])}{again}</td></tr>\n"
        )
    return "".join([*parts, "</table>\n"])


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    parts = ["<table>\n<tr>", *(f"<th>{escape(head)}</th>" for head in heads), "</tr>\n"]
    for first, *rest in rows:
        cells = "".join(f"<td>{_inline(cell)}</td>" for cell in rest)
        parts.append(f"<tr><td><code>{escape(first)}</code></td>{cells}</tr>\n")
    return "".join([*parts, "</table>\n"])


def _inline(text: str) -> str:
    """Escape HTML, and render text in backticks as code."""
    pieces = escape(text).replace("``", "`").split("`")
    return "".join(
        f"<code>{piece}</code>" if index % 2 else piece for index, piece in enumerate(pieces)
    )


def _anchor(tag: str) -> str:
    return tag.lower().replace(" ", "-")
