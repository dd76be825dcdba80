"""What was worked out lately of rows that never change, kept for the next question.

Invariant: a key says all that its value depends on, so a value never grows stale; together the values hold no
more rows than was agreed. Thread-safe.
"""

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from storage.candles import MinuteCandles
from storage.histograms import PriceHistogram
from storage.trades import TradeColumns

# Rows that are kept decoded, some 8 MB: the hours at the edges of the windows that are asked about.
MOST_ROWS_KEPT = 150_000
# Prices of histograms that are kept, some 4 MB.
MOST_PRICES_KEPT = 100_000
# Minutes of candles that are kept, some 5 MB: a week of four symbols.
MOST_MINUTES_KEPT = 40_000


class Sized(Protocol):
    def __len__(self) -> int: ...


V = TypeVar("V", bound=Sized)


class Recent(Generic[V]):
    """Values by key, the least recently used given up first."""

    def __init__(self, most_rows: int) -> None:
        self._most_rows = most_rows
        self._values: dict[Hashable, V] = {}
        self._rows = 0
        self._lock = threading.Lock()

    def of(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value kept under the key, or the one that `make` makes; made twice where two ask at once."""
        with self._lock:
            if key in self._values:
                self._values[key] = value = self._values.pop(key)
                return value
        value = make()
        with self._lock:
            if key not in self._values and len(value) <= self._most_rows:
                self._values[key] = value
                self._rows += len(value)
                while self._rows > self._most_rows:
                    self._rows -= len(self._values.pop(next(iter(self._values))))
        return value


@dataclass(frozen=True, slots=True)
class WorkedOut:
    """What views of a ledger share: rows of cut hours, sums of whole hours and of rows in memory, candles."""

    rows: Recent[TradeColumns] = field(default_factory=lambda: Recent(MOST_ROWS_KEPT))
    histograms: Recent[PriceHistogram] = field(default_factory=lambda: Recent(MOST_PRICES_KEPT))
    candles: Recent[MinuteCandles] = field(default_factory=lambda: Recent(MOST_MINUTES_KEPT))
