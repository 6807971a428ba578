"""``wsctl doctor`` against a real server, and against what can be wrong on the way to it."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from rich.cells import cell_len
from websockets.sync.client import connect

from tests.operators.conftest import Run
from tests.support.certificates import Authority
from tests.support.faulty_proxy import (
    FaultyProxy,
    forwarded,
    without_subprotocol,
    without_upgrade,
)
from tests.support.server_process import ServerProcess, environment
from tests.support.waiting import PATIENCE_S
from wsctl.doctor.checks import CHECKS

WSCTL = [sys.executable, "-m", "wsctl"]
Doctor = Callable[..., "Report"]


class Report:
    """What ``wsctl doctor -o json`` has said."""

    def __init__(self, result: Result) -> None:
        self.exit_code = result.exit_code
        self.text = result.stdout + result.stderr
        self.document: dict[str, Any] = json.loads(result.stdout)
        self.checks = {check["id"]: check for check in self.document["checks"]}

    def state(self, name: str) -> str:
        return str(self.checks[name]["state"])

    def says(self, name: str) -> str:
        return f"{self.checks[name]['what']} {self.checks[name]['do']}"

    @property
    def bad(self) -> set[str]:
        """The ids of the checks that found something; this machine's descriptors aside."""
        return {n for n, c in self.checks.items() if c["state"] in ("warning", "failed")}


@pytest.fixture
def doctor(run: Run, server: ServerProcess) -> Doctor:
    """Examine the server, or the proxy in front of it, with an administrator's token."""

    def examine(*args: str, url: str = "", token: str | None = None) -> Report:
        file = server.folder / "token"
        file.write_text(server.token("ops") if token is None else token)
        where = ("--url", url or server.url, "--token-file", str(file))
        return Report(run(*where, "doctor", "-o", "json", "--fail-on", "failed", *args))

    return examine


def test_a_server_that_is_well(doctor: Doctor) -> None:
    report = doctor("--fail-on", "warning")
    assert report.bad == set()
    assert report.exit_code == 0
    assert list(report.checks) == list(CHECKS)
    delivery = report.checks["socket.delivery"]["data"]
    assert (delivery["kept"], delivery["state"]) == (True, "delivered")
    assert 0 < delivery["received_s"] <= delivery["acknowledged_s"]
    skipped = {name for name, check in report.checks.items() if check["state"] == "skipped"}
    channels = {"channel.push", "channel.sms", "channel.email"}
    assert skipped == {"proxy.idle", "cluster.clocks", "webhooks", *channels}


def test_a_channel_that_is_not_configured_is_no_fault_whatever_was_sent(
    doctor: Doctor, ctl: Run
) -> None:
    sent = ctl("notify", "u1", "--title", "Hello", "--message", "World", "--type", "urgent")
    assert sent.exit_code == 0
    report = doctor("--fail-on", "warning")
    assert (report.exit_code, report.bad) == (0, set())
    for name in ("push", "sms", "email"):
        assert report.state(f"channel.{name}") == "skipped"
        assert report.checks[f"channel.{name}"]["data"]["not_configured"] == 1


def test_it_leaves_nothing_behind_but_what_goes_by_itself(
    doctor: Doctor, server: ServerProcess, ctl: Run
) -> None:
    doctor()
    sessions = json.loads(ctl("sessions", "-o", "json").stdout)
    assert [each for each in sessions if "doctor" in each["session_id"]] == []
    assert json.loads(ctl("online", "-o", "json").stdout) == []


def test_the_table_fits_80_columns_and_says_every_state_in_a_word(
    server: ServerProcess, ctl: Run
) -> None:
    result = ctl("doctor", "--fail-on", "failed")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(cell_len, lines)) <= 80
    for name in CHECKS:
        (line,) = [each for each in lines if f" {name} " in each]
        assert line.split()[1] in ("ok", "warning", "failed", "skipped")
    (total,) = [line for line in lines if " ok, " in line]
    assert lines.index(total) >= len(lines) - 2


