"""Traded-volume vacuums: price ranges in which little was traded. Not the order book, not a forecast.

Invariant: the zones follow from the histogram alone; the tape is read once and only gives evidence on them,
so that a week streams by in little memory. Source: definitions, section 4 (docs/analytics.md).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import sqrt

from analytics.errors import NoTrades
from analytics.grids import GridCheck, grid_checks
from analytics.impact import Impact, impact_of, speed_ratio
from analytics.placed import Side, StopHint, by_distance, distance, pct, side_of, stop_hint
from analytics.rows import (
    DENSE_ROW_TRADES,
    MIN_VACUUM_ROWS,
    Rows,
    TickHistogram,
    exact_total,
    median_core_trades,
    on_ticks,
    profile_row_ticks,
    quantile_rows,
    rows_of,
    vacuum_row_ticks,
)
from analytics.stability import stabilities
from analytics.tape import TapePass, mean_squared_return
from analytics.thin import Kind, Rule, ThinZone, ThinZones, checked_threshold, thin_zones
from analytics.visits import ZoneVisits
from storage.histograms import PriceHistogram
from storage.trades import TapeColumns

MAX_VACUUMS = 10
# A shorter window has too few half-hours for "traded in one of them only" to say anything.
SINGLE_PRINT_WINDOW_MS = 2 * 3_600_000
HOUR_MS = 3_600_000
FIVE_MINUTES_S = 300


@dataclass(frozen=True, slots=True)
class Vacuum:
    """An interior zone, from its lowest to its highest tick's price.

    `width` is in the quote asset, `width_pct` in % of the last price, `width_sigma15m` in multiples of
    sigma15m. `distance_pct` is that of the nearest bound from the last price in % of it, never negative;
    `side` says which way. Volume and delta are in the base asset. `single_print`: each row was traded in
    exactly one UTC half-hour; None for windows under 2 h. `age_h` is hours from the last trade in the zone,
    `last_traded_ms`, to the window's end; both None where there was none. `visits`, `through`, `rejected`,
    `jumps` and `median_cross_s` are as in `ZoneVisits`; `speed_ratio` is the median crossing over a random
    walk's, small is fast. `stability` is a share of resamples, None for fewer than 6 ten-minute blocks.
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
    visits: int
    through: int
    rejected: int
    median_cross_s: float | None
    speed_ratio: float | None
    jumps: int
    last_traded_ms: int | None
    age_h: float | None
    stability: float | None
    grid_check: GridCheck


@dataclass(frozen=True, slots=True)
class EdgeTail:
    """A thin range at the profile's end, from its lowest to its highest tick's price; never ranked."""

    low: Decimal
    high: Decimal


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
    trades: Iterable[TapeColumns],
    *,
    symbol: str,
    tick: Decimal,
    last: Decimal,
    start_ms: int,
    end_ms: int,
    lot: Decimal | None = None,
    rule: Rule = "thin",
    threshold_pct: Decimal | int | None = None,
    row_size: Decimal | None = None,
) -> LiquidityVacuums:
    """The ranges of the window [start_ms, end_ms) in which little was traded.

    `histogram` is the sum of `trades`, the window's chunks in id order, which are read once; `last` is the
    price of the last one. `tick` is today's; `lot` sets the decimals of quantities, the histogram's where it
    is None. Raises NoTrades, RowSizeInvalid, RowTooFine, OptionInvalid; ValueError where a trade lies outside
    the histogram's rows.
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
    density = median_core_trades(rows)
    window = _Window(
        symbol, rows, rule, threshold, last.quantize(rows.tick), start_ms, end_ms, density >= DENSE_ROW_TRADES
    )
    placed = [_placed(zone, window) for zone in thin.zones if zone.kind == "interior"]
    nearest = by_distance(placed, window.last)[:MAX_VACUUMS]
    tape = _read(trades, window, nearest)
    return LiquidityVacuums(
        symbol=symbol,
        start_ms=start_ms,
        end_ms=end_ms,
        rule=rule,
        threshold_pct=threshold,
        rows=rows,
        baseline_row_volume=float(thin.baseline / 10**rows.quantity_exp),
        last=window.last,
        sigma15m=_sigma15m(tape, window.last),
        vacuums=tuple(_vacuums(nearest, window, tape)),
        total=len(placed),
        edge_tails=_edge_tails(thin, rows),
        stop_long=stop_hint(placed, window.last, rows.tick, "long"),
        stop_short=stop_hint(placed, window.last, rows.tick, "short"),
        median_core_trades=float(density),
        low_sample=_low_sample(ticks, rows, density),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    """What every zone of a window is measured with."""

    symbol: str
    rows: Rows
    rule: Rule
    threshold_pct: Decimal
    last: Decimal
    start_ms: int
    end_ms: int
    is_dense: bool


@dataclass(frozen=True, slots=True)
class _PlacedZone:
    """A zone of rows with its name and its bounds."""

    zone: ThinZone
    id: str
    low: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What the tape says about a zone."""

    visits: ZoneVisits
    stability: float | None
    grid_check: GridCheck


