"""The setting ``traces_url``: a collector of OpenTelemetry, checked without connecting."""

from __future__ import annotations

import re
from importlib.util import find_spec
from urllib.parse import urlsplit

from wsserver.config.faults import Faulty

_PACKAGES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


def traces_url(text: str) -> str:
    """Check ``traces_url``; raises ``Faulty`` also if the extra ``traces`` is not installed."""
    try:
        parts = urlsplit(text)
        name, _ = parts.hostname, parts.port
    except ValueError:
        parts, name = None, None
    if parts is None or not name or parts.scheme not in ("http", "https") or parts.fragment:
        raise Faulty("must be a URL like http://collector:4318/v1/traces")
    if "@" in parts.netloc:
        raise Faulty("must have no password: OTEL_EXPORTER_OTLP_HEADERS has what authorizes")
    if re.search(r"[\x00-\x20\x7f]", text):
        raise Faulty("must be a URL without blanks or control characters")
    if not all(map(_is_installed, _PACKAGES)):
        raise Faulty(
            "needs the extra traces, which is not installed: pip install 'wsserver[traces]'"
        )
    return text


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # of a package that it is in
        return False
