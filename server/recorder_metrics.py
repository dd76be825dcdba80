"""How recording stands, for Prometheus.

Invariant: a scrape reads one snapshot of the recorder, and disturbs nothing.
"""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collectors.figures import Figures, LinkFigures, SymbolFigures

Of = Callable[[SymbolFigures], float | None]
OfLink = Callable[[LinkFigures], float | None]

_COUNTED: Sequence[tuple[str, str, Of]] = (
    ("tapedeck_trades_recorded", "Trades taken into the ledger from the links.", lambda s: s.trades),
    (
        "tapedeck_trades_duplicate",
        "Trades that a link brought and another had before.",
        lambda s: s.duplicates,
    ),
    ("tapedeck_trades_conflicting", "Trades with another content under a held id.", lambda s: s.conflicts),
)
_MEASURED: Sequence[tuple[str, str, Of]] = (
    ("tapedeck_head_id", "The newest aggregate id that the links brought in order.", lambda s: s.head),
    (
        "tapedeck_lag_seconds",
        "From the symbol's newest event to receipt, on the quickest link.",
        lambda s: _in_s(s.lag_ms),
    ),
    ("tapedeck_synced", "1 while a link vouches that nothing is missed unseen.", lambda s: s.is_synced),
)
_OF_LINKS: Sequence[tuple[str, str, OfLink]] = (
    ("tapedeck_link_age_seconds", "For how long the link has been up.", lambda link: link.age_s),
    ("tapedeck_link_lag_seconds", "From event to receipt.", lambda link: _in_s(link.lag_ms)),
    ("tapedeck_link_ring_messages", "Messages received and not yet parsed.", lambda link: link.waiting),
    ("tapedeck_link_ring_bytes", "Bytes received and not yet parsed.", lambda link: link.waiting_bytes),
    ("tapedeck_link_symbols", "Symbols that the link brings.", lambda link: link.symbols),
)


class RecorderMetrics(Collector):
    """What a scrape asks of the recorder."""

    def __init__(self, figures: Callable[[], Figures]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        figures = self._figures()
        for name, text, of in _COUNTED:
            counter = CounterMetricFamily(name, text, labels=["symbol"])
            for symbol in figures.symbols:
                counter.add_metric([symbol.symbol], of(symbol) or 0)
            yield counter
        for name, text, of in _MEASURED:
            gauge = GaugeMetricFamily(name, text, labels=["symbol"])
            for symbol in figures.symbols:
                _add(gauge, [symbol.symbol], of(symbol))
            yield gauge
        for name, text, of_link in _OF_LINKS:
            gauge = GaugeMetricFamily(name, text, labels=["host", "link"])
            for link in figures.links:
                _add(gauge, [link.host, str(link.number)], of_link(link))
            yield gauge
        yield from _of_all(figures)


def _of_all(figures: Figures) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "tapedeck_messages_malformed", "Messages that could not be read.", value=figures.malformed
    )
    yield CounterMetricFamily(
        "tapedeck_messages_implausible",
        "Trades left out because no market counts so far in the time between.",
        value=figures.implausible,
    )
    yield CounterMetricFamily(
        "tapedeck_trades_shut_out",
        "New trades not kept, since older ones are held under their ids.",
        value=figures.shut_out,
    )
    yield CounterMetricFamily(
        "tapedeck_messages_dropped",
        "Messages given up because too many awaited parsing; REST brings their trades.",
        value=figures.dropped,
    )
    yield CounterMetricFamily(
        "tapedeck_link_errors", "What the exchange refused on a link, in words.", value=figures.errors
    )
    yield GaugeMetricFamily("tapedeck_links", "Links that are up.", value=len(figures.links))
    yield GaugeMetricFamily("tapedeck_links_wanted", "Links that should be up.", value=figures.lines)
    yield GaugeMetricFamily(
        "tapedeck_link_attempts",
        "Attempts to open a link in the last 300 s, restarts included.",
        value=figures.attempts,
    )
    yield GaugeMetricFamily(
        "tapedeck_flush_seconds", "How long the last write to the disk took.", value=figures.flush_s
    )
    most_lag = GaugeMetricFamily(
        "tapedeck_most_lag_seconds", "The greatest lag of any link in the last minute or two."
    )
    _add(most_lag, [], _in_s(figures.most_lag_ms))
    yield most_lag
    durable_lag = GaugeMetricFamily(
        "tapedeck_durable_lag_seconds",
        "From a symbol's newest trade to the end of the write that took it in.",
    )
    _add(durable_lag, [], _in_s(figures.durable_lag_ms))
    yield durable_lag
    ends = CounterMetricFamily(
        "tapedeck_link_ends",
        "Links that ended, by close code (1006: none), were replaced, or refused.",
        labels=["host", "code"],
    )
    for (host, code), count in sorted(figures.ends.items()):
        ends.add_metric([host, code], count)
    yield ends


def _add(gauge: GaugeMetricFamily, labels: Sequence[str], value: float | None) -> None:
    if value is not None:
        gauge.add_metric(labels, value)


def _in_s(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000
