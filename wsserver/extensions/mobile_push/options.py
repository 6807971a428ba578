"""Options of the extension: the tables ``[mobile_push.NAME]``, one for each app."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from wsserver.config import Settings, TableFault
from wsserver.config.faults import Faulty
from wsserver.config.files import read_key_file
from wsserver.extending.secrets import SecretOptions

Kind = Literal["apns", "fcm", "jpush"]

APP_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
MISSING = "is missing"


class PushApp(SecretOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An app, and the credentials for its push platform."""

    kind: Kind
    url: str = ""
    """Of the platform; empty: its usual one."""
    ca_file: str = ""
    """Authorities to trust instead of those of the system, as for a proxy that ends TLS."""

    key_file: str = ""
    """apns: the signing key, a ``.p8`` file."""
    key_id: str = ""
    team_id: str = ""
    topic: str = ""
    """apns: the bundle id of the app."""
    sandbox: bool = False
    """apns: of development builds. jpush: the same, for iOS."""

    service_account_file: str = ""
    """fcm: the JSON file of the service account."""

    app_key: str = ""
    master_secret: str = ""
    master_secret_file: str = ""


NEEDED: dict[Kind, tuple[str, ...]] = {
    "apns": ("key_file", "key_id", "team_id", "topic"),
    "fcm": ("service_account_file",),
    "jpush": ("app_key",),
}
_TAKEN: dict[Kind, frozenset[str]] = {
    "apns": frozenset({*NEEDED["apns"], "sandbox"}),
    "fcm": frozenset(NEEDED["fcm"]),
    "jpush": frozenset({"app_key", "master_secret", "master_secret_file", "sandbox"}),
}
_COMMON = frozenset({"kind", "url", "ca_file"})


class ServiceAccount(NamedTuple):
    """A service account of Google's, from its JSON file."""

    project_id: str
    client_email: str
    token_uri: str
    key: rsa.RSAPrivateKey


def check_apps(apps: dict[str, PushApp], _: Settings) -> Iterator[TableFault]:
    """Faults that the types cannot express; files are read."""
    if apps and (find_spec("httpx2") is None or find_spec("h2") is None):
        message = "needs the extra mobile, which is not installed: pip install 'wsserver[mobile]'"
        yield TableFault("", message)
    for name, app in apps.items():
        if APP_NAME.fullmatch(name) is None:
            yield TableFault(name, "is no name of an app: 1 to 64 of A-Z a-z 0-9 . _ -")
        for field, message in _faults_of(app):
            yield TableFault(f"{name}.{field}", message)


def _faults_of(app: PushApp) -> Iterator[tuple[str, str]]:
    missing = {name for name in NEEDED[app.kind] if not getattr(app, name)}
    yield from ((name, f"{MISSING}: {app.kind} needs it") for name in sorted(missing))
    odd = [
        name
        for name in app.__struct_fields__
        if name not in _COMMON | _TAKEN[app.kind] and getattr(app, name)
    ]
    yield from ((name, f"is not for {app.kind}") for name in odd)
    if app.url and not _is_url(app.url):
        yield "url", "must be a URL like https://push.example.com, with nothing behind the port"
    if app.ca_file and not Path(app.ca_file).is_file():
        yield "ca_file", "is a file that does not exist"
    if app.kind == "jpush" and bool(app.master_secret) == bool(app.master_secret_file):
        what = "is a second one" if app.master_secret else f"{MISSING}: jpush needs it, or the file"
        yield "master_secret", what
    for name, read in (
        ("key_file", lambda: apns_key(app)),
        ("service_account_file", lambda: service_account(app)),
        ("master_secret_file", lambda: master_secret(app)),
    ):
        if getattr(app, name) and name not in odd:
            try:
                read()
            except Faulty as faulty:
                yield from ((name, message) for message in faulty.messages)


def apns_key(app: PushApp) -> ec.EllipticCurvePrivateKey:
    """The signing key of an app; raises ``Faulty``."""
    try:
        key = load_pem_private_key(read_key_file(Path(app.key_file)), password=None)
    except (ValueError, TypeError) as error:
        if isinstance(error, Faulty):
            raise
        raise Faulty("names a file without a private key (PEM)") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Faulty("must name a key on the curve P-256, as Apple issues them")
    return key


def service_account(app: PushApp) -> ServiceAccount:
    """The service account of an app; raises ``Faulty``, which quotes nothing of it."""
    try:
        known = json.loads(read_key_file(Path(app.service_account_file)))
        texts = [known[name] for name in ("project_id", "client_email", "token_uri")]
        key = load_pem_private_key(known["private_key"].encode(), password=None)
    except Faulty:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Faulty("names a file that is no service account's JSON file") from None
    if not isinstance(key, rsa.RSAPrivateKey) or not all(isinstance(t, str) for t in texts):
        raise Faulty("names a file that is no service account's JSON file")
    return ServiceAccount(texts[0], texts[1], texts[2], key)


def master_secret(app: PushApp) -> str:
    """The secret of JPush; raises ``Faulty``."""
    if app.master_secret:
        return app.master_secret
    return read_key_file(Path(app.master_secret_file)).decode("utf-8", "replace").strip()


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return (
            bool(parts.hostname)
            and parts.scheme in ("http", "https")
            and (parts.path in ("", "/") and not parts.query and not parts.fragment)
        )
    except ValueError:
        return False