def _placed(zone: ThinZone, window: _Window) -> _PlacedZone:
    low, high = window.rows.low(zone.first), window.rows.high(zone.last)
    return _PlacedZone(zone, f"v-{window.symbol}-{low:f}-{high:f}", low, high)


def _read(trades: Iterable[TapeColumns], window: _Window, zones: Sequence[_PlacedZone]) -> TapePass:
    followed = [placed.zone for placed in zones]
    tape = TapePass(window.rows, followed, start_ms=window.start_ms, end_ms=window.end_ms)
    for chunk in trades:
        tape.read(chunk)
    if not tape.halves.any():
        raise NoTrades
    return tape


def _vacuums(zones: Sequence[_PlacedZone], window: _Window, tape: TapePass) -> Iterator[Vacuum]:
    followed = [placed.zone for placed in zones]
    rule, threshold = window.rule, window.threshold_pct
    shares = stabilities(
        tape.blocks, tape.first_block, followed, symbol=window.symbol, rule=rule, threshold_pct=threshold
    )
    grids = grid_checks(tape.halves, window.rows, followed, rule=rule, threshold_pct=threshold)
    for placed, visits, stability, grid in zip(zones, tape.visits(), shares, grids, strict=True):
        yield _vacuum(placed, _Evidence(visits, stability, grid), window, tape)


def _vacuum(placed: _PlacedZone, evidence: _Evidence, window: _Window, tape: TapePass) -> Vacuum:
    zone, rows, last = placed.zone, window.rows, window.last
    width = placed.high - placed.low + rows.tick
    visits, stability = evidence.visits, evidence.stability
    sigma, traded_ms = _sigma15m(tape, last), tape.last_traded_ms(zone)
    ratio = speed_ratio(
        visits.median_cross_s,
        width=float(width),
        variance_per_s=_variance_per_s(tape, last),
        prints=exact_total(rows.trades[zone.rows]),
    )
    return Vacuum(
        id=placed.id,
        low=placed.low,
        high=placed.high,
        kind=zone.kind,
        gap=zone.gap,
        jump=zone.jump,
        single_print=_single_print(zone, window, tape),
        side=side_of(placed.low, placed.high, last),
        distance_pct=pct(distance(placed.low, placed.high, last), last),
        width=width,
        width_pct=pct(width, last),
        width_sigma15m=float(width) / sigma if sigma else None,
        volume=rows.quantity(zone.volume),
        delta=rows.quantity(2 * int(rows.buy[zone.rows].sum()) - zone.volume),
        volume_deficit_pct=zone.deficit_pct,
        impact=impact_of(
            zone.deficit_pct, gap=zone.gap, dense=window.is_dense, stability=stability, speed_ratio=ratio
        ),
        visits=visits.visits,
        through=visits.through,
        rejected=visits.rejected,
        median_cross_s=visits.median_cross_s,
        speed_ratio=ratio,
        jumps=visits.jumps,
        last_traded_ms=traded_ms,
        age_h=None if traded_ms is None else (window.end_ms - traded_ms) / HOUR_MS,
        stability=stability,
        grid_check=evidence.grid_check,
    )


def _sigma15m(tape: TapePass, last: Decimal) -> float | None:
    """Standard deviation of price over 15 minutes in the quote asset, `last * sqrt(3 * mean r²)`.

    r are five-minute log returns; None below 12 of them. Source: definitions, section 4.4.
    """
    variance = mean_squared_return(tape.closes)
    return None if variance is None else float(last) * sqrt(3 * variance)


def _variance_per_s(tape: TapePass, last: Decimal) -> float | None:
    """Variance of price a second, `last² * mean r² / 300`; None below 12 returns."""
    variance = mean_squared_return(tape.closes)
    return None if variance is None else float(last) ** 2 * variance / FIVE_MINUTES_S


def _row_ticks(ticks: TickHistogram, rule: Rule, row_size: Decimal | None) -> int:
    return vacuum_row_ticks(ticks, row_size) if rule == "thin" else profile_row_ticks(ticks, row_size)


def _edge_tails(thin: ThinZones, rows: Rows) -> tuple[EdgeTail, ...]:
    tails = (zone for zone in thin.zones if zone.kind == "edge_tail")
    return tuple(EdgeTail(rows.low(zone.first), rows.high(zone.last)) for zone in tails)


def _low_sample(ticks: TickHistogram, rows: Rows, density: Fraction) -> bool:
    return density < DENSE_ROW_TRADES or quantile_rows(ticks, rows.row_ticks) < MIN_VACUUM_ROWS


def _single_print(zone: ThinZone, window: _Window, tape: TapePass) -> bool | None:
    if window.end_ms - window.start_ms < SINGLE_PRINT_WINDOW_MS:
        return None
    return tape.single_print(zone)
