"""What Prometheus reads of the recorder."""

from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from collectors.figures import Figures, LinkFigures, SymbolFigures
from server.app import create_app
from server.recorder_metrics import RecorderMetrics
from server.settings import Settings

FIGURES = Figures(
    symbols=(
        SymbolFigures("BTCUSDT", 70, 60, 2, 4711, 1500, is_synced=True),
        SymbolFigures("ETHUSDT", 0, 0, 0, None, None, is_synced=False),
    ),
    links=(LinkFigures("a:443", 7, 2, 3600.0, 1200, 130, 5, 900),),
    lines=8,
    ends={("a:443", "1001"): 2, ("a:443", "replaced"): 1},
    attempts=5,
    malformed=3,
    dropped=9,
    refused=13,
    flush_s=0.012,
    most_lag_ms=41_000,
    durable_lag_ms=900,
    errors=4,
    implausible=6,
    shut_out=11,
)


def samples(figures: Figures) -> dict[tuple[str, ...], float]:
    """Each sample under its name and its labels' values, the labels by name."""
    registry = CollectorRegistry()
    registry.register(RecorderMetrics(lambda: figures))
    families = list(text_string_to_metric_families(generate_latest(registry).decode()))
    assert all(family.documentation.endswith(".") for family in families)
    return {
        (sample.name, *dict(sorted(sample.labels.items())).values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_every_figure_has_its_name_its_labels_and_its_unit() -> None:
    found = samples(FIGURES)
    assert {key: value for key, value in found.items() if "ETHUSDT" not in key} == {
        ("tapedeck_trades_recorded_total", "BTCUSDT"): 70,
        ("tapedeck_trades_duplicate_total", "BTCUSDT"): 60,
        ("tapedeck_trades_conflicting_total", "BTCUSDT"): 2,
        ("tapedeck_head_id", "BTCUSDT"): 4711,
        ("tapedeck_lag_seconds", "BTCUSDT"): 1.5,
        ("tapedeck_synced", "BTCUSDT"): 1,
        ("tapedeck_link_age_seconds", "a:443", "7"): 3600,
        ("tapedeck_link_lag_seconds", "a:443", "7"): 1.2,
        ("tapedeck_link_ring_messages", "a:443", "7"): 5,
        ("tapedeck_link_ring_bytes", "a:443", "7"): 900,
        ("tapedeck_link_symbols", "a:443", "7"): 2,
        ("tapedeck_messages_malformed_total",): 3,
        ("tapedeck_messages_implausible_total",): 6,
        ("tapedeck_trades_shut_out_total",): 11,
        ("tapedeck_messages_dropped_total",): 9,
        ("tapedeck_link_errors_total",): 4,
        ("tapedeck_links",): 1,
        ("tapedeck_links_wanted",): 8,
        ("tapedeck_link_attempts",): 5,
        ("tapedeck_flush_seconds",): 0.012,
        ("tapedeck_most_lag_seconds",): 41,
        ("tapedeck_durable_lag_seconds",): 0.9,
        ("tapedeck_link_ends_total", "1001", "a:443"): 2,
        ("tapedeck_link_ends_total", "replaced", "a:443"): 1,
    }
    assert found["tapedeck_synced", "ETHUSDT"] == 0


def test_what_is_not_known_yet_has_no_sample() -> None:
    found = samples(FIGURES)
    assert ("tapedeck_head_id", "ETHUSDT") not in found
    assert ("tapedeck_lag_seconds", "ETHUSDT") not in found


def test_the_server_tells_them(tmp_path: Path) -> None:
    client = TestClient(create_app(Settings(data_dir=tmp_path / "l")), base_url="http://127.0.0.1:8000")
    assert "tapedeck_link_attempts 0.0" in client.get("/metrics").text
