"""Load settings from their sources, or raise the list of everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from msgspec.structs import replace

from wsserver.config import (
    channels,
    database,
    file_store,
    files,
    gateway,
    redis,
    traces,
    turn,
    validators,
    vapid,
    workers,
)
from wsserver.config.faults import ConfigFaults, Fault, Faulty, NotInstalled
from wsserver.config.files import read_key_file, read_password, secret_bytes
from wsserver.config.settings import FIELDS, KEY_SOURCES, Settings
from wsserver.config.sources import PREFIX, Layers
from wsserver.config.tables import FindExtensions, no_extensions
from wsserver.config.values import convert
from wsserver.identity.keys import FAMILIES, PUBLIC_KEY_ALGORITHMS, FileKeys, SecretKeys
from wsserver.identity.origins import is_loopback
from wsserver.identity.permissions import ALL_PERMISSIONS


class Loaded(NamedTuple):
    """Settings with where each value came from."""

    settings: Settings
    sources: dict[str, str]
    """Key → ``file PATH``, ``env NAME``, ``flag --NAME`` or ``dev``; absent: default."""


def load_settings(
    config_file: Path | None = None,
    environ: Mapping[str, str] = MappingProxyType({}),
    flags: Mapping[str, Any] = MappingProxyType({}),
    dev: bool = False,
    extensions: FindExtensions = no_extensions,
) -> Settings:
    """Read settings from a TOML file, the variables ``WSSERVER_…`` of ``environ``, and ``flags``.

    Precedence: flag, environment, file, default; None and () as a flag mean "not given". With
    ``dev`` and no source of keys, a secret is made in ``data_dir`` (0600) and used again later.
    ``extensions`` knows the tables and permissions of extensions. Raises ``ConfigFaults`` with
    every fault there is.
    """
    settings, sources = read_settings(config_file, environ, flags, dev, extensions)
    if sources.get("jwt_secret_file") == "dev" and settings.jwt_secret_file is not None:
        files.make_folders(settings)
        files.make_dev_secret(settings.jwt_secret_file)
    return settings


def read_settings(
    config_file: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, Any],
    dev: bool,
    extensions: FindExtensions = no_extensions,
) -> Loaded:
    """Read settings with their sources, like ``load_settings``, without creating a secret."""
    check = _Check(_layers(config_file, environ, flags), dev, extensions)
    return Loaded(check.passed(check.run()), check.sources)


def read_storage_settings(
    config_file: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any]
) -> Settings:
    """Read the settings of the database commands, which need no source of keys.

    Paths are not checked. Raises ``ConfigFaults`` for a file or an environment with faults.
    """
    check = _Check(_layers(config_file, environ, flags), dev=False)
    return check.passed(check.values())


def _layers(
    config_file: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any]
) -> Layers:
    layers = Layers()
    if config_file is not None:
        layers.add_file(config_file)
    layers.add_environment(environ)
    layers.add_flags(flags)
    return layers


def check_settings(settings: Settings, extensions: FindExtensions = no_extensions) -> Settings:
    """Check settings that a program has made itself, and bring them to one spelling.

    As ``load_settings`` does: texts become paths, lists tuples, hosts lower case, the algorithm
    follows from the key. Settings that are checked already stay as they are. Raises
    ``ConfigFaults`` with every fault there is.
    """
    layers = Layers()
    layers.add_settings(settings)
    check = _Check(layers, dev=False, extensions=extensions)
    return check.passed(check.run())


class _Check:
    """One pass over all values; ``faults`` collects, nothing is raised."""

    def __init__(
        self, layers: Layers, dev: bool, extensions: FindExtensions = no_extensions
    ) -> None:
        self.faults = list(layers.faults)
        self.sources = {key: given.source for key, given in layers.given.items()}
        self.sources |= layers.tables.sources
        self._given = layers.given
        self._tables = layers.tables
        self._extensions = extensions
        self._dev = dev

    def passed(self, settings: Settings) -> Settings:
        """The settings, if there is no fault; raises ``ConfigFaults``."""
        if self.faults:
            raise ConfigFaults(self.faults)
        return settings

    def run(self) -> Settings:
        """The settings of a server, with files and keys checked."""
        settings = self.values()
        self._check_places(settings)
        for key, faulty in channels.check_channels(settings, self._given):
            if not any(fault.key == key for fault in self.faults):
                self._fault(key, *faulty.messages)
        return self._with_extensions(self._with_keys(settings))

    def values(self) -> Settings:
        """Each value checked by itself, without looking at files."""
        values = {}
        for key, given in self._given.items():
            try:
                values[key] = _accept(key, given.value)
            except Faulty as faulty:
                self._fault(key, *faulty.messages)
        if self._dev and "allow_loopback_urls" not in self._given:
            values["allow_loopback_urls"] = True
            self.sources["allow_loopback_urls"] = "dev"
        if self._dev and "chaos" not in self._given:
            values["chaos"] = True
            self.sources["chaos"] = "dev"
        settings = Settings(**values, extension_settings=self._tables.values)
        if settings.database_url is not None and "database" in self._given:
            if self.sources["database"].startswith("flag"):  # it overrides the file's setting
                return replace(settings, database_url=None, database_password_file=None)
            if settings.database != settings.data_dir / "wsserver.sqlite3":
                self._fault("database", "is a second database: database_url is set too")
        return settings

    def _check_places(self, settings: Settings) -> None:
        self._try("data_dir", lambda: files.check_folder(settings.data_dir))
        if settings.database_url is None:
            check = files.check_database
            self._try("database", lambda: check(settings.database, settings.data_dir))
        if settings.database_password_file is not None:
            file = settings.database_password_file
            self._try("database_password_file", lambda: read_password(file))
            if settings.database_url is None:
                self._fault("database_url", "is missing: database_password_file needs it")
        self._check_redis(settings)
        self._try("workers", lambda: workers.check_workers(settings))
        if self._dev and not is_loopback(settings.host):
            self._fault("host", "must be a loopback address in development mode (--dev)")

    def _check_redis(self, settings: Settings) -> None:
        url, password_file = settings.redis_url, settings.redis_password_file
        if url is not None:
            self._try("redis_url", lambda: redis.check_redis_files(url))
        if password_file is not None:
            self._try("redis_password_file", lambda: read_password(password_file))
            if url is None and not any(fault.key == "redis_url" for fault in self.faults):
                self._fault("redis_url", "is missing: redis_password_file needs it")
            if url is not None and redis.has_password(url):
                self._fault("redis_password_file", "is a second password: redis_url has one too")

    def _with_keys(self, settings: Settings) -> Settings:
        """Check the source of keys; fill in what follows from it."""
        named = [key for key in KEY_SOURCES if key in self._given]
        if not named and self._dev:
            named = ["jwt_secret_file"]
            self.sources[named[0]] = "dev"
            settings = replace(settings, jwt_secret_file=files.dev_secret(settings))
        if not named and not any(fault.key in KEY_SOURCES for fault in self.faults):
            self._fault(
                "jwt_secret",
                f"is missing: set one of {', '.join(KEY_SOURCES)} (or start with --dev)",
            )
        for key in named[1:]:
            self._fault(key, f"is a second source of keys: {named[0]} is set too")
        if "jwt_algorithm" in self._given:
            self._try("jwt_algorithm", lambda: check_one_family(settings.jwt_algorithm))
        for key in named:
            settings = self._with_key(key, settings, alone=len(named) == 1)
        return settings

    def _with_extensions(self, settings: Settings) -> Settings:
        """Check what is about extensions: their tables and permissions, and themselves."""
        found = self._extensions(settings)
        self.faults += found.faults
        known = ALL_PERMISSIONS | found.permissions
        wrong = validators.unknown_permissions(settings.permissions, known)
        if wrong:
            self._fault("permissions", *wrong)
        tables = {}
        for name, table in self._tables.values.items():
            if name in settings.disabled_extensions:
                tables[name] = table
            elif name not in found.tables:
                self._unknown_table(name, found.tables)
        for name, check in found.tables.items():
            tables[name], faults = check(self._tables.values.get(name, {}), settings)
            for path, message in faults:
                key = f"{name}.{path}" if path else name
                self.faults.append(Fault(key, self._tables.source_of(key), message))
        return replace(settings, extension_settings=tables)

    def _unknown_table(self, name: str, known: Mapping[str, Any]) -> None:
        source = self._tables.source_of(name)
        variable = source.removeprefix("env ") if source.startswith("env ") else ""
        if variable:
            names = (each.upper() for each in (*FIELDS, *known))
            hint = validators.did_you_mean(name.upper(), names, PREFIX)
        else:
            hint = validators.did_you_mean(name, (*FIELDS, *known))
        self.faults.append(Fault(variable or name, source, "is unknown" + hint))

    def _with_key(self, key: str, settings: Settings, *, alone: bool) -> Settings:
        if getattr(settings, key) is None:  # faulty already
            return settings
        only = {other: getattr(settings, other) if other == key else None for other in KEY_SOURCES}
        chosen = replace(settings, **only)
        is_to_be_made = self.sources[key] == "dev" and not files.dev_secret(settings).exists()
        if is_to_be_made:
            chosen = replace(chosen, jwt_secret_file=None, jwt_secret="-" * 32)
        possible = self._try(key, lambda: possible_algorithms(chosen))
        if not alone or possible is None:
            return settings
        if "jwt_algorithm" not in self._given:
            if key == "jwks_url":
                return settings
            return replace(settings, jwt_algorithm=possible[:1])
        wrong = [name for name in settings.jwt_algorithm if name not in possible]
        if wrong:
            self._fault(
                "jwt_algorithm",
                f"{', '.join(wrong)} cannot be used with {key}, only {', '.join(possible)}",
            )
        return settings

    def _try(self, key: str, action: Callable[[], Any]) -> Any:
        """Run a check of one key; None, and a fault, if it fails. A key's first failure counts."""
        try:
            return action()
        except Faulty as faulty:
            if not any(fault.key == key for fault in self.faults):
                is_of_installation = isinstance(faulty, NotInstalled)
                self._fault(key, *faulty.messages, is_of_installation=is_of_installation)
            return None

    def _fault(self, key: str, *messages: str, is_of_installation: bool = False) -> None:
        source = self.sources.get(key, "default")
        self.faults += [Fault(key, source, message, is_of_installation) for message in messages]


