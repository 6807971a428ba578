"""Every key of the configuration with its type, bounds and default."""

from __future__ import annotations

import functools
import re
import socket
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from wsserver.fd_limits import attainable_connections

Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
Rate = Annotated[float, Meta(gt=0)]
Name = Annotated[str, Meta(min_length=1)]


_IN_DATA_DIR = Path("var/wsserver.sqlite3")
"""The default of ``database``, as this very object: any other value was chosen."""


def host_name() -> str:
    """This machine's name, with ``-`` for what a node's name may not hold."""
    return re.sub(r"[^A-Za-z0-9._:@-]", "-", socket.gethostname())[:128] or "localhost"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one server. ``docs/configuration.rst`` says what each one means.

    Field names are the keys of the file, with the unit in the name. ``load_settings`` and
    ``check_settings`` return it checked and normalized (hosts and origins in lower case).
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8765
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    worker_timeout_s: Annotated[float, Meta(ge=0)] = 30.0
    """Until a worker whose event loop stands still is killed; 0: never."""
    """Processes of ``wsserver serve``; limits are those of all of them together."""

    data_dir: Path = Path("var")
    database: Path = _IN_DATA_DIR
    """By default ``wsserver.sqlite3`` in ``data_dir``."""
    database_url: str | None = None
    """PostgreSQL instead of the SQLite file."""
    database_password_file: Path | None = None
    redis_url: str | None = None
    """Redis or Valkey, which carries what passes between several processes."""
    redis_password_file: Path | None = None
    synchronous: Literal["normal", "full"] = "normal"

    jwt_secret: str | None = None
    jwt_secret_file: Path | None = None
    jwt_public_key_file: Path | None = None
    jwks_url: str | None = None
    jwt_algorithm: tuple[str, ...] = ()
    """Algorithms of one family. Empty only with ``jwks_url``: each key's own."""
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_user_claim: Name = "sub"
    """The claim that holds the user id."""
    jwt_leeway_s: Annotated[float, Meta(ge=0)] = 5.0
    """How far the issuer's clock may differ: for ``exp``, ``nbf`` and ``iat``."""

    allowed_origins: tuple[str, ...] = ()
    """As a browser writes them. Empty: the same origin only."""
    allowed_hosts: tuple[str, ...] = ()
    """``name`` (any port) or ``name:port``. Empty: what follows from ``host``."""
    allow_loopback_hosts: bool = True
    """Whether programs on this machine may use a loopback Host that is not in the list."""
    allow_query_token: bool = True
    trusted_proxies: tuple[str, ...] = ()
    """Networks in CIDR form whose ``X-Forwarded-For`` is believed."""
    permissions: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    """Role → its permissions, in place of the built-in set of that role."""

    max_connections: Count = msgspec.field(
        default_factory=functools.partial(attainable_connections, 50_000)
    )
    """By default 50,000, or fewer where the limit of descriptors does not allow them."""
    max_connections_per_user: Count = 5
    max_sessions_per_connection: Count = 1000
    max_idempotency_keys_per_user: Count = 1_000_000
    connection_limit_policy: Literal["reject", "evict_oldest"] = "reject"
    heartbeat_interval_s: Seconds = 30.0
    heartbeat_timeout_s: Seconds = 60.0
    max_message_bytes: Count = 65_536
    queue_limit_bytes: Count = 1_048_576
    message_rate: Rate = 40.0
    message_burst: Count = 80
    handshake_timeout_s: Seconds = 10.0
    keepalive_timeout_s: Seconds = 75.0
    """How long an HTTP connection may wait for its next request; proxies in front wait 60 s."""
    coalesce_ms: Annotated[float, Meta(ge=0)] = 5.0
    io_uring: bool = True
    compression: bool = False
    compression_min_bytes: Count = 256
    drain_timeout_s: Seconds = 8.0
    chaos: bool = False
    """May the connections of users be disturbed? True in development mode."""
    trace_retention_s: Annotated[float, Meta(ge=0)] = 600.0
    """0: the server remembers no traces of live messages."""

    stream_limit: Count = 1000
    """Messages that can be resumed; of other streams than sessions, also those that are kept."""
    stream_retention_s: Seconds = 86_400.0
    inbox_retention_s: Seconds = 604_800.0
    away_notify_s: Annotated[float, Meta(ge=0)] = 0.0
    """Time after which members of a session are notified of a message that they have not seen.
    0: never."""
    away_channels: tuple[Literal["push", "sms", "email"], ...] = ("push",)
    edit_window_s: Annotated[float, Meta(ge=0)] = 900.0
    """How long users may change what they have sent. 0: not at all."""
    archive_retention_days: Annotated[float, Meta(ge=0)] = 365.0
    """For which messages of sessions are kept; 0: as long as they can be resumed."""
    answer_max_bytes: Count = 1_048_576
    """Of the text of an answer, in UTF-8."""
    answer_timeout_s: Seconds = 60.0
    """Without an append for so long an answer is interrupted."""
    answer_rollup_ms: Annotated[float, Meta(ge=0)] = 40.0
    """Appends within this time are pushed together."""
    max_file_bytes: Annotated[int, Meta(ge=1, le=2**53)] = 104_857_600
    file_retention_days: Annotated[float, Meta(gt=0)] = 30.0
    """From the end of the upload on."""
    file_store_url: str | None = None
    """``s3://…``: files in object storage instead of ``data_dir``."""
    file_quota_bytes: Annotated[int, Meta(ge=0, le=2**53)] = 10_737_418_240
    """Of all files of an organization; 0: no limit."""
    file_upload_expiry_s: Seconds = 86_400.0
    """From the beginning of an upload; one that is unfinished then is deleted."""
    file_uploads_per_user: Count = 20
    """Unfinished ones."""
    default_holder: str | None = None
    """The AI responder that holds new sessions; None: they have no holder."""
    turn_url: tuple[str, ...] = ()
    """STUN and TURN servers of calls."""
    turn_secret: str | None = None
    """Shared with the TURN servers; signs the credentials of clients."""
    turn_ttl_s: Seconds = 43_200.0
    call_ring_s: Seconds = 45.0
    """After which an unanswered call is missed."""
    call_resume_s: Seconds = 15.0
    """How long a party of a call may be disconnected."""
    call_retention_days: Annotated[float, Meta(gt=0)] = 30.0
    """How long calls that have ended are kept."""
    ack_timeout_s: Seconds = 10.0
    ack_retries: Annotated[int, Meta(ge=0)] = 3

    delivery_backoff_s: Seconds = 2.0
    """Until the second attempt of a delivery; doubled each time, up to 300 s, ± 20 %."""
    delivery_attempts: Count = 8
    digest_limit: Count = 5
    """Notifications of one template to one user, within ``digest_window_s``, that go one by one."""
    digest_window_s: Seconds = 300.0
    default_locale: Literal["zh-CN", "en"] = "zh-CN"
    """For users whose contacts name no language."""
    templates_dir: Path | None = None
    """A folder with ``common.toml``, ``zh-CN.toml``, ``en.toml`` over the built-in ones."""
    notification_retention_days: Annotated[float, Meta(gt=0)] = 90.0

    smtp_url: str | None = None
    mail_from: str | None = None
    email_concurrency: Count = 4
    """Mails handed in at the same time."""
    email_rate: Rate = 10.0
    """Mails begun in a second."""
    frontend_url: str | None = None
    """Where an ``action_url`` that is a path begins; no slash at the end."""
    sms_url: str | None = None
    sms_method: Literal["POST", "PUT", "GET"] = "POST"
    sms_headers: dict[str, str] = msgspec.field(default_factory=dict)
    sms_body: str | None = None
    sms_success: str | None = None
    """A regular expression to be found in the answer; None: a status of 2xx is enough."""
    apprise_urls: tuple[str, ...] = ()
    sms_concurrency: Count = 4
    sms_rate: Rate = 5.0
    vapid_private_key: str | None = None
    vapid_subject: str | None = None
    push_concurrency: Count = 20
    push_rate: Rate = 100.0
    webhook_urls: tuple[str, ...] = ()
    webhook_secret: str | None = None
    publish_hook_url: str | None = None
    """Asked about each message that a client sends."""
    publish_hook_timeout_ms: Annotated[float, Meta(gt=0, le=60_000)] = 500.0
    publish_hook_fail: Literal["open", "closed"] = "open"
    webhook_networks: tuple[str, ...] = ()
    """Networks in CIDR form that webhooks may reach besides the public internet."""
    allow_loopback_urls: bool = False
    """May push endpoints and webhooks be on this machine? True in development mode."""

    snapshot_interval_s: Seconds = 60.0
    snapshot_retention_days: Annotated[float, Meta(gt=0)] = 30.0
    alert_error_rate: Annotated[float, Meta(ge=0, le=1)] = 0.05
    alert_window_s: Seconds = 60.0

    log_format: Literal["text", "json"] | None = None
    """None: ``text`` on a terminal, else ``json``."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    access_log: bool = True
    """One record for each HTTP request; answers of 5xx are logged without it, too."""
    access_log_sample: Annotated[float, Meta(ge=0, le=1)] = 1.0
    traces_url: str | None = None
    traces_sample: Annotated[float, Meta(ge=0, le=1)] = 1.0
    """The share of the answers below 400 that are logged."""
    node: str = msgspec.field(default_factory=host_name)
    plugins: tuple[str, ...] = ()
    """``module:function``, called at start with the ``Server``."""
    extensions: tuple[str, ...] = ()
    """``module:attribute``, besides the built-in and the installed ones."""
    disabled_extensions: tuple[str, ...] = ()
    """Names of built-in or installed extensions that are not loaded."""
    extension_settings: dict[str, Any] = msgspec.field(default_factory=dict)
    """Name of an extension → its settings: a table of that name in the file."""

    def __post_init__(self) -> None:
        if self.database is _IN_DATA_DIR and self.data_dir != _IN_DATA_DIR.parent:
            database = Path(self.data_dir) / _IN_DATA_DIR.name
            msgspec.structs.force_setattr(self, "database", database)

    def __repr__(self) -> str:
        """Without secrets: a repr ends up in logs and tracebacks."""
        shown = ", ".join(
            f"{key}={'********' if key in (*HIDDEN, EXTENSION_TABLES) and value else repr(value)}"
            for key, value in msgspec.structs.asdict(self).items()
        )
        return f"Settings({shown})"


SECRETS = frozenset(
    {"jwt_secret", "sms_body", "vapid_private_key", "webhook_secret", "turn_secret"}
)
"""Keys whose value is never shown."""

URLS = frozenset(
    {
        "database_url",
        "redis_url",
        "jwks_url",
        "smtp_url",
        "sms_url",
        "apprise_urls",
        "webhook_urls",
        "publish_hook_url",
    }
)
"""Keys whose value is shown without the parts that may be secret."""

HIDDEN = SECRETS | URLS | {"sms_headers"}
"""Keys that hold secrets, whole or in part."""

UNQUOTED = HIDDEN | {"jwt_secret_file", "database_password_file", "redis_password_file"}
"""Keys whose value is quoted in no fault: it may be a secret, also by mistake."""

KEY_SOURCES = ("jwt_secret", "jwt_secret_file", "jwt_public_key_file", "jwks_url")

EXTENSION_TABLES = "extension_settings"
"""The field for what is no key of the file itself: the tables of extensions (``config.tables``)."""

FIELDS: dict[str, Any] = {
    field.name: field.type
    for field in msgspec.structs.fields(Settings)
    if field.name != EXTENSION_TABLES
}
"""Key → its type, with bounds."""
