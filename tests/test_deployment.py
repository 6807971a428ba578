"""docs/deployment.rst: its files are loaded, its commands run."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.support.event_reader import EventReader
from tests.support.nginx import NEEDS_NGINX, free_port, run_nginx
from tests.support.rst_blocks import block, table
from tests.support.running_server import RunningServer
from tests.support.server_process import ServerProcess, refused
from tests.support.tokens import SECRET, token
from tests.support.waiting import PATIENCE_S
from wsserver.config import load_settings
from wsserver.fd_limits import KEPT_BACK
from wsserver.identity import sign_hmac
from wsserver.process import EXIT_FAILED

DOCUMENT = "docs/deployment.rst"


def toml(folder: Path) -> str:
    """The example's settings with its folders moved into ``folder``."""
    (folder / "jwt-secret").write_text(SECRET)
    return (
        block(DOCUMENT, "wsserver.toml")
        .text.replace("/var/lib/wsserver", str(folder / "data"))
        .replace("/etc/wsserver", str(folder))
    )


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, delimiters="=")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(block(DOCUMENT, "wsserver.service").text)
    return parser


def test_the_settings_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(toml(tmp_path))
    done = refused("config", "check", "--config", "c.toml", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_starts_what_there_is_and_outlasts_the_draining(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(toml(tmp_path))
    settings = load_settings(tmp_path / "c.toml", {}, {}, False)
    service = unit()["Service"]
    program, *args = shlex.split(service["ExecStart"])
    assert Path(program).name == "wsserver"
    args[args.index("/etc/wsserver/wsserver.toml")] = "c.toml"
    done = refused(*args, "--help", folder=tmp_path)
    assert done.returncode == 0
    assert float(service["TimeoutStopSec"]) > settings.drain_timeout_s + 2
    assert int(service["LimitNOFILE"]) >= settings.max_connections + KEPT_BACK
    assert service["RestartPreventExitStatus"] == "78"
    assert str(EXIT_FAILED) not in service["RestartPreventExitStatus"].split()
    assert f"/var/lib/{service['StateDirectory']}" in block(DOCUMENT, "wsserver.toml").text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    path = tmp_path / "wsserver.service"
    text = block(DOCUMENT, "wsserver.service").text
    program = tmp_path / "program"  # the path of this checkout may have quotes in it
    program.symlink_to(sys.executable)
    path.write_text(text.replace("/opt/wsserver/bin/wsserver", str(program)))
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True)
    assert str(path) not in done.stderr


def test_the_metrics_exist(tmp_path: Path) -> None:
    names = [row[0].partition("{")[0] for row in table(DOCUMENT, "metrics")]
    assert names
    with (
        ServerProcess(tmp_path, "--dev", is_preloaded=True) as server,
        urlopen(f"{server.url}/metrics") as answer,
    ):
        text = answer.read().decode()
    for name in names:
        assert f"# TYPE {name.removesuffix('_total')}" in text, name


def test_the_backup_is_whole_while_the_server_runs(tmp_path: Path) -> None:
    (command,) = block(DOCUMENT, "backup-command").commands
    copy = tmp_path / "copy.sqlite3"
    program, *args = shlex.split(command)
    assert Path(program).name == "wsserver"
    args[args.index("/etc/wsserver/wsserver.toml")] = "c.toml"
    args[-1] = str(copy)
    (tmp_path / "c.toml").write_text(toml(tmp_path).replace('"0.0.0.0"', '"127.0.0.1"'))
    database = tmp_path / "var/wsserver.sqlite3"
    with ServerProcess(
        tmp_path, "--dev", env={"WSSERVER_SNAPSHOT_INTERVAL_S": "0.05"}, is_preloaded=True
    ):
        done = refused(*args, "--database", str(database), folder=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM snapshots").fetchone()[0] >= 0


def test_proxies_have_to_be_patient_for_longer_than_the_heartbeat(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(toml(tmp_path))
    settings = load_settings(tmp_path / "c.toml", {}, {}, False)
    found = re.findall(r"proxy_(?:read|send)_timeout (\d+)s;", block(DOCUMENT, "nginx.conf").text)
    assert found == [f"{3 * settings.heartbeat_interval_s:.0f}"] * 2


# With nginx itself


@contextmanager
def nginx(folder: Path, server: str, change: tuple[str, str] = ("", "")) -> Iterator[str]:
    """nginx with the document's configuration, without TLS; its address."""
    port = free_port()
    text = block(DOCUMENT, "nginx.conf").text.replace(*change)
    for old, new in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port};"),
        ("127.0.0.1:8765", server.removeprefix("http://")),
        ("/var/log/nginx", str(folder)),
    ):
        assert old in text
        text = text.replace(old, new)
    text = re.sub(r"\n *ssl_certificate\S* .*;", "", text)
    with run_nginx(folder, text, port) as address:
        yield address


@NEEDS_NGINX
def test_a_chat_through_nginx(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(toml(tmp_path))
    admin, user = (
        sign_hmac(SECRET.encode(), {"sub": role, "role": role, "exp": 2**33})
        for role in ("admin", "user")
    )
    with ServerProcess(tmp_path, "--config", "c.toml", is_preloaded=True) as server:
        with nginx(tmp_path, server.url) as proxy:
            host, port = proxy.split(":")
            with (
                socket.create_connection((host, int(port))) as sock,
                connect(
                    "ws://chat.example.com:8443/ws/chat",
                    sock=sock,
                    origin=Origin("http://chat.example.com:8443"),  # the page's own, with its port
                    additional_headers={
                        "Authorization": f"Bearer {user}",
                        "X-Forwarded-For": "203.0.113.9",
                    },
                ) as client,
            ):
                assert json.loads(client.recv(timeout=PATIENCE_S))["user_id"] == "user"
                request = Request(
                    f"http://{proxy}/api/v1/websocket/connections",
                    headers={"Authorization": f"Bearer {admin}", "Host": "chat.example.com"},
                )
                with urlopen(request) as answer:  # loopback
                    (found,) = json.load(answer)["connections"]
                # nginx saw this client on loopback, where trusted proxies are: as if one more
                # of them had passed the address on.
                assert found["remote_ip"] == "203.0.113.9"
        assert server.stop() == 0
    log = (tmp_path / "chat.access.log").read_text()
    assert '"GET /ws/chat" 101' in log


@NEEDS_NGINX
@pytest.mark.parametrize(
    "change",
    [
        ("", ""),
        ("proxy_buffering off;", "proxy_buffering on; gzip on;"),
        ("proxy_http_version 1.1;", "proxy_http_version 1.0;"),
    ],
    ids=["as documented", "buffering", "HTTP/1.0"],
)
def test_an_event_stream_through_nginx(tmp_path: Path, change: tuple[str, str]) -> None:
    """Events arrive one by one, whatever nginx usually holds back; it comes back by its cursor."""
    with ExitStack() as stack:
        server = RunningServer(tmp_path)
        stack.callback(server.kill)
        proxy = stack.enter_context(nginx(tmp_path, server.url, change))
        bearer = token("u1", sessions=["s1"])
        port = int(proxy.split(":")[1])
        path = "/sse/chat/session/s1"
        gzip = {"Accept-Encoding": "gzip"}
        stream = EventReader(server, path, bearer=bearer, port=port, headers=gzip)
        stream.push("session_joined")
        sent = stream.run(server, {"type": "send_message", "session_id": "s1", "content": "one"})
        assert sent.json()["type"] == "ack"
        assert stream.push("new_message")["message"]["content"] == "one"
        stream.close()
        server.until_empty()  # nginx has noticed, and closed its side
        server.post("/sessions/s1/messages", {"type": "new_message", "content": "two"})
        again = EventReader(server, path, bearer=bearer, port=port, cursor=stream.last_id)
        assert again.push("new_message")["message"]["content"] == "two"
        server.stop()
        with pytest.raises(EOFError):
            again.push("never")
        again.close()
