"""URLs in options of extensions, to which the server sends requests."""

from __future__ import annotations

from collections.abc import Iterator

from wsserver.addresses.reach import check_url
from wsserver.config import Settings, TableFault
from wsserver.config.channels import webhook_reach
from wsserver.errors import UrlForbidden


def url_faults(path: str, url: str, settings: Settings) -> Iterator[TableFault]:
    """Faults of a required URL at ``path``; loopback is refused without ``allow_loopback_urls``."""
    if not url:
        yield TableFault(path, "is missing")
        return
    try:
        check_url(url, webhook_reach(settings))
    except UrlForbidden as error:
        yield TableFault(path, f"is wrong: {error.message}")
