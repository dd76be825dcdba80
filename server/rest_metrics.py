"""What REST was asked and what became of gaps, for Prometheus.

Invariant: counted since the start; a scrape reads what is in memory.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collectors.clock_check import Offset
from collectors.gap_follower import CLOSERS
from collectors.rest import RestUse
from collectors.symbol_filling import FillingState

_GAPS = (
    ("opened", "tapedeck_gaps_opened", "Gaps that opened since the start."),
    ("filled", "tapedeck_gaps_filled", "Gaps of which every id came."),
    ("certified", "tapedeck_gaps_certified", "Gaps of which the exchange has no row, at least in part."),
    ("recovered_ids", "tapedeck_certified_trades_recovered", "Certified ids that came after all."),
)


class Recorded(Protocol):
    """What is asked of the recorder."""

    @property
    def symbols(self) -> Sequence[str]: ...
    @property
    def rest_use(self) -> RestUse: ...
    @property
    def clock_offset(self) -> Offset | None: ...
    def filling(self, symbol: str) -> FillingState: ...


class RestMetrics(Collector):
    """What a scrape asks of filling, REST client and clock."""

    def __init__(self, recorder: Recorded) -> None:
        self._recorder = recorder

    def collect(self) -> Iterator[Metric]:
        yield from self._requests(self._recorder.rest_use)
        offset = self._recorder.clock_offset
        yield GaugeMetricFamily(
            "tapedeck_clock_offset_seconds",
            "How far the exchange's clock is ahead of this machine's.",
            value=None if offset is None else offset.offset_ms / 1000,
        )
        yield from self._filling()

    def _requests(self, use: RestUse) -> Iterator[Metric]:
        replies = CounterMetricFamily(
            "tapedeck_rest_requests", "REST requests by status; none: there was no answer.", labels=["status"]
        )
        for status, count in use.replies.items():
            replies.add_metric([status], count)
        barred = CounterMetricFamily(
            "tapedeck_rest_barred", "Refusals for too many requests (429) and bans (418).", labels=["status"]
        )
        for status in ("418", "429"):
            barred.add_metric([status], use.barred.get(status, 0))
        yield from (replies, barred)
        yield CounterMetricFamily(
            "tapedeck_rest_barred_seconds", "Seconds that such refusals asked to wait.", value=use.barred_s
        )
        yield GaugeMetricFamily(
            "tapedeck_rest_weight_used", "Request weight used in this minute.", value=use.weight_used
        )
        yield GaugeMetricFamily(
            "tapedeck_rest_weight_limit", "Request weight that the exchange allows.", value=use.weight_limit
        )
        yield CounterMetricFamily(
            "tapedeck_rest_rows_malformed",
            "Rows of REST's pages that could not be read, each time that they came.",
            value=use.malformed_rows,
        )

    def _filling(self) -> Iterator[Metric]:
        states = {symbol: self._recorder.filling(symbol) for symbol in self._recorder.symbols}
        for field, name, text in _GAPS:
            counter = CounterMetricFamily(name, text, labels=["symbol"])
            for symbol, state in states.items():
                counter.add_metric([symbol], getattr(state.counts, field))
            yield counter
        closed = CounterMetricFamily(
            "tapedeck_gap_trades_closed",
            "Ids of gaps by what closed them: stream, rest, archive, certified, expired.",
            labels=["symbol", "by"],
        )
        fetched = CounterMetricFamily("tapedeck_rest_trades", "Trades fetched over REST.", labels=["symbol"])
        certified = GaugeMetricFamily(
            "tapedeck_trades_certified", "Ids that the exchange has no trade for.", labels=["symbol"]
        )
        history = GaugeMetricFamily(
            "tapedeck_history_missing", "Trades of the first start's history to come.", labels=["symbol"]
        )
        for symbol, state in states.items():
            for by in CLOSERS:
                closed.add_metric([symbol, by], state.counts.closed_ids.get(by, 0))
            fetched.add_metric([symbol], state.fetched)
            certified.add_metric([symbol], state.certified)
            history.add_metric([symbol], state.history)
        yield from (closed, fetched, certified, history)
