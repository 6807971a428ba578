"""Starts that cannot work end with 78 and the key; what may pass is tried on."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.backends.free_ports import free_port
from scripts.backends.valkey import ValkeyProcess
from tests.support.certificates import Authority
from tests.support.running_server import RunningServer
from tests.support.server_process import refused
from tests.support.tokens import SECRET, token
from tests.support.waiting import poll
from tests.support.websocket_clients import open_client
from wsserver.cluster.errors import ClusterUnusable
from wsserver.cluster.redis.link import ACL_RULES, RedisLink

PASSWORD = "canary-password"


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    server = ValkeyProcess(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.kill()


def start(folder: Path, redis_url: str, **env: str) -> tuple[int, str]:
    """Exit status and last line of a server that does not start."""
    done = refused(
        "serve",
        folder=folder,
        WSSERVER_PORT="0",
        WSSERVER_JWT_SECRET=SECRET,
        WSSERVER_REDIS_URL=redis_url,
        WSSERVER_DATA_DIR=str(folder),
        **env,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert PASSWORD not in done.stderr + done.stdout
    return done.returncode, done.stderr.strip().splitlines()[-1]


async def fault_of(redis_url: str) -> str:
    """Why a node cannot join, in this process: quicker than one of its own."""
    link = RedisLink(redis_url)
    try:
        with pytest.raises(ClusterUnusable) as found:
            await link.check()
    finally:
        await link.close()
    assert PASSWORD not in str(found.value)
    assert found.value.key == "redis_url"
    return found.value.problem


def url(server: ValkeyProcess, user: str = "") -> str:
    return server.url.replace("redis://", f"redis://{user}:{PASSWORD}@") if user else server.url


RIGHTS = {
    "nobody": None,
    "keyless": ACL_RULES.replace("~wsserver:*", "~other:*"),
    "deaf": ACL_RULES.replace("&wsserver:*", "&other:*"),
    "poor": f"{ACL_RULES} -getdel -subscribe -info +info",
    "blind": f"{ACL_RULES} -info",
    "scriptless": f"{ACL_RULES} -evalsha",
}
LACKS = "; docs/configuration.rst has the rules of ACL SETUSER"


@pytest.mark.parametrize(
    ("user", "fault"),
    [
        ("nobody", "the server refuses user or password"),
        ("keyless", f"the user lacks rights: keys wsserver:*{LACKS}"),
        ("deaf", f"the user lacks rights: channels wsserver:*{LACKS}"),
        ("poor", f"the user lacks rights: GETDEL, SUBSCRIBE{LACKS}"),
        ("blind", "'info' command"),
        ("scriptless", f"the user lacks rights: EVALSHA{LACKS}"),
    ],
)
@pytest.mark.gen_test(timeout=10)
async def test_users_without_rights(user: str, fault: str, valkey: ValkeyProcess) -> None:
    rules = RIGHTS[user]
    if rules is not None:
        answer = valkey.run("ACL", "SETUSER", user, "on", f">{PASSWORD}", rules)
        assert answer.startswith(b"+OK"), answer
    assert fault in await fault_of(url(valkey, user))


def test_the_start_ends_with_78_and_without_the_password(
    valkey: ValkeyProcess, tmp_path: Path
) -> None:
    assert start(tmp_path, url(valkey, "nobody")) == (
        78,
        "wsserver: config: redis_url (start): the server refuses user or password (invalid"
        " username-password pair or user is disabled.)",
    )


def test_the_documented_rights_are_enough(valkey: ValkeyProcess, tmp_path: Path) -> None:
    valkey.run("ACL", "SETUSER", "chat", "on", f">{PASSWORD}", ACL_RULES)
    text = (Path(__file__).parents[2] / "docs" / "configuration.rst").read_text(encoding="utf-8")
    assert ACL_RULES in " ".join(text.split())
    password_file = tmp_path / "password"
    password_file.write_text(f"{PASSWORD}\n")
    one = RunningServer(
        tmp_path,
        redis_url=valkey.url.replace("redis://", "redis://chat@"),
        redis_password_file=password_file,
    )
    poll(lambda: one.health()["status"], lambda status: status == "ok")
    client = open_client(one, bearer=token("u1"))
    one.post("/messages", {"target": {"type": "user", "id": "u1"}, "type": "x", "data": {}})
    client.close()
    one.stop()


@contextlib.contextmanager
def policy(server: ValkeyProcess) -> Iterator[str]:
    server.run("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    yield server.url
    server.run("CONFIG", "SET", "maxmemory-policy", "noeviction")


@contextlib.contextmanager
def replica(server: ValkeyProcess) -> Iterator[str]:
    server.run("REPLICAOF", "127.0.0.1", "1")
    yield server.url
    server.run("REPLICAOF", "NO", "ONE")


@contextlib.contextmanager
def without_tls(server: ValkeyProcess) -> Iterator[str]:
    with answering(http) as port:
        yield f"rediss://u:{PASSWORD}@127.0.0.1:{port}"


@contextlib.contextmanager
def untrusted(server: ValkeyProcess) -> Iterator[str]:
    context = Authority(server.folder).server()
    with answering(lambda connection: context.wrap_socket(connection, server_side=True)) as port:
        yield f"rediss://127.0.0.1:{port}"


@contextlib.contextmanager
def of_http(server: ValkeyProcess) -> Iterator[str]:
    with answering(http) as port:
        yield f"redis://127.0.0.1:{port}"


def http(connection: socket.socket) -> None:
    while connection.recv(4096):
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@contextlib.contextmanager
def of_version_6(server: ValkeyProcess) -> Iterator[str]:
    info = b"# Server\r\nredis_version:6.2.14\r\n"

    def answer(connection: socket.socket) -> None:
        while data := connection.recv(4096):
            for _ in range(data.count(b"SETINFO")):
                connection.sendall(b"-ERR unknown subcommand\r\n")
            if b"*1\r\n$4\r\nINFO\r\n" in data:
                connection.sendall(b"$%d\r\n%s\r\n" % (len(info), info))
            elif b"$4\r\nINFO\r\n" in data:  # with several sections
                connection.sendall(b"-ERR syntax error\r\n")

    with answering(answer) as port:
        yield f"redis://127.0.0.1:{port}"


@contextlib.contextmanager
def without_database(server: ValkeyProcess) -> Iterator[str]:
    yield server.url.replace("/0", "/99")


@contextlib.contextmanager
def no_sentinel(server: ValkeyProcess) -> Iterator[str]:
    yield f"redis+sentinel://127.0.0.1:{server.port}/mymaster/0"


@contextlib.contextmanager
def sentinel_of_http(server: ValkeyProcess) -> Iterator[str]:
    with answering(http) as port:
        yield f"redis+sentinel://127.0.0.1:{port}/mymaster/0"


@contextlib.contextmanager
def sentinel_with_password(server: ValkeyProcess) -> Iterator[str]:
    """The Sentinel takes no commands of who has not logged in, as a server with a password."""
    server.run("CONFIG", "SET", "requirepass", PASSWORD)
    yield f"redis+sentinel://127.0.0.1:{server.port}/mymaster/0?sentinel_password=wrong"
    server.run("AUTH", PASSWORD, "\r\nCONFIG", "SET", "requirepass", '""')


@contextlib.contextmanager
def answering(answer: Callable[[socket.socket], object]) -> Iterator[int]:
    """A server that treats each connection in this way."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), connection:
                answer(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (policy, "maxmemory-policy is allkeys-lru"),
        (replica, "the server is a read-only replica; name its primary"),
        (without_tls, "TLS fails: "),
        (untrusted, "TLS fails: the certificate is not trusted ("),
        (of_http, "does not answer as Redis does"),
        (of_version_6, "Redis 6.2.14 is too old; 7 is the oldest"),
        (without_database, "the server answers: DB index is out of range"),
        (no_sentinel, "a Sentinel answers: unknown command 'SENTINEL'"),
        (sentinel_of_http, "a Sentinel answers: Protocol error"),
        (sentinel_with_password, "a Sentinel refuses user or password: correct sentinel_username"),
    ],
)
@pytest.mark.gen_test(timeout=10)
async def test_servers_that_cannot_work(
    broken: Callable[[ValkeyProcess], contextlib.AbstractContextManager[str]],
    fault: str,
    valkey: ValkeyProcess,
) -> None:
    with broken(valkey) as redis_url:
        assert (await fault_of(redis_url)).startswith(fault)


