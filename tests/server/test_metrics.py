"""GET /metrics: what Prometheus reads."""

from importlib.metadata import version
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from server.app import create_app
from server.settings import Settings
from storage.ledger import TradeLedger
from tests.tapes import START_MS, run_of

NAMES = {
    "tapedeck_ledger_writable",
    "tapedeck_ledger_unwritten_trades",
    "tapedeck_ledger_refused_trades",
    "tapedeck_ledger_bytes",
    "tapedeck_ledger_open_bytes",
    "tapedeck_trades_held",
    "tapedeck_trades_missing",
    "tapedeck_trades_certified",
    "tapedeck_history_missing",
    "tapedeck_gaps_opened",
    "tapedeck_gaps_filled",
    "tapedeck_gaps_certified",
    "tapedeck_certified_trades_recovered",
    "tapedeck_rest_trades",
    "tapedeck_rest_requests",
    "tapedeck_rest_barred",
    "tapedeck_rest_barred_seconds",
    "tapedeck_rest_weight_used",
    "tapedeck_rest_weight_limit",
    "tapedeck_build_info",
    "tapedeck_cpu_seconds",
    "tapedeck_disk_bytes",
    "tapedeck_disk_free_bytes",
    "tapedeck_resident_bytes",
    "tapedeck_private_bytes",
    "tapedeck_calls",
    "tapedeck_calls_under_way",
    "tapedeck_calls_limit",
    "tapedeck_call_seconds",
    "tapedeck_answer_tokens",
    "tapedeck_answer_bytes",
    "tapedeck_sessions",
    "tapedeck_sessions_limit",
    "tapedeck_bounds_reached",
    "tapedeck_loop_gap_seconds",
}


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    with TradeLedger.open(tmp_path / "ledger") as ledger:
        ledger.append("BTCUSDT", run_of(1, 10))
        ledger.append("BTCUSDT", run_of(16, 10, start_ms=START_MS + 5_000))
        ledger.append("ETHUSDT", run_of(1, 7))
    # Without its lifespan the app records nothing; the ledger is open.
    return TestClient(create_app(Settings(data_dir=tmp_path / "ledger")), base_url="http://127.0.0.1:8000")


def test_every_metric_has_a_help_text_and_the_ledgers_numbers(client: TestClient) -> None:
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = list(text_string_to_metric_families(answer.text))
    found = {family.name: family for family in families}
    assert len(found) == len(families)
    assert found.keys() >= NAMES
    assert all(family.documentation.endswith(".") for family in found.values())
    plain = {
        name: family.samples[0].value
        for name, family in found.items()
        if name in NAMES and family.samples and not family.samples[0].labels
    }
    assert plain["tapedeck_ledger_writable"] == 1
    assert plain["tapedeck_ledger_unwritten_trades"] == plain["tapedeck_ledger_refused_trades"] == 0
    assert plain["tapedeck_ledger_bytes"] > 100
    assert plain["tapedeck_ledger_open_bytes"] == 27 * (6 * 8 + 1)
    by_symbol = {
        name: {sample.labels["symbol"]: sample.value for sample in found[name].samples}
        for name in ("tapedeck_trades_held", "tapedeck_trades_missing")
    }
    assert by_symbol["tapedeck_trades_held"] == {"BTCUSDT": 20, "ETHUSDT": 7}
    assert by_symbol["tapedeck_trades_missing"] == {"BTCUSDT": 5, "ETHUSDT": 0}


def test_the_process_tells_of_itself_and_its_disk(client: TestClient) -> None:
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = {sample.name: sample for family in families for sample in family.samples}
    assert samples["tapedeck_build_info"].labels == {"version": version("tapedeck")}
    assert 0 < samples["tapedeck_disk_free_bytes"].value < samples["tapedeck_disk_bytes"].value
    resident = samples["tapedeck_resident_bytes"].value
    assert 10**7 < samples["tapedeck_private_bytes"].value < resident < 10**10
    assert samples["tapedeck_cpu_seconds_total"].value > 0


def test_a_foreign_host_or_origin_gets_no_metrics(client: TestClient) -> None:
    assert client.get("/metrics", headers={"Host": "evil.example"}).status_code == 421
    assert client.get("/metrics", headers={"Origin": "https://evil.example"}).status_code == 403
