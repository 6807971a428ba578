"""``RedisLink``: the connections to one Redis or Valkey server, and the checks of that server."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis, Sentinel
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ConnectionError,
    InvalidResponse,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from wsserver.addresses.redis import RedisAddress, RedisUrlFaulty, parse_redis_url
from wsserver.cluster.errors import ClusterUnusable
from wsserver.config.faults import Faulty
from wsserver.config.files import read_password

TIMEOUT_S = 2.0
OLDEST_REDIS = 7
OLDEST_VALKEY = 8

UNREACHABLE = (
    *(ConnectionError, TimeoutError, OSError),
    *(ReadOnlyError, MasterDownError, NoPermissionError, OutOfMemoryError),
)
"""Errors of a server that cannot be reached, is no longer the primary, or takes no commands now."""

ACL_RULES = (
    "resetkeys ~wsserver:* resetchannels &wsserver:* -@all +@read +@write +@pubsub +@scripting"
    " +@connection -@dangerous +info +time"
)
"""The least rights of a user with ACL, after ``on >PASSWORD``."""

_SCRIPT = "return 1"
_SHA = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
_OF_THE_STATE = ("MISCONF", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS", "OOM", "BUSY")
"""Beginnings of errors that pass without a change of settings."""


class RedisUnusable(ClusterUnusable):
    """A server or URL that cannot work without a change of its settings."""

    def __init__(self, problem: str) -> None:
        super().__init__("redis_url", problem)


class Gate:
    """Refuses connections to a server that must not be used, as that of another cluster."""

    def __init__(self) -> None:
        self.reason: str | None = None
        """Why nothing may be sent; None: open."""

    def check(self) -> None:
        """Raise ``ConnectionError`` if it is closed."""
        if self.reason is not None:
            raise ConnectionError(self.reason)


class _MayBeClosed(AbstractConnection):
    """Raises ``ConnectionError`` for a transport that uvloop has closed, by itself or after RST."""

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise ConnectionError(str(error)) from error


class _Tcp(_MayBeClosed, Connection): ...


class _Tls(_MayBeClosed, SSLConnection): ...


class _Unix(_MayBeClosed, UnixDomainSocketConnection): ...


class _Primary(_MayBeClosed, SentinelManagedConnection): ...


class _PrimaryTls(_MayBeClosed, SentinelManagedSSLConnection): ...


class _GatedPool(ConnectionPool):
    def __init__(self, gate: Gate, **options: Any) -> None:
        super().__init__(**options)
        self._gate = gate

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        self._gate.check()
        return await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]


class _GatedSentinelPool(SentinelConnectionPool):
    def __init__(self, *args: Any, gate: Gate, **options: Any) -> None:
        super().__init__(*args, **options)  # type: ignore[no-untyped-call]
        self._gate = gate

    async def get_master_address(self) -> Any:
        """The primary that a Sentinel names. Raises ``MasterNotFoundError``."""
        try:
            return await super().get_master_address()  # type: ignore[no-untyped-call]
        except MasterNotFoundError as error:
            # Its text describes clients at length, and the reason of each.
            if AuthenticationError.__name__ in str(error):
                raise SentinelRefuses("a Sentinel refuses user or password") from None
            raise MasterNotFoundError(f"no Sentinel names a primary {self.service_name}") from None

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        self._gate.check()
        return await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]


class SentinelRefuses(MasterNotFoundError):
    """No Sentinel names a primary, and one refuses user or password."""


class _PasswordFile(CredentialProvider):
    """User, and the password that the file has at each connection."""

    def __init__(self, username: str | None, file: Path) -> None:
        self._username = username
        self._file = file

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        try:
            password = read_password(self._file)
        except Faulty as faulty:
            raise AuthenticationError(f"'redis_password_file' {faulty}") from None
        return (self._username, password) if self._username else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()


class RedisLink:
    """Commands and subscriptions on the server of a URL (``addresses.redis.URL_FORM``).

    Nothing is sent again after an error: the caller knows whether that is harmless. ``prefix``
    begins all keys and channels. ``password_file``: see ``redis_password_file``. Raises
    ``RedisUnusable`` for a malformed URL.
    """

    def __init__(
        self, url: str, prefix: str = "wsserver", password_file: Path | None = None
    ) -> None:
        self.prefix = prefix
        self.fault: str | None = None
        """What is wrong with the server now, for the health check; None: nothing."""
        try:
            self._address = parse_redis_url(url)
        except RedisUrlFaulty as faulty:
            raise RedisUnusable(str(faulty)) from None
        self._password_file = password_file
        self._gate = Gate()
        self._sentinels: list[Redis] = []
        self.commands = self._client(TIMEOUT_S, self._gate)
        self._streams = self._client(TIMEOUT_S, self._gate, resp=3)
        self._open_streams: set[Connection] = set()
        self.unchecked = self._client(TIMEOUT_S, Gate())
        """For the commands that find out whether the server may be used."""

    @property
    def location(self) -> str:
        """Where the server is, without secrets."""
        return self._address.location

    def key(self, tag: str, *rest: str) -> str:
        """A key or channel; those of one ``tag`` are in one hash slot of a Redis Cluster."""
        return ":".join((self.prefix, "{" + tag + "}", *rest))

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[asyncio.Transport]:
        """A connection of its own, authenticated, with RESP3, for a protocol that reads it itself.

        Raises ``RedisError`` and ``OSError`` if it cannot be opened.
        """
        self._gate.check()
        pool = self._streams.connection_pool
        connection = pool.make_connection()  # type: ignore[no-untyped-call]
        self._open_streams.add(connection)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await connection.connect()
            self._gate.check()  # ``shut`` has not ended what was not connected yet
            # redis-py has no public way to take over the connection that it has made.
            yield connection._writer.transport
        finally:
            self._open_streams.discard(connection)
            await connection.disconnect(nowait=True)

    async def shut(self, reason: str) -> None:
        """End all connections and refuse new ones, as if the server could not be reached."""
        self._gate.reason = reason
        await self.reset(also_in_use=True)

    def open(self) -> None:
        """Let connections through again."""
        self._gate.reason = None

    async def reset(self, *, also_in_use: bool = False) -> None:
        """Close all connections; the next command connects anew, to the primary of now."""
        try:
            await self.commands.connection_pool.disconnect(inuse_connections=also_in_use)
        except (RedisError, OSError):
            pass
        if also_in_use:
            for connection in list(self._open_streams):
                await connection.disconnect(nowait=True)

    async def close(self) -> None:
        """Close all connections for good."""
        for client in (self.commands, self._streams, self.unchecked, *self._sentinels):
            await client.aclose()

    # Checks

    async def check(self, *, with_rights: bool = True) -> None:
        """Raise ``RedisUnusable`` for a wrong password, version, right or eviction policy.

        Errors of an unreachable server propagate: it may be reachable later. One that Sentinels no
        longer name is left, and counts as unreachable once.
        """
        await self._follow_primary()
        try:
            # Without sections: versions before 7 refuse a list of them.
            info: dict[str, Any] = await self.unchecked.info()
            self._check_role(info)
            _check_info(info)
            if with_rights:
                await self._check_rights()
        except (AuthenticationError, AuthorizationError) as error:
            raise RedisUnusable(f"the server refuses user or password ({error})") from None
        except NoPermissionError as error:
            raise RedisUnusable(f"the user lacks rights: {error}; {_RULE}") from None
        except BusyLoadingError:
            raise
        except UNREACHABLE as error:
            if (fault := _tls_fault(error)) is not None:
                raise RedisUnusable(f"TLS fails: {fault}") from None
            raise
        except ResponseError as error:
            if str(error).startswith(_OF_THE_STATE):
                raise ConnectionError(str(error)) from None
            raise RedisUnusable(f"the server answers: {error}") from None
        except RedisError as error:
            raise RedisUnusable(f"does not answer as Redis does: {error!r}") from None

    async def _follow_primary(self) -> None:
        """Leave a server that is no longer the primary; it may not know for a while, and go on.

        Else some connections of a node stay there, and others open to the new one.
        """
        clients = (self.unchecked, self.commands, self._streams)
        pools: list[Any] = [each.connection_pool for each in clients]
        if self._address.primary is None:
            return
        former = {pool.master_address for pool in pools} - {None}
        try:
            primary = await pools[0].get_master_address()
        except MasterNotFoundError as error:
            if former or not isinstance(error, SentinelRefuses):
                return  # no Sentinel answers: what works goes on
            raise RedisUnusable(f"{error}: correct sentinel_username, sentinel_password") from None
        except (ResponseError, InvalidResponse) as error:
            raise RedisUnusable(f"a Sentinel answers: {error}; name Sentinels") from None
        if former <= {primary}:
            return
        for pool in pools:
            await pool.disconnect(inuse_connections=True)
            pool.master_address = primary
        for connection in list(self._open_streams):
            await connection.disconnect(nowait=True)
        raise ConnectionError("the Sentinels name another primary")

    def _check_role(self, info: dict[str, Any]) -> None:
        """Raise for a replica; if Sentinels have named it, it passes: a failover is under way."""
        if info.get("role") != "slave":
            return
        if self._address.primary is not None:
            raise ReadOnlyError("the server that the Sentinels name is a replica as yet")
        raise RedisUnusable("the server is a read-only replica; name its primary")

    async def _check_rights(self) -> None:
        """Try each command that the seams use, on keys of its own."""
        text, table, ordered = (self.key("check", kind) for kind in ("text", "hash", "set"))
        tried: list[tuple[str | int, ...]] = [
            ("SET", text, 1, "PX", 1000),
            ("GET", text),
            ("EXPIRE", text, 1),
            ("PERSIST", text),
            ("GETDEL", text),
            ("HSET", table, "a", 1),
            ("HSETNX", table, "a", 1),
            *((name, table) for name in ("HGETALL", "HVALS", "HLEN")),
            *((name, table, "a") for name in ("HGET", "HMGET", "HDEL")),
            ("ZADD", ordered, 1, "a"),
            ("ZRANGE", ordered, 0, -1),
            ("ZRANGEBYSCORE", ordered, 0, 1),
            ("ZSCORE", ordered, "a"),
            ("ZREM", ordered, "a"),
            ("DEL", text, table, ordered),
            ("TIME",),
            ("PUBLISH", self.key("check"), ""),
            ("SCRIPT LOAD", _SCRIPT),
            ("EVALSHA", _SHA, 0),
        ]
        pipeline = self.unchecked.pipeline(transaction=False)
        for command in tried:
            pipeline.execute_command(*command)
        results: list[Any] = await pipeline.execute(raise_on_error=False)
        lacking: dict[str, None] = {}
        for command, result in zip(tried, results, strict=True):
            if isinstance(result, NoPermissionError):
                lacking[self._lacking(str(command[0]), str(result))] = None
            elif isinstance(result, Exception):
                raise result
        pubsub = self.unchecked.pubsub()
        try:
            await pubsub.subscribe(self.key("check"))
            await pubsub.get_message(timeout=TIMEOUT_S)
        except NoPermissionError as error:
            lacking[self._lacking("SUBSCRIBE", str(error))] = None
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]
        if lacking:
            raise RedisUnusable(f"the user lacks rights: {', '.join(lacking)}; {_RULE}")

    def _lacking(self, command: str, text: str) -> str:
        """The right that a refused command lacks, by the server's text."""
        if "channel" in text:
            return f"channels {self.prefix}:*"
        return command if "command" in text else f"keys {self.prefix}:*"

    # Clients

    def _client(self, timeout_s: float, gate: Gate, *, resp: int = 2) -> Redis:
        address = self._address
        options: dict[str, Any] = {
            "socket_timeout": timeout_s,
            "socket_connect_timeout": TIMEOUT_S,
            "retry": Retry(NoBackoff(), 0),
            "protocol": resp,
            "db": address.database,
            **(address.tls or {}),
        }
        if self._password_file is not None:
            options["credential_provider"] = _PasswordFile(address.username, self._password_file)
        elif address.password is not None or address.username is not None:
            options |= {"username": address.username, "password": address.password or ""}
        if address.primary is not None:
            return self._primary_of(address, address.primary, options, gate)
        if address.path is not None:
            options |= {"connection_class": _Unix, "path": address.path}
        else:
            host, port = address.hosts[0]
            kind = _Tcp if address.tls is None else _Tls
            options |= {"connection_class": kind, "host": host, "port": port}
        return Redis.from_pool(_GatedPool(gate, **options))

    def _primary_of(
        self, address: RedisAddress, name: str, options: dict[str, Any], gate: Gate
    ) -> Redis:
        """A client of the primary that the Sentinels name, asked anew at each connect."""
        asking: dict[str, Any] = {
            "socket_timeout": TIMEOUT_S,
            "socket_connect_timeout": TIMEOUT_S,
            "retry": Retry(NoBackoff(), 0),
            "username": address.sentinel_username,
            "password": address.sentinel_password,
        }
        options["connection_class"] = _Primary if address.tls is None else _PrimaryTls
        if address.tls is not None:
            asking |= {"ssl": True, **address.tls}
        found = Sentinel(address.hosts, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
        self._sentinels += found.sentinels
        client: Redis = found.master_for(
            name, connection_pool_class=_GatedSentinelPool, gate=gate, **options
        )
        return client


_RULE = "docs/configuration.rst has the rules of ACL SETUSER"


def _check_info(info: dict[str, Any]) -> None:
    """Raise ``RedisUnusable`` for what INFO says about version, policy, role and mode."""
    is_valkey = "valkey_version" in info
    name, oldest = ("Valkey", OLDEST_VALKEY) if is_valkey else ("Redis", OLDEST_REDIS)
    version = str(info.get("valkey_version" if is_valkey else "redis_version", "0"))
    major = version.split(".")[0]
    # A build from the sources may have a word instead: its commands are tried anyway.
    if major.isdecimal() and int(major) < oldest:
        raise RedisUnusable(f"{name} {version} is too old; {oldest} is the oldest")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise RedisUnusable(
            f"maxmemory-policy is {policy}, which deletes keys that are in use;"
            " set it to noeviction"
        )
    if info.get("cluster_enabled"):
        raise RedisUnusable("the server is in cluster mode; use one without it, or Sentinel")


def _tls_fault(error: BaseException) -> str | None:
    """What is wrong with TLS, if that is why connecting failed and it does not pass by itself."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate is not trusted ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
            return str(cause.reason or cause)
        cause = cause.__cause__ or cause.__context__
    return None
