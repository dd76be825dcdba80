"""Alarms and graphs ask for what is exported, fire when they should, and are what their source says."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from infra.monitoring.generate import DASHBOARD, RULES, dashboard, rules
from infra.monitoring.queries import ALERTS, JOB, PANELS, Alert
from server.app import create_app
from server.settings import Settings
from storage.ledger import TradeLedger
from tests.processes import ROOT
from tests.tapes import run_of

TESTED = (ROOT / "tests/infra/alerts.test.yml").read_text()
OPERATE = (ROOT / "docs/operate.md").read_text()
QUERIES = [query for panel in PANELS for query in panel.queries.values()] + [alert.query for alert in ALERTS]
# What Prometheus itself adds to every series.
OWN_LABELS = {"instance", "job"}


@pytest.fixture
def exported(tmp_path: Path) -> str:
    """What GET /metrics says of a ledger with trades."""
    with TradeLedger.open(tmp_path / "ledger") as ledger:
        ledger.append("BTCUSDT", run_of(1, 10))
    app = create_app(Settings(data_dir=tmp_path / "ledger"))
    return TestClient(app, base_url="http://127.0.0.1:8000").get("/metrics").text


def names_of(exported: str) -> set[str]:
    """The names under which a scrape can find something, whether or not there is a value yet."""
    parts = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    families = text_string_to_metric_families(exported)
    return {family.name + part for family in families for part in parts.get(family.type, ("",))}


def promtool(*arguments: object, said: str = "") -> str:
    """What promtool says; it must be content."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run(
        [program, *map(str, arguments)], input=said, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_every_query_asks_for_metrics_and_labels_that_are_exported(exported: str) -> None:
    samples = [s for family in text_string_to_metric_families(exported) for s in family.samples]
    names = names_of(exported)
    labels = {label for sample in samples for label in sample.labels} | OWN_LABELS
    for query in QUERIES:
        asked = set(re.findall(r"\btapedeck_[a-z_]+", query)) or set(re.findall(r"\bup\b", query))
        assert asked
        assert asked <= names | {"up"}, query
        named = re.findall(r"(?:by|on|group_left|without|ignoring) \(([a-z_, ]+)\)", query)
        named += re.findall(r"([a-z_]+)=~?\"", query)
        assert {label for group in named for label in group.split(", ")} <= labels, query


def test_every_legend_and_summary_names_labels_that_are_exported(exported: str) -> None:
    texts = [legend for panel in PANELS for legend in panel.queries] + [alert.summary for alert in ALERTS]
    samples = [s for family in text_string_to_metric_families(exported) for s in family.samples]
    labels = {label for sample in samples for label in sample.labels} | OWN_LABELS
    assert set(re.findall(r"\{\{ ?(?:\$labels\.)?([a-z_]+) ?\}\}", " ".join(texts))) <= labels


def test_the_committed_rules_and_dashboard_are_those_of_the_queries() -> None:
    assert RULES.read_text() == rules(ALERTS)
    assert DASHBOARD.read_text() == dashboard(PANELS)


def test_the_dashboard_shows_every_query_on_a_grid_without_overlaps() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    shown = [target["expr"] for panel in panels for target in panel["targets"]]
    assert shown == [query for panel in PANELS for query in panel.queries.values()]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len({panel["id"] for panel in panels}) == len(PANELS)


def test_prometheus_accepts_rules_configuration_and_metrics(exported: str, tmp_path: Path) -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", RULES)
    promtool("check", "config", complete(tmp_path))
    assert promtool("check", "metrics", said=exported) == ""


def complete(directory: Path) -> Path:
    """The configuration beside the files that it names, the token among them."""
    (directory / RULES.name).write_text(RULES.read_text())
    (directory / "token").touch()
    config = RULES.with_name("prometheus.yml").read_text()
    (directory / "prometheus.yml").write_text(config.replace("/run/secrets/prometheus_token", "token"))
    return directory / "prometheus.yml"


def test_every_alarm_fires_when_it_should_and_only_then() -> None:
    healthy, _, failing = TESTED.partition("each failure raises its alarm")
    for alert in ALERTS:
        assert f"alertname: {alert.name}}}" in healthy
        assert f"alertname: {alert.name}\n" in failing
    promtool("test", "rules", ROOT / "tests/infra/alerts.test.yml")


def test_the_job_that_an_alarm_asks_for_is_the_one_that_is_scraped() -> None:
    assert f"job_name: {JOB}\n" in RULES.with_name("prometheus.yml").read_text()


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_the_manual_says_what_to_do_at_every_alarm(alert: Alert) -> None:
    assert f"| `{alert.name}` |" in OPERATE
