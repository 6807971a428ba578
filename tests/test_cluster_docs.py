"""docs/cluster.rst: its commands and settings do what it says."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from scripts.backends.valkey import ValkeyProcess
from tests.cluster.conftest import *  # noqa: F403 - the fixtures of a cluster
from tests.support.cluster_servers import ClusterServers
from tests.support.rst_blocks import ROOT, block
from tests.support.running_server import ADMIN
from tests.support.server_process import environment, refused
from tests.support.tokens import SECRET
from tests.support.waiting import PATIENCE_S
from wsserver.cluster.redis.link import ACL_RULES

DOCUMENT = "docs/cluster.rst"


def text(name: str) -> str:
    found: str = block(DOCUMENT, name).text
    return found


def test_the_settings_of_a_node_are_accepted(tmp_path: Path) -> None:
    for name in ("database-password", "redis-password", "ca.pem"):
        (tmp_path / name).write_text("x")
    (tmp_path / "jwt-secret").write_text(SECRET)
    given = text("node.toml").replace("/etc/wsserver", str(tmp_path))
    given = given.replace("/var/lib/wsserver", str(tmp_path / "data"))
    for more in ("", "sentinel", "standby"):
        settings = tomllib.loads(given)
        if more:
            settings |= tomllib.loads(text(more))
        file = tmp_path / "node.toml"
        lines = [f"{key} = {value!r}" for key, value in settings.items()]
        file.write_text("\n".join(lines).replace("'", '"') + "\n")
        done = refused("config", "check", "--config", str(file), folder=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_acl_rules_are_those_that_are_needed_and_are_accepted(tmp_path: Path) -> None:
    (rule,) = text("acl").splitlines()
    assert rule.endswith(ACL_RULES)
    valkey = ValkeyProcess(tmp_path)
    valkey.start()
    try:
        assert valkey.run(*rule.split()).startswith(b"+OK")
    finally:
        valkey.kill()


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
def test_nginx_accepts_the_upstream(tmp_path: Path) -> None:
    conf = tmp_path / "nginx.conf"
    conf.write_text(f"pid {tmp_path}/pid; events {{}} http {{ {text('upstream')} }}")
    done = subprocess.run(
        ["nginx", "-t", "-p", tmp_path, "-c", conf], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_the_commands_of_wsctl_work_on_two_nodes(nodes: ClusterServers) -> None:
    first = nodes.nodes["n1"]
    commands = [*block(DOCUMENT, "watch").commands, *block(DOCUMENT, "drain").commands]
    for command in commands:
        words = command.replace("chat-1", "n2").split()
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            env=environment(WSCTL_URL=f"http://127.0.0.1:{first.port}", WSCTL_TOKEN=ADMIN),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        # The doctor's warnings (a machine with few descriptors) are an exit status of 1.
        assert done.returncode in ((0, 1) if "doctor" in words else (0,)), done.stderr
    assert nodes.nodes["n2"].process.wait(PATIENCE_S) == 0


def test_scripts_serve_cluster_is_there() -> None:
    (command,) = block(DOCUMENT, "serve-cluster").commands
    assert (ROOT / command).exists()
