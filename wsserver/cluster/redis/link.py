"""``RedisLink``: the connections to one Redis or Valkey server, and the checks of that server."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio import Redis, Sentinel
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

TIMEOUT_S = 2.0
OLDEST_REDIS = 7
OLDEST_VALKEY = 8
SENTINEL_SCHEMES = ("redis+sentinel", "rediss+sentinel")

UNREACHABLE = (ConnectionError, TimeoutError, OSError, ReadOnlyError)
"""Errors of a server that cannot be reached, or that is no longer the primary."""


class RedisUnusable(Exception):
    """A server or URL that cannot work without a change of its settings."""


class RedisLink:
    """Commands and subscriptions on the server of a URL.

    ``redis://``, ``rediss://`` (TLS; ``ssl_ca_certs`` and the like as query parameters),
    ``unix://``, ``redis+sentinel://host:port,…/name`` (``rediss+sentinel://`` with TLS). Nothing is
    sent again after an error: the caller knows whether that is harmless. ``prefix`` begins all
    keys and channels. Raises ``RedisUnusable`` for a malformed URL.
    """

    def __init__(self, url: str, prefix: str = "wsserver") -> None:
        self.prefix = prefix
        self._sentinels: list[Redis] = []
        self.commands = self._client(url, TIMEOUT_S)
        self._subscriptions = self._client(url, None)

    def key(self, tag: str, *rest: str) -> str:
        """A key or channel; those of one ``tag`` are in one hash slot of a Redis Cluster."""
        return ":".join((self.prefix, "{" + tag + "}", *rest))

    def pubsub(self) -> PubSub:
        """A new subscription, with a connection of its own."""
        return self._subscriptions.pubsub()

    async def reset(self) -> None:
        """Close all connections; the next command connects anew, to the primary of now."""
        for client in (self.commands, self._subscriptions):
            try:
                await client.connection_pool.disconnect(inuse_connections=False)
            except (RedisError, OSError):
                pass

    async def close(self) -> None:
        """Close all connections for good."""
        for client in (self.commands, self._subscriptions, *self._sentinels):
            await client.aclose()

    async def check(self) -> None:
        """Raise ``RedisUnusable`` for a wrong password, version, right or eviction policy.

        Errors of an unreachable server propagate: it may be reachable later.
        """
        try:
            info: dict[str, Any] = await self.commands.info()
        except (AuthenticationError, NoPermissionError) as error:
            raise RedisUnusable(f"redis_url: the server refuses the user: {error}") from error
        except UNREACHABLE:
            raise
        except ResponseError as error:
            raise RedisUnusable(f"redis_url: {error}") from error
        is_valkey = "valkey_version" in info
        name, oldest = ("Valkey", OLDEST_VALKEY) if is_valkey else ("Redis", OLDEST_REDIS)
        version = str(info["valkey_version" if is_valkey else "redis_version"])
        if int(version.split(".")[0]) < oldest:
            raise RedisUnusable(f"redis_url: {name} {version} is too old; {oldest} is the oldest")
        policy = info.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise RedisUnusable(
                f"redis_url: maxmemory-policy is {policy}, which deletes keys that are in use;"
                " set it to noeviction"
            )
        if info.get("role") == "slave":
            raise RedisUnusable("redis_url: the server is a read-only replica; name its primary")

    def _client(self, url: str, timeout_s: float | None) -> Redis:
        options: dict[str, Any] = {
            "socket_timeout": timeout_s,
            "socket_connect_timeout": TIMEOUT_S,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        }
        try:
            if urlsplit(url).scheme in SENTINEL_SCHEMES:
                return self._primary_of(url, options)
            return Redis.from_url(url, **options)
        except ValueError as error:
            raise RedisUnusable(f"redis_url: {error}") from error

    def _primary_of(self, url: str, options: dict[str, Any]) -> Redis:
        """A client of the primary that the Sentinels name, asked anew at each connect."""
        parts = urlsplit(url)
        credentials, _, hosts = parts.netloc.rpartition("@")
        name, _, database = parts.path.strip("/").partition("/")
        nodes = [re.fullmatch(r"(\[.+\]|[^:]+)(?::(\d+))?", host) for host in hosts.split(",")]
        if not name or not all(nodes):
            raise ValueError(f"{parts.scheme}:// needs host:port,…/name")
        user, _, password = credentials.partition(":")
        if credentials:
            options |= {"username": unquote(user) or None, "password": unquote(password) or None}
        options |= {key: values[-1] for key, values in parse_qs(parts.query).items()}
        if parts.scheme == "rediss+sentinel":
            options["ssl"] = True
        sentinels = [(node[1], int(node[2] or 26379)) for node in nodes if node]
        found = Sentinel(  # type: ignore[no-untyped-call]
            sentinels, sentinel_kwargs={"socket_timeout": TIMEOUT_S}
        )
        self._sentinels += found.sentinels
        client: Redis = found.master_for(name, db=int(database or 0), **options)
        return client
