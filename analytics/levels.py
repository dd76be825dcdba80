"""Where a price stands: levels of any origin by their distance from it.

Invariant: a level is a price or a range that was found elsewhere; here it is only named, placed and ranked.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from analytics.profile import VolumeProfile
from analytics.rows import Rows
from analytics.sessions import SessionLevels
from analytics.thin import thin_zones

Side = Literal["above", "below", "at"]
Place = Literal["above", "inside", "below"]


@dataclass(frozen=True, slots=True)
class Level:
    """A price, or a range from its lowest to its highest tick's price, and what it is a level of.

    `age_h` is the hours since what made it had ended; None while that lasts, and where it has no end.
    """

    name: str
    of: str
    low: Decimal
    high: Decimal
    age_h: float | None = None


@dataclass(frozen=True, slots=True)
class PlacedLevel:
    """A level as seen from a price: `distance_pct` of its nearer bound in % of that price, 0 inside it."""

    level: Level
    side: Side
    distance_pct: float


def levels_of_session(levels: SessionLevels, of: str, now_ms: int) -> Iterator[Level]:
    """POC, value area, VWAP and extremes of a session; the POC is called naked where it is."""
    ended_ms = levels.session.end_ms
    age_h = (now_ms - ended_ms) / 3_600_000 if ended_ms <= now_ms else None
    yield Level("naked POC" if levels.naked else "POC", of, levels.poc_low, levels.poc_high, age_h)
    prices = {
        "VAH": levels.vah,
        "VAL": levels.val,
        "VWAP": levels.vwap,
        "high": levels.high,
        "low": levels.low,
    }
    for name, price in prices.items():
        yield Level(name, of, price, price, age_h)


def vacuums_around(rows: Rows, last: Decimal, of: str) -> Iterator[Level]:
    """The interior thin zones that hold `last`, or are the nearest below and above it, by rule `thin`."""
    thin = thin_zones(rows.volume, ticks_per_row=rows.row_ticks)
    zones = ((rows.low(z.first), rows.high(z.last)) for z in thin.zones if z.kind == "interior")
    yield from _around(zones, last, "vacuum", of)


def nodes_around(profile: VolumeProfile, last: Decimal, of: str) -> Iterator[Level]:
    """The high and the low volume node that hold `last` or are the nearest below and above it."""
    rows = profile.rows
    for name, nodes in (("HVN", profile.nodes.high_volume), ("LVN", profile.nodes.low_volume)):
        yield from _around(((rows.low(node.row), rows.high(node.row)) for node in nodes), last, name, of)


def _around(ranges: Iterable[tuple[Decimal, Decimal]], last: Decimal, name: str, of: str) -> Iterator[Level]:
    """The ranges nearest to a price below and above it; the one that holds it is both."""
    known = list(ranges)
    below = max((each for each in known if each[0] <= last), default=None)
    above = min((each for each in known if each[1] >= last), default=None)
    for low, high in sorted({each for each in (below, above) if each is not None}):
        yield Level(name, of, low, high)


def placed(levels: Iterable[Level], last: Decimal) -> list[PlacedLevel]:
    """By distance from `last`, then by price and name."""
    found = [PlacedLevel(level, _side(level, last), _distance_pct(level, last)) for level in levels]
    return sorted(found, key=lambda each: (each.distance_pct, each.level.low, each.level.name, each.level.of))


def place_in_value(last: Decimal, levels: SessionLevels) -> Place:
    """Whether a price lies above, inside or below a session's value area."""
    if last > levels.vah:
        return "above"
    return "below" if last < levels.val else "inside"


def _side(level: Level, last: Decimal) -> Side:
    if level.low > last:
        return "above"
    return "below" if level.high < last else "at"


def _distance_pct(level: Level, last: Decimal) -> float:
    return float(100 * max(level.low - last, last - level.high, Decimal(0)) / last)
