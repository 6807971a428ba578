"""The setting ``file_store_url``: a bucket of S3-compatible object storage, checked offline."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from wsserver.config.faults import Faulty

FORM = "s3://BUCKET[/PREFIX][?endpoint=URL&region=NAME]"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()/-]{0,512}")


class FileStorePlace(NamedTuple):
    """Where files are in object storage."""

    bucket: str
    prefix: str = ""
    """Of all keys; empty, or ending with a slash."""
    endpoint: str | None = None
    """URL of another service than Amazon's."""
    region: str | None = None


def file_store_place(url: str) -> FileStorePlace:
    """The place that a URL names; raises ``Faulty``."""
    parts = urlsplit(url)
    if parts.scheme != "s3" or _BUCKET.fullmatch(parts.netloc) is None or parts.fragment:
        raise Faulty(f"must be {FORM}; credentials are read as by other tools of Amazon's")
    prefix = parts.path.strip("/")
    if _PREFIX.fullmatch(prefix) is None:
        raise Faulty(f"must be {FORM}, with a prefix of letters, digits and ! _ . * ' ( ) / -")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = options.keys() - {"endpoint", "region"}
    if unknown:
        raise Faulty(f"must be {FORM}; {min(unknown)!r} is unknown")
    endpoint = options.get("endpoint")
    if endpoint is not None:
        address = urlsplit(endpoint)
        if address.scheme not in ("http", "https") or not address.hostname or address.username:
            raise Faulty("its endpoint must be an http or https URL without credentials")
    return FileStorePlace(
        parts.netloc, f"{prefix}/" if prefix else "", endpoint, options.get("region")
    )


def file_store_url(text: str) -> str:
    """Check ``file_store_url``; raises ``Faulty`` also if the extra ``s3`` is not installed."""
    file_store_place(text)
    if find_spec("boto3") is None:
        raise Faulty("needs the extra s3: pip install 'wsserver[s3]'")
    return text
