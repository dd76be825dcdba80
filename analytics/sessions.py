"""Sessions of the UTC day and what each leaves behind: its levels, and whether its POC was traded since.

Invariant: sessions are fixed hours in UTC, whatever the season, and may overlap. Source: definitions,
section 5 (docs/analytics.md).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from analytics.bars import DAY_MS
from analytics.errors import BinsTooWide
from storage.histograms import PriceHistogram
from storage.trades import decimals_of

if TYPE_CHECKING:  # a profile's nodes need scipy, which takes a quarter of a second; commands do without
    from analytics.profile import VolumeProfile

# Begin and end within a UTC day.
SESSION_TIMES: Mapping[str, tuple[timedelta, timedelta]] = {
    "day": (timedelta(0), timedelta(hours=24)),
    "asia": (timedelta(0), timedelta(hours=8)),
    "london": (timedelta(hours=8), timedelta(hours=16)),
    "new_york": (timedelta(hours=13, minutes=30), timedelta(hours=20)),
}
# 1970-01-01 was a Thursday.
FIRST_MONDAY_MS = 4 * DAY_MS
WEEK_MS = 7 * DAY_MS


@dataclass(frozen=True, slots=True)
class Session:
    """`name` of `SESSION_TIMES` on a UTC day, half-open [start_ms, end_ms)."""

    name: str
    start_ms: int
    end_ms: int

    @property
    def date(self) -> str:
        """Its UTC day, ISO-8601."""
        return datetime.fromtimestamp(self.start_ms // 1000, UTC).date().isoformat()


@dataclass(frozen=True, slots=True)
class SessionLevels:
    """What a session's profile says, prices in the quote asset.

    `naked` is whether no trade since its end was in the POC's row, None while it lasts. `partial`: not all of
    its trades are known.
    """

    session: Session
    poc_low: Decimal
    poc_high: Decimal
    vah: Decimal
    val: Decimal
    vwap: Decimal
    high: Decimal
    low: Decimal
    naked: bool | None
    partial: bool


def sessions_within(start_ms: int, end_ms: int) -> Iterator[Session]:
    """The sessions that begin in [start_ms, end_ms), newest day first; the newest may not have ended."""
    for day_ms in range((end_ms - 1) // DAY_MS * DAY_MS, start_ms - DAY_MS, -DAY_MS):
        for name, (begin, end) in SESSION_TIMES.items():
            first, stop = (day_ms + part // timedelta(milliseconds=1) for part in (begin, end))
            if start_ms <= first < end_ms:
                yield Session(name, first, stop)


def day_start_ms(at_ms: int) -> int:
    """Midnight UTC before or at a time."""
    return at_ms // DAY_MS * DAY_MS


def week_start_ms(at_ms: int) -> int:
    """Monday's midnight UTC before or at a time."""
    return at_ms - (at_ms - FIRST_MONDAY_MS) % WEEK_MS


def session_levels(
    session: Session, profile: "VolumeProfile", *, naked: bool | None, partial: bool
) -> SessionLevels:
    """The levels of a session with its profile."""
    return SessionLevels(
        session,
        profile.poc.low,
        profile.poc.high,
        profile.vah,
        profile.val,
        profile.vwap,
        profile.high,
        profile.low,
        naked=naked,
        partial=partial,
    )


def traded_within(histogram: PriceHistogram, low: Decimal, high: Decimal, tick: Decimal) -> bool:
    """Whether a price from `low` to `high` (inclusive, whole ticks) was traded: prints, not ranges of bars.

    Raises BinsTooWide where the histogram's bins reach beyond them.
    """
    if len(histogram) == 0:
        return False
    exponent = max(histogram.price_exp, decimals_of(tick), decimals_of(low), decimals_of(high))
    histogram = histogram.at_exponents(exponent, histogram.quantity_exp)
    first, stop = (int(price.scaleb(exponent)) for price in (low, high + tick))
    if histogram.bin_int is not None and (first % histogram.bin_int or stop % histogram.bin_int):
        raise BinsTooWide
    inside = (histogram.price_int >= first) & (histogram.price_int < stop)
    return bool(np.any(inside))
