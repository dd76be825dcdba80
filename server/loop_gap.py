"""How late the event loop wakes a sleeper, for Prometheus.

Invariant: one timer, whatever is scraped; between two of its ticks the loop is as it would be without.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Histogram
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from server.metrics import without_birth

# A quarter of a percent of a core on a machine that is otherwise idle; most of it is waking up.
TICK_S = 0.05
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 5)


class LoopGap(Collector):
    """Every socket and every question waits for the event loop as long as this timer does.

    Of a single standstill a tick is missed at most: what was left until the timer was due.
    """

    def __init__(self) -> None:
        self._late = Histogram(
            "tapedeck_loop_gap_seconds",
            f"How late the event loop comes to a timer, which is set every {TICK_S * 1000:g} ms.",
            buckets=SECONDS,
            registry=None,
        )

    def collect(self) -> Iterator[Metric]:
        yield from map(without_birth, self._late.collect())

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The timer runs within this, on the running loop."""
        loop = asyncio.get_running_loop()
        self._wait(loop)
        try:
            yield
        finally:
            self._timer.cancel()

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        due_s = loop.time() + TICK_S
        self._timer = loop.call_at(due_s, self._tick, loop, due_s)

    def _tick(self, loop: asyncio.AbstractEventLoop, due_s: float) -> None:
        self._late.observe(max(0.0, loop.time() - due_s))
        self._wait(loop)