def _accept(key: str, value: Any) -> Any:
    """Bring a given value to its type and its one spelling. Raises ``Faulty``."""
    converted = convert(key, value)
    if key in _SPELLINGS:
        return _SPELLINGS[key](converted)
    return converted


def _each(check: Callable[[str], str]) -> Callable[[tuple[str, ...]], tuple[str, ...]]:
    def check_all(entries: tuple[str, ...]) -> tuple[str, ...]:
        checked: list[str] = []
        messages: list[str] = []
        for entry in entries:
            try:
                checked.append(check(entry))
            except Faulty as faulty:
                messages += faulty.messages
        if messages:
            raise Faulty(*messages)
        return tuple(dict.fromkeys(checked))

    return check_all


def _at_least_one(entries: tuple[str, ...]) -> tuple[str, ...]:
    if not entries:
        raise Faulty("must name an algorithm")
    return _each(validators.algorithm)(entries)


_SPELLINGS: dict[str, Callable[[Any], Any]] = {
    "host": validators.host,
    "allowed_origins": _each(validators.origin),
    "allowed_hosts": _each(validators.allowed_host),
    "trusted_proxies": _each(validators.network),
    "database_url": database.database_url,
    "redis_url": redis.redis_url,
    "jwks_url": validators.jwks_url,
    "jwt_algorithm": _at_least_one,
    "jwt_user_claim": validators.user_claim,
    "permissions": validators.permission_table,
    "smtp_url": channels.smtp_url,
    "mail_from": channels.mail_from,
    "frontend_url": channels.frontend_url,
    "sms_url": gateway.gateway_url,
    "sms_headers": gateway.gateway_headers,
    "sms_success": gateway.success_pattern,
    "apprise_urls": _each(channels.apprise_url),
    "vapid_subject": vapid.vapid_subject,
    "turn_url": _each(turn.turn_url),
    "webhook_urls": _each(channels.webhook_url),
    "webhook_networks": _each(validators.network),
    "traces_url": traces.traces_url,
    "file_store_url": file_store.file_store_url,
    "node": validators.node,
    "plugins": _each(validators.plugin),
    "extensions": _each(validators.extension),
}


def check_one_family(algorithms: tuple[str, ...]) -> None:
    """Raise ``Faulty`` for algorithms of several families."""
    families = {FAMILIES[name] for name in algorithms}
    if len(families) > 1:
        raise Faulty(f"mixes families ({', '.join(sorted(families))}); only one is allowed")


def possible_algorithms(settings: Settings) -> tuple[str, ...]:
    """The algorithms of the configured source of keys, its default (if it has one) first.

    Raises ``Faulty`` for keys that cannot be read or used.
    """
    if settings.jwks_url is not None:
        return tuple(sorted(PUBLIC_KEY_ALGORITHMS))
    try:
        if settings.jwt_public_key_file is not None:
            source: FileKeys | SecretKeys = FileKeys(read_key_file(settings.jwt_public_key_file))
        else:
            source = SecretKeys(secret_bytes(settings) or b"")
    except Faulty:
        raise
    except ValueError as error:
        raise Faulty(f"cannot be used: {error}") from None
    own = source.own_algorithm
    return (own, *sorted(source.algorithms - {own}))
