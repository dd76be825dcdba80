"""Volume profile: where a window traded, its point of control, value area and volume-weighted price.

Invariant: every level is exact. Integers decide; what is rounded (VWAP, sigma) is an exact rational rounded
once, half-even. Source: definitions, section 3 (docs/analytics.md).
"""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil, isqrt
from typing import Literal, get_args

import numpy as np

from analytics.errors import OptionInvalid
from analytics.nodes import Nodes, volume_nodes
from analytics.rows import Rows, TickHistogram, exact_total, on_ticks, profile_row_ticks, rows_of
from storage.histograms import PriceHistogram
from storage.trades import IntArray, decimal_of

ValueAreaMethod = Literal["two_row", "one_row"]
STEP: dict[ValueAreaMethod, int] = {"two_row": 2, "one_row": 1}

MIN_ROWS = 3
MIN_TRADES = 100
# A rival row must be this far from the POC: next to it, it is the same peak.
CONTEST_DISTANCE = 3


@dataclass(frozen=True, slots=True)
class PointOfControl:
    """The row of greatest volume: `row` is its index, `low` and `high` its lowest and highest tick's price.

    `tick` is the heaviest exact tick inside it, None where the histogram has bins. `volume` is in the base
    asset, `share_pct` its share of all volume. `contested` is the low price of the largest row >= 3 rows
    away with >= 90 % of its volume.
    """

    row: int
    low: Decimal
    high: Decimal
    tick: Decimal | None
    volume: Decimal
    share_pct: float
    contested: Decimal | None


@dataclass(frozen=True, slots=True, eq=False)
class VolumeProfile:
    """Where a window's volume traded. Prices are in the quote asset at the tick's decimals.

    `val` and `vah` are the lowest and highest tick of the value area, rows `val_row` to `vah_row`
    (inclusive). `vwap_sigma` is the volume-weighted standard deviation of price around `vwap`. `high`, `low`
    are the extreme traded prices, `last` is the caller's. Volumes are in the base asset, `trades` counts
    aggTrades. `low_sample`: fewer than 3 rows or fewer than 100 trades.
    """

    rows: Rows
    poc: PointOfControl
    nodes: Nodes
    val: Decimal
    vah: Decimal
    val_row: int
    vah_row: int
    value_area_pct: Decimal
    value_area_pct_actual: float
    method: ValueAreaMethod
    vwap: Decimal
    vwap_sigma: Decimal
    high: Decimal
    low: Decimal
    last: Decimal | None
    total_volume: Decimal
    buy_volume: Decimal
    sell_volume: Decimal
    delta: Decimal
    trades: int
    low_sample: bool


def volume_profile(
    histogram: PriceHistogram,
    *,
    tick: Decimal,
    lot: Decimal | None = None,
    row_size: Decimal | None = None,
    value_area_pct: Decimal | int = 70,
    method: ValueAreaMethod = "two_row",
    last: Decimal | None = None,
) -> VolumeProfile:
    """The profile of the trades in `histogram`, on rows of `row_size` or of the default size.

    `tick` is today's; `lot` sets the decimals of quantities, the histogram's where it is None.
    Raises NoTrades, RowSizeInvalid, RowTooFine, and OptionInvalid for a `value_area_pct` outside 50-95.
    """
    check_value_area(value_area_pct, method)
    ticks = on_ticks(histogram, tick, lot)
    rows = rows_of(ticks, profile_row_ticks(ticks, row_size))
    poc = poc_row(rows.volume)
    val_row, vah_row = value_area(rows.volume, poc, value_area_pct, method)
    vwap, vwap_sigma = volume_weighted_price(ticks)
    buy, sell, trades = exact_total(rows.buy), exact_total(rows.sell), exact_total(rows.trades)
    return VolumeProfile(
        rows=rows,
        poc=_point_of_control(ticks, rows, poc),
        nodes=volume_nodes(rows),
        val=rows.low(val_row),
        vah=rows.high(vah_row),
        val_row=val_row,
        vah_row=vah_row,
        value_area_pct=Decimal(value_area_pct),
        value_area_pct_actual=_share_pct(exact_total(rows.volume[val_row : vah_row + 1]), ticks.total),
        method=method,
        vwap=vwap,
        vwap_sigma=vwap_sigma,
        high=ticks.price(ticks.highest),
        low=ticks.price(ticks.lowest),
        last=last,
        total_volume=rows.quantity(ticks.total),
        buy_volume=rows.quantity(buy),
        sell_volume=rows.quantity(sell),
        delta=rows.quantity(buy - sell),
        trades=trades,
        low_sample=len(rows) < MIN_ROWS or trades < MIN_TRADES,
    )


def poc_row(volume: IntArray) -> int:
    """Row of greatest volume; of equals the one nearest the middle of the traded rows, then the lower.

    `volume` is (rows,) int64, zero-filled, with a positive sum; empty rows around it change nothing.
    """
    first, last = _traded_span(volume)
    heaviest = np.flatnonzero(volume == volume.max())
    off_centre = np.abs(2 * heaviest - (first + last))
    return int(heaviest[np.argmin(off_centre)])