def test_another_cluster_and_a_name_that_is_taken(valkey: ValkeyProcess, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    valkey.run("FLUSHALL")
    first = RunningServer(folders[0], redis_url=valkey.url, node="n1")
    try:
        status, line = start(folders[1], valkey.url, WSSERVER_NODE="n2")
        assert status == 78
        assert line.startswith(
            "wsserver: config: redis_url (start): is in use by a cluster with another database: "
        )
        assert f"{folders[0]}/wsserver.sqlite3 of n1, not {folders[1]}" in line
        valkey.run("FLUSHALL")  # written again by the first, with its lease
        poll(lambda: valkey.run("EXISTS", "wsserver:{nodes}:cluster"), lambda n: n == b":1\r\n")
        assert start(folders[1], valkey.url, WSSERVER_NODE="n2")[0] == 78
    finally:
        first.stop()
    # No node of the first cluster is left.
    second = RunningServer(folders[1], redis_url=valkey.url, node="n2")
    assert b"second" in valkey.run("HGET", "wsserver:{nodes}:cluster", "location")
    second.stop()


def test_postgresql_that_cannot_be_reached_may_pass(valkey: ValkeyProcess, tmp_path: Path) -> None:
    database = f"postgresql://u:{PASSWORD}@127.0.0.1:{free_port()}/d"
    status, line = start(tmp_path, valkey.url, WSSERVER_DATABASE_URL=database)
    assert status == 75, line


def test_a_server_that_is_away_at_the_start_and_faults_that_appear_later(tmp_path: Path) -> None:
    valkey = ValkeyProcess(tmp_path)
    one = RunningServer(tmp_path, redis_url=valkey.url, node="n1")
    one.expects_faults = True

    def broker() -> tuple[bool, str]:
        check = one.health()["checks"]["broker"]
        return check["ok"], check["last_error"] or ""

    try:
        assert one.health()["status"] == "degraded"
        assert broker()[1].startswith("cannot be reached: Error 111 connecting to 127.0.0.1:")
        client = open_client(one, bearer=token("u1"))
        valkey.start()
        poll(broker, lambda found: found == (True, ""))
        assert valkey.run("HLEN", "wsserver:{nodes}:info") == b":1\r\n"

        valkey.run("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        poll(broker, lambda found: "maxmemory-policy is allkeys-lru" in found[1])
        valkey.run("CONFIG", "SET", "maxmemory-policy", "noeviction")
        poll(broker, lambda found: found == (True, ""))

        # As after a restart with the data of another cluster, whose nodes run.
        take_over(valkey)
        poll(broker, lambda found: "another database: elsewhere of n9, not " in found[1])
        poll(
            lambda: valkey.run("PUBSUB", "NUMSUB", "wsserver:{nodes}"),
            lambda found: found.endswith(b":0\r\n"),
        )
        valkey.run("DEL", "wsserver:{nodes}:leases")
        poll(broker, lambda found: found == (True, ""))
        assert client.call("ping")["type"] == "pong"
        client.close()
        logged = [line for line in one.lines if "redis cannot be used as it is" in line]
        assert len(logged) == 2, logged
        assert "Traceback" not in "".join(one.lines)
        one.stop()
    finally:
        one.kill()
        valkey.kill()


def take_over(valkey: ValkeyProcess) -> None:
    cluster = "wsserver:{nodes}:cluster"
    valkey.run("ZADD", "wsserver:{nodes}:leases", "9999999999999", "n9")
    valkey.run("HSET", cluster, "identity", "other", "location", "elsewhere")
