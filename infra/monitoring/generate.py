"""Writes Prometheus's alert rules and Grafana's dashboard from the queries: `make monitoring`.

Invariant: the same queries give the same bytes, so that what is committed can be compared.
"""

import json
from pathlib import Path
from typing import Any

from infra.monitoring.queries import ALERTS, PANELS, Alert, Panel

HERE = Path(__file__).parent
RULES = HERE / "alerts.yml"
DASHBOARD = HERE / "grafana" / "tapedeck.json"
HEAD = "# Written by `make monitoring` from queries.py. What to do at each: docs/operate.md.\n"
SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH, HEIGHT = 12, 8


def rules(alerts: tuple[Alert, ...]) -> str:
    """A rule file of Prometheus's."""
    return HEAD + "groups:\n  - name: tapedeck\n    rules:\n" + "".join(_rule(alert) for alert in alerts)


def _rule(alert: Alert) -> str:
    return (
        f"      - alert: {alert.name}\n"
        f"        expr: {json.dumps(alert.query)}\n"
        f"        for: {alert.lasting}\n"
        f"        labels:\n          severity: {alert.severity}\n"
        f"        annotations:\n          summary: {json.dumps(alert.summary)}\n"
    )


def dashboard(panels: tuple[Panel, ...]) -> str:
    """A dashboard that Grafana imports; its data source is chosen there."""
    made = {
        "uid": "tapedeck",
        "title": "tapedeck",
        "schemaVersion": 39,
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "type": "datasource", "query": "prometheus", "label": "Data source"}]
        },
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }
    return json.dumps(made, indent=2) + "\n"


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": {"h": HEIGHT, "w": WIDTH, "x": number % 2 * WIDTH, "y": number // 2 * HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "expr": query, "legendFormat": legend, "datasource": SOURCE}
            for place, (legend, query) in enumerate(panel.queries.items())
        ],
    }


if __name__ == "__main__":
    RULES.write_text(rules(ALERTS))
    DASHBOARD.write_text(dashboard(PANELS))
