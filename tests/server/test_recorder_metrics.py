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
    links=(LinkFigures("a:443", 7, 2, 3600.0, 1500, 130, 5, 900),),
    lines=2,
    ends={("a:443", "1001"): 2, ("a:443", "replaced"): 1},
    attempts=4,
    malformed=3,
    dropped=9,
    refused=0,
    flush_s=0.012,
    most_lag_ms=41_000,
    durable_lag_ms=900,
    errors=4,
    implausible=6,
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


def test_symbols_and_links_are_told_with_their_labels() -> None:
    found = samples(FIGURES)
    assert found["tapedeck_trades_recorded_total", "BTCUSDT"] == 70
    assert found["tapedeck_trades_conflicting_total", "BTCUSDT"] == 2
    assert found["tapedeck_lag_seconds", "BTCUSDT"] == 1.5
    assert found["tapedeck_synced", "ETHUSDT"] == 0
    assert found["tapedeck_link_age_seconds", "a:443", "7"] == 3600
    assert found["tapedeck_link_ends_total", "1001", "a:443"] == 2
    assert found["tapedeck_messages_malformed_total",] == 3
    assert found["tapedeck_messages_implausible_total",] == 6
    assert found["tapedeck_links",] == 1
    assert found["tapedeck_flush_seconds",] == 0.012
    assert found["tapedeck_most_lag_seconds",] == 41
    assert found["tapedeck_durable_lag_seconds",] == 0.9
    assert found["tapedeck_link_errors_total",] == 4


def test_what_is_not_known_yet_has_no_sample() -> None:
    found = samples(FIGURES)
    assert ("tapedeck_head_id", "ETHUSDT") not in found
    assert ("tapedeck_lag_seconds", "ETHUSDT") not in found


def test_the_server_tells_them(tmp_path: Path) -> None:
    client = TestClient(create_app(Settings(data_dir=tmp_path / "l")), base_url="http://127.0.0.1:8000")
    assert "tapedeck_link_attempts 0.0" in client.get("/metrics").text
