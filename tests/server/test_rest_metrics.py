"""What Prometheus reads of REST, gaps and the clock."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from collectors.clock_check import Offset
from collectors.gap_follower import GapCounts
from collectors.rest import RestUse
from collectors.symbol_filling import FillingState
from server.rest_metrics import RestMetrics


class Recorded:
    """A recorder in the middle of a bad day."""

    symbols = ("BTCUSDT", "ETHUSDT")
    rest_use = RestUse({"200": 70, "429": 2, "none": 1}, {"429": 2}, 44, 320, 6000, 9)
    clock_offset = Offset(-1_250, 80)

    def filling(self, symbol: str) -> FillingState:
        if symbol == "ETHUSDT":
            return FillingState(GapCounts(), 0, 0, 0, 0, 0)
        return FillingState(
            GapCounts(5, 3, 1, 7, {"stream": 30, "certified": 11}),
            missing=40,
            out_of_reach=2,
            history=900,
            certified=11,
            fetched=77,
        )


def test_every_figure_has_its_name_and_help_text() -> None:
    registry = CollectorRegistry()
    registry.register(RestMetrics(Recorded()))
    found = {
        family.name: family for family in text_string_to_metric_families(generate_latest(registry).decode())
    }
    assert all(family.documentation.endswith(".") for family in found.values())
    figures = {
        (sample.name, *sample.labels.values()): sample.value
        for family in found.values()
        for sample in family.samples
        if "ETHUSDT" not in sample.labels.values()
    }
    assert figures == {
        ("tapedeck_rest_requests_total", "200"): 70,
        ("tapedeck_rest_requests_total", "429"): 2,
        ("tapedeck_rest_requests_total", "none"): 1,
        ("tapedeck_rest_barred_total", "418"): 0,
        ("tapedeck_rest_barred_total", "429"): 2,
        ("tapedeck_rest_barred_seconds_total",): 44,
        ("tapedeck_rest_weight_used",): 320,
        ("tapedeck_rest_weight_limit",): 6000,
        ("tapedeck_rest_rows_malformed_total",): 9,
        ("tapedeck_clock_offset_seconds",): -1.25,
        ("tapedeck_gaps_opened_total", "BTCUSDT"): 5,
        ("tapedeck_gaps_filled_total", "BTCUSDT"): 3,
        ("tapedeck_gaps_certified_total", "BTCUSDT"): 1,
        ("tapedeck_certified_trades_recovered_total", "BTCUSDT"): 7,
        ("tapedeck_gap_trades_closed_total", "stream", "BTCUSDT"): 30,
        ("tapedeck_gap_trades_closed_total", "rest", "BTCUSDT"): 0,
        ("tapedeck_gap_trades_closed_total", "archive", "BTCUSDT"): 0,
        ("tapedeck_gap_trades_closed_total", "certified", "BTCUSDT"): 11,
        ("tapedeck_gap_trades_closed_total", "expired", "BTCUSDT"): 0,
        ("tapedeck_rest_trades_total", "BTCUSDT"): 77,
        ("tapedeck_trades_certified", "BTCUSDT"): 11,
        ("tapedeck_history_missing", "BTCUSDT"): 900,
    }
