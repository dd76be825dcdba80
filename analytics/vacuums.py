"""Traded-volume vacuums: price ranges in which little was traded. Not the order book, not a forecast.

Invariant: the zones follow from the histogram alone, the tape is read once and only dates them, so that a
week streams by in little memory. Source: definitions, section 4 (docs/analytics.md).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import sqrt
from typing import Literal, get_args

import numpy as np

from analytics.errors import NoTrades
from analytics.rows import (
    DENSE_ROW_TRADES,
    MIN_VACUUM_ROWS,
    Rows,
    TickHistogram,
    median_core_trades,
    on_ticks,
    profile_row_ticks,
    quantile_rows,
    rows_of,
    vacuum_row_ticks,
)
from analytics.tape import TapePass, mean_squared_return
from analytics.thin import Kind, Rule, ThinZone, checked_threshold, thin_zones
from storage.histograms import PriceHistogram
from storage.trades import BoolArray, TradeColumns

Side = Literal["above", "below", "inside"]
Impact = Literal["Low", "Medium", "High", "Critical"]
Position = Literal["long", "short"]

IMPACTS: tuple[Impact, ...] = get_args(Impact)
# Deficits in % from which a zone is Medium, High, Critical; provisional until set on simulated walks.
IMPACT_FROM_PCT = (94, 97, 99)
STABLE = 0.9
RANDOM_WALK_SPEED = 1
MAX_VACUUMS = 10
# A shorter window has too few half-hours for "traded in one of them only" to say anything.
SINGLE_PRINT_WINDOW_MS = 2 * 3_600_000
HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Vacuum:
    """An interior zone, from its lowest to its highest tick's price.

    `width` is in the quote asset, `width_pct` in % of the last price, `width_sigma15m` in multiples of
    sigma15m. `distance_pct` is that of the nearest bound from the last price in % of it, never negative;
    `side` says which way. Volume and delta are in the base asset. `single_print`: each row was traded in
    exactly one UTC half-hour; None for windows under 2 h. `age_h` is hours from the last trade in the zone,
    `last_traded_ms`, to the window's end; both None where there was none. The fields from `visits` on are
    None: not computed.
    """

    id: str
    low: Decimal
    high: Decimal
    kind: Kind
    gap: bool
    jump: bool
    single_print: bool | None
    side: Side
    distance_pct: float
    width: Decimal
    width_pct: float
    width_sigma15m: float | None
    volume: Decimal
    delta: Decimal
    volume_deficit_pct: float
    impact: Impact
    last_traded_ms: int | None
    age_h: float | None
    visits: int | None = None
    through: int | None = None
    rejected: int | None = None
    median_cross_s: float | None = None
    speed_ratio: float | None = None
    jumps: int | None = None
    stability: float | None = None
    grid_check: str | None = None


@dataclass(frozen=True, slots=True)
class EdgeTail:
    """A thin range at the profile's end, from its lowest to its highest tick's price; never ranked."""

    low: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True)
class StopHint:
    """Where a stop would not sit inside a vacuum: one tick beyond the zone `vacuum_id`.

    `distance_pct` is its distance from the last price in % of it.
    """

    price: Decimal
    distance_pct: float
    vacuum_id: str


@dataclass(frozen=True, slots=True, eq=False)
class LiquidityVacuums:
    """The nearest 10 interior vacuums of a window, by distance from the last price, of `total` found.

    `baseline_row_volume` is the rule's baseline in the base asset, `sigma15m` the standard deviation of
    price over 15 minutes in the quote asset (None below 12 five-minute returns). `low_sample`: the median
    core row holds fewer than 150 trades, or there are fewer than 20 rows between the volume quantiles.
    """

    symbol: str
    start_ms: int
    end_ms: int
    rule: Rule
    threshold_pct: Decimal
    rows: Rows
    baseline_row_volume: float
    last: Decimal
    sigma15m: float | None
    vacuums: tuple[Vacuum, ...]
    total: int
    edge_tails: tuple[EdgeTail, ...]
    stop_long: StopHint | None
    stop_short: StopHint | None
    median_core_trades: float
    low_sample: bool


def liquidity_vacuums(
    histogram: PriceHistogram,
    trades: Iterable[TradeColumns],
    *,
    symbol: str,
    tick: Decimal,
    start_ms: int,
    end_ms: int,
    lot: Decimal | None = None,
    rule: Rule = "thin",
    threshold_pct: Decimal | int | None = None,
    row_size: Decimal | None = None,
) -> LiquidityVacuums:
    """The ranges of the window [start_ms, end_ms) in which little was traded.

    `histogram` is the sum of `trades`, the window's chunks in id order, which are read once. `tick` is
    today's; `lot` sets the decimals of quantities, the histogram's where it is None. Raises NoTrades,
    RowSizeInvalid, RowTooFine, OptionInvalid; ValueError where a trade lies outside the histogram's rows.
    """
    threshold = checked_threshold(rule, threshold_pct)
    ticks = on_ticks(histogram, tick, lot)
    rows = rows_of(ticks, _row_ticks(ticks, rule, row_size))
    thin = thin_zones(
        rows.volume,
        ticks_per_row=rows.row_ticks,
        rule=rule,
        threshold_pct=threshold,
        first_row=rows.first,
        tick=rows.tick,
    )
    tape = TapePass(rows, _within(thin.zones, len(rows)), start_ms=start_ms, end_ms=end_ms)
    for chunk in trades:
        tape.read(chunk)
    window = _window(symbol, rows, tape, start_ms, end_ms)
    vacuums = [_vacuum(zone, window) for zone in thin.zones if zone.kind == "interior"]
    return LiquidityVacuums(
        symbol=symbol,
        start_ms=start_ms,
        end_ms=end_ms,
        rule=rule,
        threshold_pct=threshold,
        rows=rows,
        baseline_row_volume=float(thin.baseline / 10**rows.quantity_exp),
        last=window.last,
        sigma15m=window.sigma15m,
        vacuums=by_distance(vacuums, window.last)[:MAX_VACUUMS],
        total=len(vacuums),
        edge_tails=tuple(_edge_tail(zone, rows) for zone in thin.zones if zone.kind == "edge_tail"),
        stop_long=stop_hint(vacuums, window.last, rows.tick, "long"),
        stop_short=stop_hint(vacuums, window.last, rows.tick, "short"),
        median_core_trades=float(window.density),
        low_sample=_low_sample(ticks, window),
    )


def impact_of(
    deficit_pct: float,
    *,
    gap: bool,
    dense: bool,
    stability: float | None = None,
    speed_ratio: float | None = None,
) -> Impact:
    """How thin an interior zone is: by its deficit, one class down where the evidence is weak.

    A `gap` is Critical where rows are `dense` (>= 150 trades in the median core row). Stability under 0.9 or
    a speed no greater than a random walk's (ratio >= 1) takes one class off; None leaves it. Provisional.
    Source: definitions, section 4.6.
    """
    critical = len(IMPACT_FROM_PCT)
    rank = critical if gap and dense else sum(deficit_pct >= bound for bound in IMPACT_FROM_PCT)
    unstable = stability is not None and stability < STABLE
    slow = speed_ratio is not None and speed_ratio >= RANDOM_WALK_SPEED
    return IMPACTS[max(rank - (unstable or slow), 0)]


def by_distance(vacuums: Sequence[Vacuum], last: Decimal) -> tuple[Vacuum, ...]:
    """The nearest to `last` first; of equals the lower."""
    return tuple(sorted(vacuums, key=lambda vacuum: (_distance(vacuum.low, vacuum.high, last), vacuum.low)))


def stop_hint(vacuums: Iterable[Vacuum], last: Decimal, tick: Decimal, position: Position) -> StopHint | None:
    """Where a stop would not sit inside a vacuum, or None where no interior zone lies on its side.

    For a long one tick under the zone that holds the price or is the first below, for a short one tick over
    the one that holds it or is the first above. Source: definitions, section 4.8.
    """
    if position == "long":
        zone = max((v for v in vacuums if v.low <= last), key=lambda v: v.low, default=None)
    else:
        zone = min((v for v in vacuums if v.high >= last), key=lambda v: v.high, default=None)
    if zone is None:
        return None
    price = zone.low - tick if position == "long" else zone.high + tick
    return StopHint(price, _pct(abs(last - price), last), zone.id)


def sigma15m(tape: TapePass, last: Decimal) -> float | None:
    """Standard deviation of price over 15 minutes in the quote asset, `last * sqrt(3 * mean r²)`.

    r are five-minute log returns; None below 12 of them. Source: definitions, section 4.4.
    """
    variance = mean_squared_return(tape.closes)
    return None if variance is None else float(last) * sqrt(3 * variance)


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    """What every zone of a window is measured with."""

    symbol: str
    rows: Rows
    tape: TapePass
    last: Decimal
    sigma15m: float | None
    density: Fraction
    start_ms: int
    end_ms: int


def _window(symbol: str, rows: Rows, tape: TapePass, start_ms: int, end_ms: int) -> _Window:
    if tape.last is None:
        raise NoTrades
    density = median_core_trades(rows)
    return _Window(symbol, rows, tape, tape.last, sigma15m(tape, tape.last), density, start_ms, end_ms)


def _vacuum(zone: ThinZone, window: _Window) -> Vacuum:
    rows, last = window.rows, window.last
    low, high = rows.low(zone.first), rows.high(zone.last)
    width = high - low + rows.tick
    traded_ms = window.tape.last_traded_ms(zone.rows)
    return Vacuum(
        id=f"v-{window.symbol}-{low:f}-{high:f}",
        low=low,
        high=high,
        kind=zone.kind,
        gap=zone.gap,
        jump=zone.jump,
        single_print=_single_print(zone, window),
        side=_side(low, high, last),
        distance_pct=_pct(_distance(low, high, last), last),
        width=width,
        width_pct=_pct(width, last),
        width_sigma15m=float(width) / window.sigma15m if window.sigma15m else None,
        volume=rows.quantity(zone.volume),
        delta=rows.quantity(2 * int(rows.buy[zone.rows].sum()) - zone.volume),
        volume_deficit_pct=zone.deficit_pct,
        impact=impact_of(zone.deficit_pct, gap=zone.gap, dense=window.density >= DENSE_ROW_TRADES),
        last_traded_ms=traded_ms,
        age_h=None if traded_ms is None else (window.end_ms - traded_ms) / HOUR_MS,
    )


def _row_ticks(ticks: TickHistogram, rule: Rule, row_size: Decimal | None) -> int:
    return vacuum_row_ticks(ticks, row_size) if rule == "thin" else profile_row_ticks(ticks, row_size)


def _within(zones: Iterable[ThinZone], rows: int) -> BoolArray:
    inside = np.zeros(rows, np.bool_)
    for zone in zones:
        inside[zone.rows] = True
    return inside


def _edge_tail(zone: ThinZone, rows: Rows) -> EdgeTail:
    return EdgeTail(rows.low(zone.first), rows.high(zone.last))


def _low_sample(ticks: TickHistogram, window: _Window) -> bool:
    return window.density < DENSE_ROW_TRADES or quantile_rows(ticks, window.rows.row_ticks) < MIN_VACUUM_ROWS


def _single_print(zone: ThinZone, window: _Window) -> bool | None:
    if window.end_ms - window.start_ms < SINGLE_PRINT_WINDOW_MS:
        return None
    return window.tape.single_print(zone.rows)


def _side(low: Decimal, high: Decimal, last: Decimal) -> Side:
    if low > last:
        return "above"
    return "below" if high < last else "inside"


def _distance(low: Decimal, high: Decimal, last: Decimal) -> Decimal:
    return max(low - last, last - high, Decimal(0))


def _pct(part: Decimal, whole: Decimal) -> float:
    return float(100 * part / whole)
