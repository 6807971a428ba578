"""Files for Prometheus and Grafana, from the server's table of metrics: alert rules, dashboard."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.alert_rules import rules_file
from wsserver.web.resources.metric_table import METRICS, SECTIONS, MetricRow

DEPLOY = Path(__file__).parents[1] / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yaml"
DASHBOARD = DEPLOY / "grafana" / "wsserver.json"

WIDTH, HEIGHT = 8, 7
"""Of a panel; a dashboard is 24 wide."""
UNITS = {"": "short", "s": "s", "bytes": "bytes"}
RATES = {"": "cps", "s": "s", "bytes": "Bps"}
SELECTED = '{instance=~"$instance"}'
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
QUANTILES = ("0.5", "0.95", "0.99")


def dashboard() -> dict[str, Any]:
    """The dashboard: a section for each of the table, a panel for each metric."""
    panels: list[dict[str, Any]] = []
    y = 0
    for section in SECTIONS:
        rows = [each for each in METRICS if each.section == section and each.kind != "summary"]
        panels.append({"type": "row", "title": section, "gridPos": _place(0, y, 24, 1)})
        y += 1
        for index, row in enumerate(rows):
            x = index % (24 // WIDTH) * WIDTH
            panels.append(_panel(row, _place(x, y + index // (24 // WIDTH) * HEIGHT)))
        y += -(-len(rows) // (24 // WIDTH)) * HEIGHT
    for number, panel in enumerate(panels, start=1):
        panel["id"] = number
    return {
        "title": "wsserver",
        "uid": "wsserver",
        "description": "Made by scripts/monitoring from the server's table of metrics.",
        "tags": ["wsserver"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": panels,
    }


def _variables() -> list[dict[str, Any]]:
    return [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Source"},
        {
            "name": "instance",
            "type": "query",
            "label": "Server",
            "datasource": DATASOURCE,
            "query": "label_values(wsserver_connections, instance)",
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        },
    ]


def _place(x: int, y: int, width: int = WIDTH, height: int = HEIGHT) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(row: MetricRow, place: dict[str, int]) -> dict[str, Any]:
    unit = RATES[row.unit] if row.kind == "counter" else UNITS[row.unit]
    return {
        "type": "timeseries",
        "title": row.help,
        "description": f"`{row.full_name}`",
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": [
            {"refId": chr(ord("A") + number), "expr": expression, "legendFormat": legend}
            for number, (expression, legend) in enumerate(queries(row))
        ],
    }


def queries(row: MetricRow) -> Iterator[tuple[str, str]]:
    """The queries of a metric's panel, each with its legend."""
    labels = ", ".join(row.labels or ("instance",))
    legend = " ".join(f"{{{{{label}}}}}" for label in row.labels or ("instance",))
    if row.kind == "histogram":
        within = ", ".join(("le", *row.labels))
        for quantile in QUANTILES:
            rate = f"rate({row.full_name}_bucket{SELECTED}[$__rate_interval])"
            name = f"p{float(quantile) * 100:g} {legend if row.labels else ''}".strip()
            yield f"histogram_quantile({quantile}, sum by ({within}) ({rate}))", name
    elif row.kind == "counter":
        yield f"sum by ({labels}) (rate({row.full_name}{SELECTED}[$__rate_interval]))", legend
    else:
        yield f"sum by ({labels}) ({row.full_name}{SELECTED})", legend


def files() -> dict[Path, str]:
    """Every generated file, with its content."""
    text = json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"
    return {RULES: rules_file(), DASHBOARD: text}


def main() -> None:
    """Write the files; with ``--check``, exit with 1 if one is not current."""
    outdated = [
        path
        for path, text in files().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if sys.argv[1:] == ["--check"]:
        for path in outdated:
            print(f"{path} is not current: run scripts/monitoring", file=sys.stderr)
        sys.exit(1 if outdated else 0)
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
