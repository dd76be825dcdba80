"""What was worked out lately of rows that never change, kept for the next question.

Invariant: a key says all that its value depends on, so a value never grows stale; together the values hold no
more rows than was agreed. Thread-safe.
"""

import threading
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar


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
