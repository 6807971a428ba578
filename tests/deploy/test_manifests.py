"""Compose file and Kubernetes manifests: settings that exist, and numbers that fit each other."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.rst_blocks import ROOT
from wsserver.config import Settings, load_settings
from wsserver.web.resources.routes import ENDPOINTS

COMPOSE = ROOT / "deploy" / "compose" / "compose.yaml"
KUBERNETES = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
SETTINGS = {f"WSSERVER_{name.upper()}" for name in Settings.__struct_fields__}
PROXY_PATHS = ("/ws", "/sse", "/api", "/static")


def documents(path: Path) -> list[dict[str, Any]]:
    parts = re.split(r"(?m)^---$", path.read_text(encoding="utf-8"))
    return [msgspec.yaml.decode(part) for part in parts]


def kubernetes(kind: str) -> dict[str, Any]:
    found = [each for path in KUBERNETES for each in documents(path) if each["kind"] == kind]
    assert len(found) == 1
    return found[0]


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = kubernetes("Deployment")["spec"]["template"]["spec"]
    return spec


def container() -> dict[str, Any]:
    (found,) = pod()["containers"]
    return dict(found)


def services() -> dict[str, Any]:
    found: dict[str, Any] = documents(COMPOSE)[0]["services"]
    return found


def servers() -> list[dict[str, Any]]:
    return [each for name, each in services().items() if name.startswith("chat-")]


def test_every_setting_is_one_of_the_server() -> None:
    given = {*kubernetes("ConfigMap")["data"], *(each["name"] for each in container()["env"])}
    for server in servers():
        given |= set(server["environment"])
    assert given <= SETTINGS, given - SETTINGS
    assert all(isinstance(each, str) for each in kubernetes("ConfigMap")["data"].values())


def test_the_settings_are_accepted(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef0123456789abcdef")
    for given in (kubernetes("ConfigMap")["data"], servers()[0]["environment"]):
        env = {
            name: str(secret) if name.endswith("_FILE") else str(value)
            for name, value in given.items()
        }
        settings = load_settings(None, env, {}, False)
        assert settings.database_url is not None
        assert settings.redis_url is not None
        assert not settings.allow_query_token


def test_kubernetes_adds_no_variables_of_its_own() -> None:
    # WSSERVER_PORT=tcp://10.0.0.1:80, of a Service called wsserver, would be a fault.
    assert pod()["enableServiceLinks"] is False


def test_a_server_has_the_time_to_drain() -> None:
    (_, wait) = container()["lifecycle"]["preStop"]["exec"]["command"]
    drain_s = float(kubernetes("ConfigMap")["data"]["WSSERVER_DRAIN_TIMEOUT_S"])
    assert pod()["terminationGracePeriodSeconds"] >= float(wait) + drain_s + 10
    readiness = container()["readinessProbe"]
    # It is out of rotation for sure before it ends.
    assert float(wait) > readiness["periodSeconds"] * readiness["failureThreshold"]
    for server in servers():
        grace = re.fullmatch(r"(\d+)s", server["stop_grace_period"])
        assert grace is not None
        assert float(grace[1]) > Settings().drain_timeout_s + 5


def test_an_update_leaves_clients_somewhere_to_go() -> None:
    spec = kubernetes("Deployment")["spec"]
    assert spec["replicas"] >= 2
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert kubernetes("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_probes_ask_for_paths_that_need_no_token() -> None:
    public = {each.path for each in ENDPOINTS if each.access == "public"}
    for name in ("readinessProbe", "startupProbe", "livenessProbe"):
        assert container()[name]["httpGet"]["path"] in public, name
    # Health says 503 when it is full, which is no reason to kill a server.
    assert not container()["livenessProbe"]["httpGet"]["path"].endswith("/health")


def test_it_runs_as_the_user_of_the_image_without_rights() -> None:
    user = re.search(r"(?m)^USER (\d+)$", (ROOT / "deploy" / "Dockerfile").read_text())
    assert user is not None
    assert pod()["securityContext"]["runAsUser"] == int(user[1])
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert container()["securityContext"]["readOnlyRootFilesystem"] is True
    assert container()["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    mounted = {each["name"] for each in container()["volumeMounts"]}
    assert mounted == {each["name"] for each in pod()["volumes"]}
    for server in servers():
        assert server["read_only"] is True
        assert server["cap_drop"] == ["ALL"]


def test_names_and_labels_fit() -> None:
    labels = kubernetes("Deployment")["spec"]["template"]["metadata"]["labels"]
    for selector in (
        kubernetes("Deployment")["spec"]["selector"]["matchLabels"],
        kubernetes("Service")["spec"]["selector"],
        kubernetes("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    (port,) = container()["ports"]
    assert kubernetes("Service")["spec"]["ports"][0]["targetPort"] == port["name"]
    (rule,) = kubernetes("Ingress")["spec"]["rules"]
    paths = [each["path"] for each in rule["http"]["paths"]]
    assert tuple(paths) == PROXY_PATHS  # /metrics stays inside


def test_proxies_wait_longer_than_the_heartbeat() -> None:
    annotations = kubernetes("Ingress")["metadata"]["annotations"]
    timeout_s = float(annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"])
    assert timeout_s > 2 * Settings().heartbeat_interval_s
    assert annotations["nginx.ingress.kubernetes.io/proxy-buffering"] == "off"


def test_compose_waits_for_what_it_needs() -> None:
    for server in servers():
        assert set(server["depends_on"]) == {"postgres", "valkey"}
    for name in ("postgres", "valkey"):
        assert "healthcheck" in services()[name]
    nodes = [each["environment"]["WSSERVER_NODE"] for each in servers()]
    assert len(set(nodes)) == len(nodes) == 2
    upstream = (ROOT / "deploy" / "compose" / "nginx.conf").read_text()
    assert all(f"server {node}:8765 resolve" in upstream for node in nodes)


@pytest.mark.skipif(shutil.which("docker") is None, reason="needs docker compose")
def test_compose_itself_takes_the_file() -> None:
    asked = ["docker", "compose", "--file", str(COMPOSE), "config", "--quiet"]
    checked = subprocess.run(asked, capture_output=True, text=True)
    if "is not a docker command" in checked.stderr or "unknown" in checked.stderr:
        pytest.skip("docker without compose")
    assert checked.returncode == 0, checked.stderr
