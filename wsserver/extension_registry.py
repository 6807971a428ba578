"""The built-in extensions, by name; they are imported only where they are enabled."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from wsserver.config import KnownExtensions, Settings
from wsserver.extending.extension import Query
from wsserver.extending.loading import Extensions, find, installed_schemas, load, stored_checks
from wsserver.storage.engine.extension_schema import ExtensionSchema

BUILT_IN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "accounts": "wsserver.extensions.accounts.extension:ACCOUNTS",
        "rules": "wsserver.extensions.rules.extension:RULES",
        "responders": "wsserver.extensions.responders.extension:RESPONDERS",
        "tasks": "wsserver.extensions.tasks.extension:TASKS",
        "mobile_push": "wsserver.extensions.mobile_push.extension:MOBILE_PUSH",
        "calls": "wsserver.extensions.calls.extension:CALLS",
        "quotas": "wsserver.extensions.quotas.extension:QUOTAS",
        "files": "wsserver.extensions.files.extension:FILES",
    }
)
"""Name → ``module:attribute``; a new one is one line here and one package."""


def load_extensions(settings: Settings) -> Extensions:
    """The enabled extensions; raises ``ConfigFaults`` with everything that is wrong with them."""
    return load(settings, BUILT_IN)


def find_extensions(settings: Settings) -> KnownExtensions:
    """What the enabled extensions add to the configuration: for ``load_settings``."""
    return find(settings, BUILT_IN)


def check_stored(settings: Settings, query: Query) -> list[str]:
    """Faults of what the enabled extensions store outside of the database."""
    checks = stored_checks(settings, BUILT_IN)
    return [fault for check in checks for fault in check(settings, query)]


def extension_schemas(settings: Settings) -> list[ExtensionSchema]:
    """The tables of all extensions that are installed, whether enabled or not."""
    return installed_schemas(settings, BUILT_IN)
