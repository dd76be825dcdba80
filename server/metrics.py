"""GET /metrics: how the ledger and what else is registered stand, in the text format of Prometheus.

Invariant: a scrape reads what is in memory and the directory's sizes; it decodes nothing and waits for no
write. Every metric has a help text, and a name that begins with `tapedeck_`.
"""

from collections.abc import Iterable, Iterator

from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from storage.ledger import TradeLedger

METRICS_PATH = "/metrics"


class LedgerMetrics(Collector):
    """What a scrape asks of the ledger."""

    def __init__(self, ledger: TradeLedger) -> None:
        self._ledger = ledger

    def collect(self) -> Iterator[Metric]:
        condition = self._ledger.condition
        yield GaugeMetricFamily(
            "tapedeck_ledger_writable",
            "1 when the last write to the disk succeeded, 0 while the disk refuses.",
            value=condition.error is None,
        )
        yield GaugeMetricFamily(
            "tapedeck_ledger_unwritten_trades",
            "Trades in memory that no write has acknowledged.",
            value=condition.unwritten,
        )
        yield CounterMetricFamily(
            "tapedeck_ledger_refused_trades",
            "Trades left out since the start because too many awaited the disk; REST brings them later.",
            value=condition.refused,
        )
        yield GaugeMetricFamily(
            "tapedeck_ledger_bytes", "Size of the ledger's files.", value=self._ledger.bytes_on_disk
        )
        yield GaugeMetricFamily(
            "tapedeck_ledger_open_bytes",
            "Memory that the trades of hours take that are not sealed yet.",
            value=self._ledger.open_bytes,
        )
        held = GaugeMetricFamily("tapedeck_trades_held", "Trades held.", labels=["symbol"])
        missing = GaugeMetricFamily(
            "tapedeck_trades_missing",
            "Ids missing between the oldest and the newest.",
            labels=["symbol"],
        )
        for symbol in self._ledger.symbols:
            held.add_metric([symbol], self._ledger.rows(symbol))
            missing.add_metric([symbol], self._ledger.missing(symbol))
        yield from (held, missing)


def without_birth(metric: Metric) -> Metric:
    """Without when each series began, which would be one more series for each."""
    metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
    return metric


class MetricsEndpoint:
    """GET /metrics, for the hosts and origins that the other endpoints answer."""

    def __init__(self, collectors: Iterable[Collector], security: TransportSecuritySettings) -> None:
        self._registry = CollectorRegistry()
        for collector in collectors:
            self._registry.register(collector)
        self._guard = TransportSecurityMiddleware(security)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._guard.validate_request(Request(scope))
        if response is None:
            text = await run_in_threadpool(generate_latest, self._registry)
            response = Response(text, media_type=CONTENT_TYPE_LATEST)
        await response(scope, receive, send)
