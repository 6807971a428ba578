"""The table of metrics, the alert rules and the dashboard: true of a real server, and current."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tornado.ioloop import IOLoop

from scripts.alert_rules import ALERTS
from scripts.monitoring_files import DASHBOARD, RULES, dashboard, files
from tests.support.lifecycle import run
from tests.support.rst_blocks import block, table
from tests.support.web_server import Server, StartServer, starting
from wsserver.web.resources.metric_table import INFO, METRICS, SECTIONS, WORKER_UP, MetricRow

KNOWN = {name for row in (*METRICS, INFO, WORKER_UP) for name in row.series}
FOREIGN = {"up"}


@pytest.fixture
def start_server(io_loop: IOLoop, tmp_path: Path) -> Iterator[StartServer]:
    with starting(io_loop, tmp_path) as start:
        yield start


@pytest.fixture
def server(io_loop: IOLoop, start_server: StartServer) -> Server:
    return run(io_loop, start_server)


@pytest.mark.gen_test
async def test_the_table_is_what_the_server_tells(server: Server) -> None:
    """Each metric once, with its type, its help and its labels; and no other."""
    client = await server.connect("u1", sessions=["s1"])
    client.send(type="join_session", session_id="s1")
    await client.push("session_joined")
    await server.post("/ping/u1", timeout_s=0.01)
    await server.post("/notify", user_ids=["u1"], title="t", message="m")
    note = await client.push("notification")
    client.send(type="ack", ids=[note["id"]])
    await client.push("ack")
    await server.post("/sessions/s1/messages", type="new_message", content="x")
    await server.post("/sessions/s1/answers", content="x")
    await (await server.upgrade(bearer="nonsense")).closed()
    text = (await server.request("GET", "/metrics")).body.decode()
    found = {family.name: family for family in text_string_to_metric_families(text)}
    assert len(found) == len(METRICS) + 1
    for row in METRICS:
        family = found[f"wsserver_{row.name}"]
        assert (family.type, family.documentation) == (row.kind, row.help), row.name
        for sample in family.samples:
            labels = set(sample.labels) - ({"le"} if row.kind == "histogram" else set())
            assert labels == set(row.labels), row.name
        names = {sample.name for sample in family.samples}
        assert names <= set(row.series), row.name
    assert INFO.full_name in found


@pytest.mark.gen_test
async def test_histograms_count_what_happens(server: Server) -> None:
    client = await server.connect("u1")
    await server.post("/broadcast", type="hint", keep=True)
    pinged = await server.post("/ping/u1", timeout_s=0.01)
    assert pinged.status == 200
    ping = await client.push("ping")
    client.send(type="pong", id=ping["id"])
    client.send(type="ping", ref=1)
    await client.push("pong")
    text = (await server.request("GET", "/metrics")).body.decode()
    counts = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.endswith("_count") and not sample.labels
    }
    assert counts["wsserver_delivery_duration_seconds_count"] >= 1
    assert counts["wsserver_ping_duration_seconds_count"] >= 1
    assert counts["wsserver_database_commit_duration_seconds_count"] >= 1
    assert counts["wsserver_http_request_duration_seconds_count"] >= 2


def test_the_files_are_current() -> None:
    for path, text in files().items():
        assert path.read_text(encoding="utf-8") == text, "run scripts/monitoring"


def metrics_in(expression: str) -> set[str]:
    without = re.sub(r'"[^"]*"|\[[^]]*\]|\{\{.*?\}\}', "", expression)
    without = re.sub(r"\bby\s*\([^)]*\)", "", without)
    words = set(re.findall(r"[a-z_][a-z0-9_]*", re.sub(r"\{[^}]*\}", "", without)))
    return {word for word in words if word.startswith("wsserver_") or word in FOREIGN}


def test_alerts_ask_for_metrics_that_there_are() -> None:
    for alert in ALERTS:
        asked = metrics_in(alert.expression)
        assert asked, alert.name
        assert asked <= KNOWN | FOREIGN, alert.name
        assert alert.severity in ("warning", "critical")
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)


def test_the_labels_that_alerts_show_are_there() -> None:
    by_series = {name: row for row in (*METRICS, WORKER_UP) for name in row.series}
    for alert in ALERTS:
        shown = set(re.findall(r"\$labels\.(\w+)", alert.summary)) - {"instance"}
        rows = [by_series[name] for name in metrics_in(alert.expression) if name in by_series]
        assert all(shown <= set(row.labels) for row in rows), alert.name


def test_every_metric_has_a_panel() -> None:
    made = dashboard()
    titles = [each["title"] for each in made["panels"] if each["type"] == "row"]
    assert titles == list(SECTIONS)
    queries = [target["expr"] for each in made["panels"] for target in each.get("targets", ())]
    shown = set().union(*map(metrics_in, queries))
    assert shown <= KNOWN

    def is_shown(row: MetricRow) -> bool:
        return row.kind == "summary" or any(name in shown for name in row.series)

    assert [row.name for row in METRICS if not is_shown(row)] == []
    ids = [each["id"] for each in made["panels"]]
    assert len(set(ids)) == len(ids)


def test_panels_do_not_overlap() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at: dict[str, Any] = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not mine & cells
        assert at["x"] + at["w"] <= 24
        cells |= mine


def test_the_histograms_of_the_documentation_are_all_there() -> None:
    shown = {row[0] for row in table("docs/watching.rst", "histograms")}
    assert shown == {row.full_name for row in METRICS if row.kind == "histogram"}


PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool (Debian: prometheus)")
def test_promtool_takes_the_rules(tmp_path: Path) -> None:
    checked = subprocess.run(
        [str(PROMTOOL), "check", "rules", RULES], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(ALERTS)} rules found" in checked.stdout
    queries = {
        target["expr"].replace("$__rate_interval", "5m")
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for target in panel.get("targets", ())
    }
    rules = [{"record": f"q{n}", "expr": query} for n, query in enumerate(sorted(queries))]
    file = tmp_path / "queries.yaml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    checked = subprocess.run(
        [str(PROMTOOL), "check", "rules", file], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool (Debian: prometheus)")
def test_promtool_takes_the_configuration_of_the_documentation(tmp_path: Path) -> None:
    (tmp_path / "wsserver-alerts.yaml").write_text(RULES.read_text())
    (tmp_path / "wsserver.token").write_text("t")
    text = block("docs/watching.rst", "prometheus.yml").text
    file = tmp_path / "prometheus.yml"
    file.write_text(text.replace("/etc/prometheus", str(tmp_path)))
    checked = subprocess.run(
        [str(PROMTOOL), "check", "config", file], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool (Debian: prometheus)")
def test_rules_fire_when_they_should(tmp_path: Path) -> None:
    """Prometheus itself runs them over made-up series."""
    labels = 'instance="a"'
    cases = [
        ("WsserverDown", 'up{job="wsserver",instance="a"}', "0x10", {"instance": "a"}),
        (
            "WsserverCheckFails",
            f'wsserver_check{{check="database",{labels}}}',
            "0x10",
            {"instance": "a", "check": "database"},
        ),
        ("WsserverInternalErrors", f"wsserver_internal_errors_total{{{labels}}}", "0+1x10", None),
        ("WsserverLostWrites", f"wsserver_database_lost_writes_total{{{labels}}}", "0x10", None),
    ]
    tests = []
    for name, series, values, expected in cases:
        alerts = []
        if values != "0x10" or expected is not None:
            rule = next(alert for alert in ALERTS if alert.name == name)
            found = {"job": "wsserver", **(expected or {})} if name == "WsserverDown" else expected
            shown = found or {"instance": "a"}
            summary = rule.summary
            for label, value in shown.items():
                summary = summary.replace(f"{{{{ $labels.{label} }}}}", value)
            alerts = [
                {
                    "exp_labels": {"severity": rule.severity, **shown},
                    "exp_annotations": {"summary": summary, "description": rule.advice},
                }
            ]
        tests.append(
            {
                "interval": "1m",
                "input_series": [{"series": series, "values": values}],
                "alert_rule_test": [{"eval_time": "9m", "alertname": name, "exp_alerts": alerts}],
            }
        )
    file = tmp_path / "tests.yaml"
    file.write_text(
        json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests})
    )
    checked = subprocess.run([str(PROMTOOL), "test", "rules", file], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