def test_quiet_says_only_what_is_not_well(server: ServerProcess, ctl: Run, run: Run) -> None:
    assert "network.tcp" not in ctl("doctor", "-q").stdout
    result = run("--url", "http://127.0.0.1:1", "doctor", "-q")
    assert "network.tcp" in result.stdout
    assert " ok " not in result.stdout


def test_no_server_at_all(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    report = Report(run("--url", f"http://127.0.0.1:{port}", "doctor", "-o", "json"))
    assert report.exit_code == 3
    assert "refused" in report.says("network.tcp")
    assert report.state("socket.delivery") == "skipped"


def test_a_name_that_leads_nowhere(run: Run) -> None:
    report = Report(run("--url", "http://nowhere.invalid", "doctor", "-o", "json"))
    assert report.exit_code == 3
    assert report.state("network.dns") == "failed"


def test_a_server_of_another_kind_answers(run: Run) -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    class Silent(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Silent) as other:
        Thread(target=other.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        url = f"http://127.0.0.1:{other.server_address[1]}"
        report = Report(run("--url", url, "--token", "a.b.c", "doctor", "-o", "json"))
        other.shutdown()
    assert report.exit_code == 3
    assert "something else answers with 501" in report.says("network.http")
    assert report.state("token.accepted") == "skipped"


# The proxy


def test_a_proxy_that_strips_upgrade(doctor: Doctor, server: ServerProcess) -> None:
    with FaultyProxy(server.url, rewrite=without_upgrade) as proxy:
        report = doctor(url=proxy.url)
    assert report.exit_code == 1
    assert report.bad == {"proxy.upgrade"}
    assert "plain HTTP works and WebSockets do not" in report.says("proxy.upgrade")
    assert "proxy_set_header Upgrade" in report.says("proxy.upgrade")
    assert report.state("socket.handshake") == report.state("socket.delivery") == "skipped"
    assert report.state("database.health") == "ok"


def test_a_proxy_that_drops_the_subprotocol(doctor: Doctor, server: ServerProcess) -> None:
    with FaultyProxy(server.url, rewrite=without_subprotocol) as proxy:
        report = doctor(url=proxy.url)
    assert report.bad == {"proxy.upgrade"}
    assert "Sec-WebSocket-Protocol" in report.says("proxy.upgrade")


def test_a_proxy_that_cuts_idle_connections(doctor: Doctor, server: ServerProcess) -> None:
    with FaultyProxy(server.url, idle_s=0.7) as proxy:
        report = doctor("--idle", "10s", url=proxy.url)
    assert report.bad == {"proxy.idle"}
    assert "a proxy closed it" in report.says("proxy.idle")
    assert "proxy_read_timeout" in report.says("proxy.idle")
    assert report.checks["proxy.idle"]["data"]["longest_silence_s"] < 10


def test_a_proxy_that_is_not_trusted(doctor: Doctor, server: ServerProcess) -> None:
    with FaultyProxy(server.url, rewrite=forwarded) as proxy:
        report = doctor(url=proxy.url)
    assert report.bad == {"proxy.headers"}
    assert report.exit_code == 0  # --fail-on failed


def test_a_proxy_that_changes_the_host(doctor: Doctor, server: ServerProcess) -> None:
    def rename(head: bytes) -> bytes:
        return re.sub(rb"(?im)^host:.*\r\n", b"Host: inside.example\r\n", head)

    with FaultyProxy(server.url, rewrite=rename) as proxy:
        report = doctor(url=proxy.url)
    assert report.bad == {"token.accepted", "proxy.upgrade"}
    for name in report.bad:
        assert "allowed_hosts" in report.says(name)


def test_what_is_not_well_is_named_once_more_at_the_end(run: Run) -> None:
    result = run("--url", "http://127.0.0.1:1", "doctor")
    assert result.stdout.splitlines()[-1] == "problems: config.token, network.tcp"


def test_a_connection_is_kept_over_the_heartbeat(tmp_path: Path, run: Run) -> None:
    env = {"WSSERVER_HEARTBEAT_INTERVAL_S": "0.3", "WSSERVER_HEARTBEAT_TIMEOUT_S": "5"}
    with ServerProcess(tmp_path, "--dev", env=env, is_preloaded=True) as server:
        args = ("--url", server.url, "--token", server.token(), "doctor", "--idle", "1s")
        report = Report(run(*args, "-o", "json"))
    assert report.state("proxy.idle") == "ok"
    assert report.checks["proxy.idle"]["data"]["pings"] >= 1


# TLS


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """An authority that this test trusts."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    return authority


def test_a_good_certificate(doctor: Doctor, server: ServerProcess, authority: Authority) -> None:
    with FaultyProxy(server.url, tls=authority.server()) as proxy:
        report = doctor(url=proxy.url)
    # It does end TLS, and does not say so.
    assert report.bad == {"proxy.headers"}
    assert "X-Forwarded-Proto" in report.says("proxy.headers")
    assert report.checks["network.tls"]["data"]["issuer"] == "Test Authority"
    assert 88 < report.checks["network.tls"]["data"]["days_left"] <= 90
    assert report.state("socket.delivery") == "ok"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"begins": -30, "ends": -2}, "expired 2 d ago"),
        ({"begins": 2}, "not valid before"),
        ({"names": ["other.example.com"]}, "issued for other.example.com"),
        (None, "self-signed"),
    ],
)
def test_a_bad_certificate_gets_no_token(
    doctor: Doctor,
    server: ServerProcess,
    authority: Authority,
    fault: dict[str, Any] | None,
    words: str,
) -> None:
    seen: list[bytes] = []

    def look(head: bytes) -> bytes:
        seen.append(head)
        return head

    context = authority.self_signed() if fault is None else authority.server(**fault)
    with FaultyProxy(server.url, tls=context, rewrite=look) as proxy:
        report = doctor(url=proxy.url)
    assert words in report.says("network.tls")
    assert report.bad == {"network.tls"}
    assert report.exit_code == 1
    assert seen == []


def test_no_tls_where_it_is_asked_for(doctor: Doctor, server: ServerProcess) -> None:
    report = doctor("--timeout", "500ms", url=server.url.replace("http", "https"))
    assert "no TLS" in report.says("network.tls")


# The token


@pytest.mark.parametrize(
    ("claims", "check", "words"),
    [
        ({"nbf": 2**33 - 9}, "token.times", "not valid before"),
        ({"exp": 1_700_000_000}, "token.times", "expired"),
        ({"iat": 2**33 - 9}, "token.times", "in the future"),
    ],
)
def test_a_wrong_clock_in_a_token(
    doctor: Doctor, server: ServerProcess, claims: dict[str, Any], check: str, words: str
) -> None:
    report = doctor(token=server.token("ops", **claims))
    assert words in report.says(check)
    if "iat" not in claims:  # which the server takes
        assert report.exit_code == 4
        assert report.state("token.accepted") == "failed"
        assert report.state("proxy.upgrade") == "ok"
        assert report.state("socket.handshake") == "skipped"


def test_a_token_signed_by_another_issuer(doctor: Doctor) -> None:
    import jwt

    claims = {"sub": "ops", "role": "admin", "exp": time.time() + 999}
    report = doctor(token=jwt.encode(claims, "x" * 32, algorithm="HS256"))
    assert report.exit_code == 4
    assert "token_invalid" in report.says("token.accepted")


def test_a_token_without_the_permissions(doctor: Doctor, server: ServerProcess) -> None:
    report = doctor(token=server.token("ops", permissions=["audit:read"]))
    assert report.bad == {"token.permissions"}
    for check in ("server.descriptors", "database.disk", "channel.email"):
        assert report.state(check) == "skipped"
    assert "stats:read" in report.says("database.disk")
    assert "messages:publish" in report.says("socket.delivery")
    assert report.state("database.health") == "ok"  # /health needs no permission


def test_a_token_that_may_enter_no_session_sends_to_itself(
    doctor: Doctor, server: ServerProcess
) -> None:
    report = doctor(token=server.token("backend", "service"))
    assert report.bad == set()
    assert report.checks["socket.delivery"]["data"]["kept"] is False
    report = doctor(token=server.token("boss", "manager", organization_id="o1"))
    assert report.bad == set()
    assert report.state("socket.delivery") == "ok"


def test_a_user_with_all_connections_taken_is_not_disturbed(
    doctor: Doctor, server: ServerProcess
) -> None:
    token = server.token("busy")
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(connect(server.websocket("/ws/chat", token)))
        report = doctor(token=token)
    assert report.state("proxy.upgrade") == "ok"
    assert "5 of 5 connections" in report.says("socket.handshake")
    assert report.bad == set()


@pytest.mark.parametrize("format_", ["table", "json", "csv"])
@pytest.mark.parametrize("where", ["server", "nobody"])
def test_no_secret_is_said(server: ServerProcess, run: Run, format_: str, where: str) -> None:
    for token in (server.token("ops"), "not-even-a-token", server.token("ops", exp=1)):
        url = server.url if where == "server" else "http://127.0.0.1:1"
        result = run("--url", url, "--token", token, "doctor", "-o", format_)
        assert token not in result.output
        assert token.rpartition(".")[2] not in result.output


# The server's own condition


@contextlib.contextmanager
def limited(server: ServerProcess, kind: int, soft: int) -> Iterator[None]:
    """A resource limit of the server's process for a while."""
    pid = server.process.pid
    before = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (soft, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, kind, before)


def test_a_descriptor_limit_below_max_connections(doctor: Doctor, server: ServerProcess) -> None:
    with limited(server, resource.RLIMIT_NOFILE, 1000):
        report = doctor()
    assert report.state("server.descriptors") == "warning"
    assert "936 connections" in report.says("server.descriptors")
    wanted = report.checks["server.descriptors"]["data"]["max_connections"] + 500
    assert f"LimitNOFILE={wanted}" in report.says("server.descriptors")


def test_descriptors_that_are_used_up(doctor: Doctor, server: ServerProcess) -> None:
    opened = doctor().checks["server.descriptors"]["data"]["open"]
    with limited(server, resource.RLIMIT_NOFILE, opened + 60):
        report = doctor("--timeout", "500ms")
    assert report.exit_code == 3
    assert report.state("network.tcp") == "ok"  # the kernel's queue takes it
    assert "descriptors" in report.says("network.http")


def test_a_dead_database(tmp_path: Path, run: Run) -> None:
    with ServerProcess(tmp_path, "--dev", is_preloaded=True) as server:
        here = ("--url", server.url, "--token", server.token())
        server.wait_for("websocket ")  # its own files are written
        # Every write to a file fails from now on.
        with limited(server, resource.RLIMIT_FSIZE, 0):
            kept = ("send", "--user", "u1", "--keep", "hello")
            assert run(*here, *kept).exit_code == 1
            report = Report(run(*here, "doctor", "-o", "json"))
    assert report.exit_code == 1
    assert {"database.health", "socket.delivery"} <= report.bad
    assert "docs/database.rst" in report.says("database.health")
    assert "storage_" in report.says("socket.delivery")
    assert report.state("socket.handshake") == "ok"


def test_ctrl_c_ends_a_long_wait_immediately(server: ServerProcess) -> None:
    import signal

    process = subprocess.Popen(
        [*WSCTL, "--token", server.token("waiter"), "doctor", "--idle", "1h"],
        cwd=server.folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    server.wait_for('"connection closed".*"user_id": "waiter"')  # the silent one goes on
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert b"Traceback" not in said
