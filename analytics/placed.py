"""Zones as seen from the last price: side, distance, and where a stop would not sit inside one.

Invariant: of zones at equal distance the lower comes first, whatever their order. Source: definitions,
sections 4.4, 4.7 and 4.8 (docs/analytics.md).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, Protocol, TypeVar

Side = Literal["above", "below", "inside"]
Position = Literal["long", "short"]


@dataclass(frozen=True, slots=True)
class StopHint:
    """Where a stop would not sit inside a vacuum: one tick beyond the zone `vacuum_id`.

    `distance_pct` is its distance from the last price in % of it.
    """

    price: Decimal
    distance_pct: float
    vacuum_id: str


class Placed(Protocol):
    """What has a name and a place in price: a vacuum."""

    @property
    def id(self) -> str: ...
    @property
    def low(self) -> Decimal: ...
    @property
    def high(self) -> Decimal: ...


AnyPlaced = TypeVar("AnyPlaced", bound=Placed)


def by_distance(zones: Sequence[AnyPlaced], last: Decimal) -> tuple[AnyPlaced, ...]:
    """The nearest to `last` first; of equals the lower."""
    return tuple(sorted(zones, key=lambda zone: (distance(zone.low, zone.high, last), zone.low)))


def stop_hint(zones: Iterable[Placed], last: Decimal, tick: Decimal, position: Position) -> StopHint | None:
    """Where a stop would not sit inside a vacuum, or None where no interior zone lies on its side.

    For a long one tick under the zone that holds the price or is the first below, for a short one tick over
    the one that holds it or is the first above. Source: definitions, section 4.8.
    """
    if position == "long":
        zone = max((v for v in zones if v.low <= last), key=lambda v: v.low, default=None)
    else:
        zone = min((v for v in zones if v.high >= last), key=lambda v: v.high, default=None)
    if zone is None:
        return None
    price = zone.low - tick if position == "long" else zone.high + tick
    return StopHint(price, pct(abs(last - price), last), zone.id)


def side_of(low: Decimal, high: Decimal, last: Decimal) -> Side:
    if low > last:
        return "above"
    return "below" if high < last else "inside"


def distance(low: Decimal, high: Decimal, last: Decimal) -> Decimal:
    return max(low - last, last - high, Decimal(0))


def pct(part: Decimal, whole: Decimal) -> float:
    return float(100 * part / whole)