def contested_row(volume: IntArray, poc: int) -> int | None:
    """The largest row >= 3 rows from the POC that holds >= 90 % of its volume, or None.

    Of equals the one nearer the POC, then the lower.
    """
    away = np.abs(np.arange(len(volume)) - poc)
    enough = -(-9 * int(volume[poc]) // 10)
    rivals = np.flatnonzero((away >= CONTEST_DISTANCE) & (volume >= enough))
    if len(rivals) == 0:
        return None
    largest = rivals[volume[rivals] == volume[rivals].max()]
    return int(largest[np.argmin(away[largest])])


def value_area(
    volume: IntArray, poc: int, pct: Decimal | int = 70, method: ValueAreaMethod = "two_row"
) -> tuple[int, int]:
    """First and last row (inclusive) of the band around the POC that holds >= pct % of the volume.

    `volume` is (rows,) int64, zero-filled. Grows by two rows (or one) to the heavier side until
    `acc * 100 >= pct * total`; equal sides: above, or both where both are empty. Empty end rows are trimmed.
    Source: definitions, section 3 (Dalton, Mind over Markets, appendix 1; CBOT Liquidity Data Bank).
    """
    first, last = _traded_span(volume)
    low, high = _grown(volume[first : last + 1].tolist(), poc - first, Fraction(pct), STEP[method])
    inside = np.flatnonzero(volume[first + low : first + high])
    return first + low + int(inside[0]), first + low + int(inside[-1])


def volume_weighted_price(ticks: TickHistogram) -> tuple[Decimal, Decimal]:
    """VWAP `Σpq/Σq` and the standard deviation around it, exact, rounded half-even to the tick's decimals.

    The variance is a difference of exact integers and never negative.
    """
    mean = Fraction(ticks.notional, ticks.total)
    variance = ticks.total * ticks.square_notional - ticks.notional**2
    return (
        decimal_of(round(mean), ticks.decimals),
        decimal_of(_rounded_root(variance, ticks.total), ticks.decimals),
    )


def heaviest_tick(ticks: TickHistogram, low: int, high: int) -> int:
    """The traded tick of greatest volume among ticks `low` to `high` (inclusive), in ticks from 0.

    Of equals the one nearest the middle of the window's traded ticks, then the lower: the rule of the POC,
    so that with rows of one tick both name the same price.
    """
    start, stop = np.searchsorted(ticks.at, [low, high + 1])
    at, volume = ticks.at[start:stop], ticks.volume[start:stop]
    heaviest = at[volume == volume.max()]
    first, last = ticks.span
    return int(heaviest[np.argmin(np.abs(heaviest - first - (last - heaviest)))])


def _poc_tick(ticks: TickHistogram, low: int, high: int) -> Decimal | None:
    return ticks.price(heaviest_tick(ticks, low, high)) if ticks.bin_ticks == 1 else None


def check_value_area(pct: Decimal | int, method: ValueAreaMethod) -> None:
    """Raises OptionInvalid for a share outside 50-95 % and an unknown method."""
    if not (Decimal(pct).is_finite() and 50 <= pct <= 95):
        raise OptionInvalid("value_area_pct", pct, valid="50 to 95", default=70)
    if method not in get_args(ValueAreaMethod):
        raise OptionInvalid("value_area_method", method, valid="two_row, one_row", default="two_row")


def _point_of_control(ticks: TickHistogram, rows: Rows, poc: int) -> PointOfControl:
    lowest = (rows.first + poc) * rows.row_ticks
    rival = contested_row(rows.volume, poc)
    volume = int(rows.volume[poc])
    return PointOfControl(
        row=poc,
        low=rows.low(poc),
        high=rows.high(poc),
        tick=_poc_tick(ticks, lowest, lowest + rows.row_ticks - 1),
        volume=rows.quantity(volume),
        share_pct=_share_pct(volume, ticks.total),
        contested=None if rival is None else rows.low(rival),
    )


def _traded_span(volume: IntArray) -> tuple[int, int]:
    traded = np.flatnonzero(volume)
    return int(traded[0]), int(traded[-1])


def _grown(volume: list[int], poc: int, pct: Fraction, step: int) -> tuple[int, int]:
    """Half-open band around the POC with >= pct % of the volume, before its empty end rows are trimmed."""
    low, high, acc = poc, poc + 1, volume[poc]
    enough = ceil(pct * sum(volume))
    while acc * 100 < enough:
        below, above = volume[max(low - step, 0) : low], volume[high : high + step]
        take_below, take_above = _sides(below, above)
        if take_below:
            low, acc = low - len(below), acc + sum(below)
        if take_above:
            high, acc = high + len(above), acc + sum(above)
    return low, high


def _sides(below: list[int], above: list[int]) -> tuple[bool, bool]:
    """Whether the band grows below and above: to the heavier side, upwards if equal, both ways if empty."""
    if not below or not above:
        return bool(below), bool(above)
    if sum(below) == sum(above) == 0:
        return True, True
    return sum(below) > sum(above), sum(above) >= sum(below)


def _rounded_root(square: int, divisor: int) -> int:
    """`sqrt(square) / divisor` to the nearest integer, half to even, decided in integers."""
    floor = isqrt(square // divisor**2)
    distance = 4 * square - ((2 * floor + 1) * divisor) ** 2
    return floor + (distance > 0 or (distance == 0 and floor % 2 == 1))


def _share_pct(part: int, total: int) -> float:
    return float(Fraction(100 * part, total))
