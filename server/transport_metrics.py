"""Sessions, calls under way and bounds that clients ran into, for Prometheus.

Invariant: each bound and transport has its line from the start, so that a first refusal shows as an increase.
"""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server.bounds import NAMES, Bounds
from server.transports import Transports


class TransportMetrics(Collector):
    """What a scrape asks of both transports."""

    def __init__(self, transports: Transports, bounds: Bounds) -> None:
        self._transports = transports
        self._bounds = bounds

    def collect(self) -> Iterator[Metric]:
        sessions = GaugeMetricFamily("tapedeck_sessions", "Sessions that are open.", labels=["transport"])
        most = GaugeMetricFamily(
            "tapedeck_sessions_limit", "Sessions that may be open at once.", labels=["transport"]
        )
        for transport, count in self._transports.open_sessions.items():
            sessions.add_metric([transport], count)
            most.add_metric([transport], self._bounds.sessions)
        yield from (sessions, most)
        yield GaugeMetricFamily(
            "tapedeck_calls_under_way", "Calls being answered.", value=self._transports.calls.under_way
        )
        yield GaugeMetricFamily(
            "tapedeck_calls_limit", "Calls that may be under way at once.", value=self._bounds.calls
        )
        yield self._reached()

    def _reached(self) -> Metric:
        reached = CounterMetricFamily(
            "tapedeck_bounds_reached",
            "What clients were refused or ended for: no room for a session, too many requests of one that "
            "await answers, too many calls of all, a body too large or too late, a reader that took nothing.",
            labels=["bound"],
        )
        for name in NAMES:
            reached.add_metric([name], self._bounds.reached[name])
        return reached
