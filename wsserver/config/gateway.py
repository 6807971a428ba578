"""SMS gateways: templates of their HTTP requests with ``{to}``, ``{text}`` and ``{id}``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Literal, NamedTuple
from urllib.parse import quote, quote_plus, urlsplit

from wsserver.config.faults import Faulty
from wsserver.config.settings import Settings

BodyKind = Literal["json", "form", "xml", "text"]

_PLACEHOLDER = re.compile(r"\{(to|text|id)\}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection"})
_CONTENT_TYPES: dict[BodyKind, str] = {
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "text": "text/plain; charset=utf-8",
}
_XML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"})
"""As ``xml.sax.saxutils.escape``, which imports an HTTP client."""
_ESCAPES: dict[BodyKind, Callable[[str], str]] = {
    "json": lambda value: json.dumps(value, ensure_ascii=False)[1:-1],
    "form": quote_plus,
    "xml": lambda value: value.translate(_XML),
    "text": str,
}
_SAMPLE = {"to": "+8613800138000", "text": 'a "b"\n\\ <c>', "id": "delivery_1"}


class Rendered(NamedTuple):
    """A request, ready to be sent."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None


class Gateway(NamedTuple):
    """The request template of a provider; values are escaped and never change its structure."""

    method: str
    url: str
    headers: dict[str, str]
    body: str | None

    @property
    def kind(self) -> BodyKind:
        """The kind of body: by its ``Content-Type``, else guessed from its form."""
        named = {name.lower(): value.lower() for name, value in self.headers.items()}
        content_type = named.get("content-type", "")
        if not content_type:
            bare = _PLACEHOLDER.sub("", self.body or "").lstrip()
            return "json" if bare.startswith(("{", "[")) else "form" if "=" in bare else "text"
        if "json" in content_type:
            return "json"
        if "x-www-form-urlencoded" in content_type:
            return "form"
        return "xml" if "xml" in content_type else "text"

    def render(self, *, to: str, text: str, id: str) -> Rendered:
        """Fill in the values, escaped for URL, header and body.

        ``to``: a number in E.164 form; ``id``: the delivery's, the same at every attempt.
        """
        values = {"to": to, "text": text, "id": id}
        url = _filled(self.url, values, lambda value: quote(value, safe=""))
        headers = {name: _filled(value, values, str) for name, value in self.headers.items()}
        if self.body is None:
            return Rendered(self.method, url, headers, None)
        body = _filled(self.body, values, _ESCAPES[self.kind]).encode()
        if self.kind in _CONTENT_TYPES and not any(n.lower() == "content-type" for n in headers):
            headers["Content-Type"] = _CONTENT_TYPES[self.kind]
        return Rendered(self.method, url, headers, body)


def gateway_of(settings: Settings) -> Gateway | None:
    """The configured gateway, or None."""
    if settings.sms_url is None:
        return None
    headers = dict(settings.sms_headers)
    return Gateway(settings.sms_method, settings.sms_url, headers, settings.sms_body)


def check_gateway(gateway: Gateway) -> None:
    """Raise ``Faulty`` for templates that no SMS can be sent with."""
    if gateway.method == "GET" and gateway.body is not None:
        raise Faulty("cannot have a body (sms_body) with the method GET")
    places = [gateway.url, gateway.body or ""]
    for name in ("to", "text"):
        if not any(f"{{{name}}}" in place for place in places):
            raise Faulty(f"must have {{{name}}}, here or in sms_body")
    if gateway.body is not None and gateway.kind == "json":
        try:
            json.loads(gateway.render(**_SAMPLE).body or b"")
        except ValueError:
            raise Faulty(
                "needs another sms_body: it is not valid JSON once the values are filled in "
                '(write "{text}" with the quotes)'
            ) from None


def gateway_url(text: str) -> str:
    """Check ``sms_url``; the URL is never quoted."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise Faulty(_URL_FORM) from None
    if parts.scheme not in ("http", "https") or not host or parts.fragment:
        raise Faulty(_URL_FORM)
    if re.search(r"[\x00-\x20\x7f]", text) or not text.isascii():
        raise Faulty("must be a URL of ASCII characters without blanks and control characters")
    if _PLACEHOLDER.search(parts.netloc):
        raise Faulty("must have {to}, {text} and {id} only after the host")
    if parts.username is not None:
        raise Faulty("must not have credentials; put them into sms_headers")
    return text


def gateway_headers(table: dict[str, str]) -> dict[str, str]:
    """Check ``sms_headers``; no value is quoted."""
    messages = []
    for name, value in table.items():
        if not _HEADER_NAME.fullmatch(name):
            messages.append(f"has {name[:40]!r}, which is not a valid header name")
        elif name.lower() in _OWN_HEADERS:
            messages.append(f"must not set {name}")
        elif not value.isascii() or not value.isprintable():
            messages.append(f"must have printable ASCII in {name}")
        elif "{text}" in value:
            messages.append(f"must not have {{text}} in {name}: headers cannot hold texts")
    if messages:
        raise Faulty(*messages)
    return table


def success_pattern(text: str) -> str:
    """Check ``sms_success``."""
    try:
        re.compile(text)
    except re.error as error:
        raise Faulty(f"must be a regular expression: {error}") from None
    return text


def _filled(template: str, values: dict[str, str], escaped: Callable[[str], str]) -> str:
    return _PLACEHOLDER.sub(lambda found: escaped(values[found[1]]), template)


_URL_FORM = "must be a URL like https://sms.example.com/send?to={to}&text={text}"
