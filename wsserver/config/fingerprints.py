"""Fingerprints of the settings that all nodes of a cluster have to share."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator

from wsserver.config.files import read_key_file, secret_bytes
from wsserver.config.settings import Settings
from wsserver.config.upload_folder import NAME as UPLOAD_FOLDER
from wsserver.config.upload_folder import has_upload_folder, upload_folder_id

SHARED = (
    *("jwks_url", "jwt_algorithm", "jwt_issuer", "jwt_audience", "jwt_user_claim"),
    *("permissions", "extensions", "disabled_extensions", "extension_settings"),
    *("max_connections_per_user", "connection_limit_policy", "edit_window_s"),
    *("stream_limit", "stream_retention_s", "inbox_retention_s", "archive_retention_days"),
    *("notification_retention_days", "file_retention_days", "file_store_url"),
    *("webhook_urls", "webhook_secret", "publish_hook_url", "vapid_private_key", "turn_secret"),
    "default_holder",
)
"""Settings that change what clients get, what is stored or what others verify, and that each node
applies for itself; besides the keys of tokens. Limits of one process are not among them."""
_CHARS = 8
"""Short, so that a guessed secret is not confirmed by it."""


def fingerprints(settings: Settings, cluster: str) -> dict[str, str]:
    """By name of the setting: what is equal on nodes with the same value, and tells nothing of it.

    Keyed with ``cluster``, the id of the cluster, so that two clusters cannot be compared. A key
    counts by what is in its file, the folder of uploaded files by the id in it. Raises ``Faulty``
    (a ValueError) for a file that is not readable.
    """
    return {
        name: hmac.new(cluster.encode(), name.encode() + b"\0" + value, hashlib.sha256).hexdigest()[
            :_CHARS
        ]
        for name, value in _values(settings)
    }


def _values(settings: Settings) -> Iterator[tuple[str, bytes]]:
    yield "jwt_secret", secret_bytes(settings) or b""
    public = settings.jwt_public_key_file
    yield "jwt_public_key_file", b"" if public is None else read_key_file(public)
    if has_upload_folder(settings):
        yield UPLOAD_FOLDER, upload_folder_id(settings)
    for name in SHARED:
        yield name, json.dumps(getattr(settings, name), sort_keys=True, default=str).encode()
