"""The recorder in figures: what a scrape or a status page is shown of symbols and links.

Invariant: a snapshot; nothing in it changes any more, and counters never go back.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SymbolFigures:
    """Counters are since the start; `lag_ms` is from the symbol's newest event to its receipt, the least of
    its links'; of a symbol that is silent, from the newest event of any."""

    symbol: str
    trades: int
    duplicates: int
    conflicts: int
    head: int | None
    lag_ms: int | None
    is_synced: bool


@dataclass(frozen=True, slots=True)
class LinkFigures:
    """A connection that is up; `lag_ms` is that of its newest event when it was received."""

    host: str
    number: int
    symbols: int
    age_s: float
    lag_ms: int | None
    received: int
    waiting: int
    waiting_bytes: int


@dataclass(frozen=True, slots=True)
class Figures:
    """All of it. `lines` is how many links there should be. `ends` counts links that ended by host and close
    code; `replaced` and `refused` are others that a line opened anew for. `most_lag_ms` is the greatest
    lag of any link in the last minute or two, `durable_lag_ms` the greatest from a symbol's newest trade to
    the end of the last write that took some in; `errors` counts the exchange's refusals on links."""

    symbols: tuple[SymbolFigures, ...]
    links: tuple[LinkFigures, ...]
    lines: int
    ends: Mapping[tuple[str, str], int]
    attempts: int
    malformed: int
    dropped: int
    refused: int
    flush_s: float
    most_lag_ms: int | None = None
    durable_lag_ms: int | None = None
    errors: int = 0
    implausible: int = 0
    shut_out: int = 0
