"""The server's settings: read from flags, environment and a TOML file, checked as a whole."""

from __future__ import annotations

from wsserver.config.database import database_url as check_database_url
from wsserver.config.faults import ConfigFaults, Fault
from wsserver.config.files import make_folders, secret_bytes
from wsserver.config.load import (
    Loaded,
    check_settings,
    load_settings,
    read_settings,
    read_storage_settings,
)
from wsserver.config.masking import masked, secret_texts
from wsserver.config.settings import Settings
from wsserver.config.tables import FindExtensions, KnownExtensions, TableFault

__all__ = [
    "ConfigFaults",
    "Fault",
    "FindExtensions",
    "KnownExtensions",
    "Loaded",
    "Settings",
    "TableFault",
    "check_database_url",
    "check_settings",
    "load_settings",
    "make_folders",
    "masked",
    "read_settings",
    "read_storage_settings",
    "secret_bytes",
    "secret_texts",
]
