"""URLs of Redis and Valkey: ``redis_url``, read without connecting."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

URL_FORM = (
    "redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE], rediss://… (TLS), unix:///PATH[?db=DATABASE]"
    " or redis+sentinel://[USER[:PASSWORD]@]HOST[:PORT],…/NAME[/DATABASE]"
)
SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS_CHOICES: dict[str, dict[str, str | bool]] = {
    "ssl_cert_reqs": {"required": "required", "none": "none"},
    "ssl_check_hostname": {"true": True, "false": False},
}
_SENTINEL_PARAMETERS = ("sentinel_username", "sentinel_password")
_PORTS = {"redis": 6379, "rediss": 6379, "redis+sentinel": 26379, "rediss+sentinel": 26379}
_HOST = re.compile(r"\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_DATABASES = range(1_000_000)


class RedisUrlFaulty(ValueError):
    """A URL that cannot be used; ``messages`` name everything that is wrong, and quote nothing."""

    def __init__(self, *messages: str) -> None:
        self.messages = messages
        super().__init__("; ".join(messages))


@dataclass(frozen=True)
class RedisAddress:
    """Where a server is, and how to log in."""

    hosts: tuple[tuple[str, int], ...] = ()
    """Host and port: of the server, or of the Sentinels."""
    path: str | None = None
    """Of a Unix socket, instead of ``hosts``."""
    primary: str | None = None
    """The name that the Sentinels have for the primary; None: no Sentinels."""
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: dict[str, str | bool] | None = None
    """``ssl_…`` parameters; None: no TLS."""
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)

    @property
    def files(self) -> list[tuple[str, str]]:
        """The parameters that name files, with their paths."""
        return [(name, str(self.tls[name])) for name in TLS_FILES if self.tls and name in self.tls]

    @property
    def location(self) -> str:
        """Where it is, without user, password and parameters."""
        if self.path is not None:
            return f"unix://{self.path}"
        hosts = ",".join(f"[{h}]:{p}" if ":" in h else f"{h}:{p}" for h, p in self.hosts)
        scheme = "redis" if self.tls is None else "rediss"
        if self.primary is not None:
            return f"{scheme}+sentinel://{hosts}/{self.primary}"
        return f"{scheme}://{hosts}"


def parse_redis_url(text: str) -> RedisAddress:
    """Read a URL, as ``URL_FORM`` has it; user and password may be percent-encoded.

    Raises ``RedisUrlFaulty``, a ``ValueError``, with every fault.
    """
    scheme, mark, rest = text.partition("://")
    scheme = scheme.lower()
    if not mark or scheme not in SCHEMES:
        raise RedisUrlFaulty(f"must be a URL like {URL_FORM}")
    if re.search(r"[\x00-\x20\x7f]", text):
        raise RedisUrlFaulty("must be a URL without blanks or control characters")
    try:
        parts = urlsplit(f"x://{rest}")
    except ValueError:
        raise RedisUrlFaulty(f"must be a URL like {URL_FORM}") from None
    reading = _Reading(scheme, parts.query)
    credentials, _, place = parts.netloc.rpartition("@")
    user, _, password = (unquote(each) for each in credentials.partition(":"))
    if parts.fragment:
        reading.faults.append("must have no #; write %23 for one in a password")
    if scheme == "unix":
        address = reading.socket(place, parts.path)
    elif reading.is_sentinel:
        address = reading.sentinels(place, parts.path)
    else:
        address = reading.server(place, parts.path)
    username = reading.parameter("username") or user or None
    secret = reading.parameter("password") or password or None
    own = {name: reading.parameter(name) for name in _SENTINEL_PARAMETERS if reading.is_sentinel}
    tls = reading.tls()
    reading.check_rest()
    if reading.faults:
        raise RedisUrlFaulty(*reading.faults)
    return RedisAddress(
        hosts=address.hosts,
        path=address.path,
        primary=address.primary,
        database=address.database,
        username=username,
        password=secret,
        tls=tls,
        **own,
    )


class _Reading:
    """One pass over a URL; ``faults`` collects."""

    def __init__(self, scheme: str, query: str) -> None:
        self.faults: list[str] = []
        self.is_sentinel = scheme.endswith("+sentinel")
        self._is_tls = scheme.startswith("rediss")
        self._port = _PORTS.get(scheme, 0)
        self._left: dict[str, str] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            if name in self._left:
                self.faults.append("has a parameter twice")
            self._left[name] = value

    def parameter(self, name: str) -> str | None:
        """Take a parameter of the query."""
        return self._left.pop(name, None)

    def server(self, place: str, path: str) -> RedisAddress:
        """``HOST[:PORT][/DATABASE]``."""
        hosts = tuple(self._hosts(place))
        if len(hosts) > 1:
            self.faults.append("names several hosts: only redis+sentinel:// takes them")
        return RedisAddress(hosts=hosts, database=self._database(path.lstrip("/")))

    def sentinels(self, place: str, path: str) -> RedisAddress:
        """``HOST[:PORT],…/NAME[/DATABASE]``."""
        name, _, database = path.strip("/").partition("/")
        if not name:
            self.faults.append("must name the primary as its path: redis+sentinel://HOST:PORT/NAME")
        hosts = tuple(self._hosts(place))
        return RedisAddress(hosts=hosts, primary=unquote(name), database=self._database(database))

    def socket(self, place: str, path: str) -> RedisAddress:
        """``unix:///PATH``."""
        if place or not path.strip("/"):
            self.faults.append("must have an absolute path: unix:///run/redis/redis.sock")
        return RedisAddress(path=unquote(path), database=self._database(""))

    def tls(self) -> dict[str, str | bool] | None:
        """The ``ssl_…`` parameters of a URL with TLS."""
        if not self._is_tls:
            if any(name.startswith("ssl") for name in self._left):
                self.faults.append("has ssl_… parameters, which need rediss://")
                self._left = {k: v for k, v in self._left.items() if not k.startswith("ssl")}
            return None
        found: dict[str, str | bool] = {}
        for name in TLS_FILES:
            if (file := self.parameter(name)) is not None:
                found[name] = file
                if not file:
                    self.faults.append(f"must name a file in {name}")
        for name, choices in _TLS_CHOICES.items():
            if (choice := self.parameter(name)) is not None:
                if choice.lower() not in choices:
                    self.faults.append(f"must have one of {', '.join(choices)} in {name}")
                found[name] = choices.get(choice.lower(), "")
        if ("ssl_certfile" in found) != ("ssl_keyfile" in found):
            self.faults.append("must have both ssl_certfile and ssl_keyfile, or neither")
        if found.get("ssl_cert_reqs") == "none":
            found["ssl_check_hostname"] = False
        return found

    def check_rest(self) -> None:
        """Nothing else is taken; the names are not quoted: a password may have a ``?`` in it."""
        if self._left:
            self.faults.append(
                f"has unknown parameters ({len(self._left)}); known are db, username, password,"
                f" {', '.join((*TLS_FILES, *_TLS_CHOICES))} (rediss), and"
                f" {', '.join(_SENTINEL_PARAMETERS)} (sentinel)"
            )

    def _hosts(self, place: str) -> Iterator[tuple[str, int]]:
        faults = set()
        for each in place.split(","):
            host, port = each, ""
            if not each.endswith("]") and ":" in each:
                host, _, port = each.rpartition(":")
                if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
                    faults.add("must have a port of 1 to 65535")
                    port = ""
            if not _HOST.fullmatch(host):
                faults.add("must name a host (IPv6 in brackets)")
            yield host.strip("[]"), int(port or self._port)
        self.faults += sorted(faults)

    def _database(self, text: str) -> int:
        text = self.parameter("db") or text
        if not text:
            return 0
        if not (text.isascii() and text.isdigit() and int(text) in _DATABASES):
            self.faults.append("must have a number as its database")
            return 0
        return int(text)
