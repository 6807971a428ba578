"""Resolution of server address and token from options, environment, contexts and ``./var``."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from wsctl.config.contexts import Contexts
from wsctl.config.tokens import read_secret, sign
from wsctl.errors import BadUsage, NotPermitted
from wsctl.text import without_bom

DEFAULT_URL = "http://127.0.0.1:8765"
DEV_FOLDER = Path("var")
DEV_SERVER, DEV_SECRET, DEV_TOKEN = "dev-server.json", "dev-jwt-secret", "dev-admin-token"
_DEV_TOKEN_TTL_S = 300
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# What RFC 6750 §2.1 allows in a bearer token; anything else could break out of the header.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)


def check_url(url: str) -> str:
    """``url`` without a trailing slash; raises ``BadUsage`` if it is not http or https."""
    try:
        parts = urlsplit(url)
        good = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0
            and not (parts.query or parts.fragment or parts.username or parts.password)
            and url.isascii()
            and url.isprintable()
            and " " not in url
        )
    except ValueError:
        good = False
    if not good:
        # Not quoted: it may contain a password.
        raise BadUsage("the server's address must look like http://host:port or https://host")
    return url.rstrip("/")


@dataclass
class Target:
    """A server's address and the source of its token."""

    url: str
    given_token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    dev_secret_file: Path | None = None
    url_from: str = ""
    """Source of the address, in words."""
    token_from: str = ""
    """Source of the token, in words, never the token itself; empty: no token."""
    is_dev: bool = False
    """Whether it is the development server of this folder."""
    _made: tuple[float, str] = field(default=(0.0, ""), repr=False)

    def token(self) -> str:
        """The token to present now.

        A token file is read again each time, and a development token renewed before it expires,
        so that long-running commands outlive their first token. Raises ``NotPermitted`` if there
        is none.
        """
        if self.given_token is not None:
            return _checked(self.given_token)
        if self.token_file is not None:
            return _checked(read_token_file(self.token_file))
        if self.dev_secret_file is not None:
            return self._dev_token(self.dev_secret_file)
        raise NotPermitted(
            f"no token for {self.url}: give --token-file, set WSCTL_TOKEN, save a context with one,"
            " or run wsctl in the development server's folder"
        )

    def _dev_token(self, secret_file: Path) -> str:
        good_until, token = self._made
        if time.monotonic() > good_until:
            claims = {"sub": "wsctl", "username": "wsctl", "role": "admin"}
            token = sign(read_secret(secret_file), claims, _DEV_TOKEN_TTL_S)
            self._made = (time.monotonic() + _DEV_TOKEN_TTL_S / 2, token)
        return token


def _checked(token: str) -> str:
    if not _TOKEN.fullmatch(token):
        raise NotPermitted("invalid token: illegal characters")
    return token


def read_token_file(path: Path) -> str:
    """The token in a file, without white space around it; raises ``BadUsage``."""
    try:
        return path.read_text("utf-8-sig").strip()
    except OSError as error:
        raise BadUsage(f"cannot read the token file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadUsage(f"the token file {path} is not valid UTF-8") from None


def resolve(
    *,
    url: str | None,
    token: str | None,
    token_file: Path | None,
    context: str | None,
    environ: Mapping[str, str],
    folder: Path = DEV_FOLDER,
) -> Target:
    """Choose address and token: flags, then ``--context``, environment, current context, ``./var``.

    A saved or development token is sent only to the address it was saved with, never to one from
    an option or the environment.
    """
    if token is not None and token_file is not None:
        raise BadUsage("give --token or --token-file, not both")
    env_url, env_token = environ.get("WSCTL_URL"), environ.get("WSCTL_TOKEN")
    kept_url = kept_token_file = name = None
    if context is not None or not (url or env_url):
        contexts = Contexts()
        name = context or contexts.current
        if name is not None:
            server = contexts.get(name)
            kept_url, kept_token_file = server.url, server.token_file
    # --context precedes the environment; the current context does not.
    dev_url = _dev_server(folder)
    url_from, chosen = next(
        (where, found)
        for where, found in (
            ("--url", url),
            (f"the context {name}", kept_url if context else None),
            ("WSCTL_URL", env_url),
            (f"the current context {name}", kept_url),
            (f"./{folder} of a development server", dev_url),
            ("the default", DEFAULT_URL),
        )
        if found
    )
    target = Target(check_url(chosen), url_from=url_from)
    target.is_dev = target.url == (dev_url or DEFAULT_URL)
    is_kept = kept_url is not None and check_url(kept_url) == target.url
    if token is not None or token_file is not None:
        target.given_token, target.token_file = token, token_file
        target.token_from = "--token" if token is not None else f"the file {token_file}"
    elif context and is_kept and kept_token_file:
        target.token_file = Path(kept_token_file)
    elif env_token:
        target.given_token, target.token_from = without_bom(env_token).strip(), "WSCTL_TOKEN"
    elif is_kept and kept_token_file:
        target.token_file = Path(kept_token_file)
    elif target.is_dev:
        _find_dev_token(target, folder)
    if not target.token_from and (file := target.token_file or target.dev_secret_file):
        made = "made with the secret in " if target.dev_secret_file else ""
        target.token_from = f"{made}the file {file}"
    return target


def _find_dev_token(target: Target, folder: Path) -> None:
    """Use the running server's own token, which matches its settings; else its secret."""
    if (folder / DEV_TOKEN).is_file():
        target.token_file = folder / DEV_TOKEN
    elif (folder / DEV_SECRET).is_file():
        target.dev_secret_file = folder / DEV_SECRET


def development_secret(folder: Path = DEV_FOLDER) -> bytes | None:
    """The secret of the development server whose files are in ``folder``; None: no such file."""
    path = folder / DEV_SECRET
    return read_secret(path) if path.is_file() else None


def _dev_server(folder: Path) -> str | None:
    """The address of the development server whose files are in ``folder``.

    Loopback addresses only: a copied folder must not send a token to another machine.
    """
    try:
        url = json.loads((folder / DEV_SERVER).read_bytes())["url"]
        if urlsplit(url).hostname in _LOOPBACK:
            return check_url(url)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return None
