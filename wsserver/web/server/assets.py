"""Static files for browsers: the console and ``client.js``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tornado.routing import PathMatches, Rule
from tornado.web import RequestHandler

from wsserver.errors import MethodNotAllowed
from wsserver.web.api.console_pages import ConsolePage
from wsserver.web.api.handlers import BaseHandler
from wsserver.web.api.problems import PathNotFound
from wsserver.web.http.replies import PAGE_POLICY

STATIC = Path(__file__).parents[2] / "static"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Media types by suffix; files with other suffixes are not served."""
# In a checkout `client` is a link to the sources of the npm package, which rglob does not follow.
ASSETS = {
    str(path.relative_to(STATIC)): path
    for path in (*STATIC.rglob("*"), *STATIC.glob("client/*"))
    if path.suffix in TYPES
}
"""All files by name: a requested name is looked up, and never becomes part of a path."""
CONSOLE = "console/index.html"
CHAT = "console/chat/index.html"


class AssetHandler(BaseHandler):
    """Serves one file; browsers cache it, and revalidate it each time (ETag)."""

    def initialize(self, route: str, assets: Mapping[str, Path], name: str = "") -> None:
        """Set the files, and the name of this one unless it is in the path (Tornado's hook)."""
        self.route = route
        self._assets = assets
        self._name = name

    async def check(self) -> None:
        """Refuse all methods but reading ones."""
        if self.request.method not in self.allowed_methods:
            raise MethodNotAllowed(f"{self.request.method} is not served here")

    async def respond(self) -> None:
        """Send the file, read each time: it is small, and may change during development."""
        if self.request.method == "OPTIONS":
            self.set_status(204)
            self.set_header("Allow", ", ".join(self.allowed_methods))
            return
        path = self._assets.get(self._name or self.path_kwargs.get("name", ""))
        if path is None:
            raise PathNotFound("no such file")
        self.set_header("Content-Type", TYPES[path.suffix])
        self.set_header("Content-Security-Policy", PAGE_POLICY)
        self.set_header("Cache-Control", "no-cache")
        self.write(path.read_bytes())

    def compute_etag(self) -> str | None:
        """A digest of the response, which only static files have (Tornado's hook)."""
        return RequestHandler.compute_etag(self) if self.get_status() == 200 else None


def page_assets(pages: Mapping[str, Sequence[ConsolePage]]) -> dict[str, Path]:
    """The files of the console pages of extensions, by name."""
    return {
        f"{page.prefix(extension)}/{path.relative_to(folder)}": path
        for extension, of_extension in pages.items()
        for page in of_extension
        for folder in [page.module.parent]
        for path in folder.rglob("*")
        if path.suffix in TYPES
    }


def asset_rules(pages: Mapping[str, Sequence[ConsolePage]]) -> list[Rule]:
    """``/console`` with all addresses of its pages, and ``/static/`` with the files they load."""
    assets = {**ASSETS, **page_assets(pages)}
    console = {"route": "/console", "assets": assets, "name": CONSOLE}
    chat = {"route": "/console/chat", "assets": assets, "name": CHAT}
    static = {"route": "/static/{name}", "assets": assets}
    return [
        Rule(PathMatches(r"/console/chat/?"), AssetHandler, chat),
        Rule(PathMatches(r"/console(?:/.*)?"), AssetHandler, console),
        Rule(PathMatches(r"/static/(?P<name>[^?]+)"), AssetHandler, static),
    ]
