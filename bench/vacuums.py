"""Does price pass thin ranges faster than others? The out-of-sample test, on any ledger, export or dump.

At each full hour zones are found in the window before; what follows is not looked at until then. Each zone
is matched with control runs of equal width and similar distance in which a usual amount was traded. After
the first entry of each, S1 compares ln(seconds to exit × variance before entry), S2 how often it left on the
far side. Days are flipped and drawn as a whole, since hours of a day are not independent. Nothing is claimed
below 200 matched sets on 60 days, and nothing from S2, which a range with few prints raises by itself
(`--simulate`). Source: definitions, section 4.9 (docs/analytics.md).
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from math import exp, log
from pathlib import Path

import numpy as np
import numpy.typing as npt

from analytics.rows import Rows, on_ticks, rows_of, vacuum_row_ticks
from analytics.tape import counting
from analytics.thin import ThinZones, thin_zones
from bench.memory_simulation import remembering, thin_but_not_fast, without_memory
from collectors.trade_files import read_trades
from storage.histograms import PriceHistogram
from storage.ledger import TradeLedger
from storage.trades import IntArray, TradeColumns, decimals_of, rescale

FloatArray = npt.NDArray[np.float64]
# The trades with start_ms <= T < end_ms in id order.
Trades = Callable[[int, int], TradeColumns]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
BEFORE_MS = 10 * 60_000
SECOND_MS = 1_000
# A control's mean row holds this much of the baseline, at a distance this much like the zone's.
USUAL = 0.5, 1.5
LIKE_DISTANCE = 0.35
MOST_CONTROLS = 8
FLIPS = 9_999
DRAWS = 2_000
MIN_SETS, MIN_DAYS = 200, 60


@dataclass(frozen=True, slots=True)
class Passage:
    """The first time after T that price entered a run of rows, until it was a row away again."""

    entered_ms: int
    seconds: float
    variance_per_s: float
    through: bool

    @property
    def log_time(self) -> float:
        return log(self.seconds * self.variance_per_s)


@dataclass(frozen=True, slots=True)
class MatchedSet:
    """A zone's passage less the mean of its controls': S1 of log times, S2 of having gone through."""

    day: int
    log_time: float
    through: float


@dataclass(frozen=True, slots=True)
class Effect:
    """A mean over matched sets with its 95 % interval by days and the p-value of flipped days."""

    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class Result:
    sets: int
    days: int
    faster: Effect
    through: Effect

    @property
    def is_enough(self) -> bool:
        return self.sets >= MIN_SETS and self.days >= MIN_DAYS

    @property
    def claim(self) -> str:
        """The sentence that may be said of one symbol on the strength of this."""
        if not self.is_enough:
            return (
                f"Thin, no proven effect: {self.sets} matched sets on {self.days} days, of at least "
                f"{MIN_SETS} on {MIN_DAYS} that a claim needs."
            )
        if self.faster.high < 0 and self.faster.p < 0.05:
            ratio, low, high = (exp(at) for at in (self.faster.mean, self.faster.low, self.faster.high))
            ratio, low, high = (exp(at) for at in (self.faster.mean, self.faster.low, self.faster.high))
            return (
                f"Out of sample, price left thin ranges in {ratio:.2f} of the time that it took for equally "
                f"wide ones ({low:.2f} to {high:.2f}), in this symbol; a claim needs a second one."
            )
        return "Thin, no proven effect: the interval of the speed ratio holds 1."


def outcome_of(
    trades: Trades, start_ms: int, end_ms: int, *, tick: Decimal, before_h: int = 24, after_h: int = 6
) -> Result:
    """The test over [start_ms, end_ms) at each full hour that has both windows in it."""
    sets = list(matched_sets(trades, start_ms, end_ms, tick=tick, before_h=before_h, after_h=after_h))
    days = np.array([found.day for found in sets], np.int64)
    return Result(
        len(sets),
        len(set(days.tolist())),
        effect(np.array([found.log_time for found in sets]), days),
        effect(np.array([found.through for found in sets]), days),
    )


def matched_sets(
    trades: Trades, start_ms: int, end_ms: int, *, tick: Decimal, before_h: int, after_h: int
) -> Iterator[MatchedSet]:
    """One set for each entry into a zone; an entry that a later hour sees again counts once."""
    histograms: dict[int, PriceHistogram] = {}
    entries: set[int] = set()
    for at_ms in range(-(-start_ms // HOUR_MS) * HOUR_MS + before_h * HOUR_MS, end_ms, HOUR_MS):
        for hour_ms in range(at_ms - before_h * HOUR_MS, at_ms, HOUR_MS):
            if hour_ms not in histograms:
                histograms[hour_ms] = PriceHistogram.of(trades(hour_ms, hour_ms + HOUR_MS))
        histograms.pop(at_ms - (before_h + 1) * HOUR_MS, None)
        before = PriceHistogram.merge(histograms.values())
        after = trades(at_ms - BEFORE_MS, min(at_ms + after_h * HOUR_MS, end_ms))
        after = counting(after, at_ms - BEFORE_MS, end_ms)
        if len(before) and len(after):
            yield from _sets_at(before, after, at_ms, tick, entries)


def _sets_at(
    before: PriceHistogram, after: TradeColumns, at_ms: int, tick: Decimal, entries: set[int]
) -> Iterator[MatchedSet]:
    ticks = on_ticks(before, tick)
    rows = rows_of(ticks, vacuum_row_ticks(ticks))
    thin = thin_zones(rows.volume, ticks_per_row=rows.row_ticks)
    follow = Follower(after, rows, at_ms)
    for zone in thin.zones:
        run = zone.first, zone.last
        passage = follow.passage(*run) if zone.kind == "interior" and follow.is_outside(*run) else None
        if passage is None or passage.entered_ms in entries:
            continue
        passages = [follow.passage(*control) for control in controls(run, follow.row, rows, thin)]
        matched = [control for control in passages if control is not None]
        if matched:
            entries.add(passage.entered_ms)
            yield MatchedSet(
                at_ms // DAY_MS,
                passage.log_time - float(np.mean([control.log_time for control in matched])),
                passage.through - float(np.mean([control.through for control in matched])),
            )


def controls(zone: tuple[int, int], last: int, rows: Rows, thin: ThinZones) -> list[tuple[int, int]]:
    """Up to 8 runs of the zone's width, spread evenly over those that fit: inside the core, usual volume,
    similar distance, price outside, no thin row in or beside them."""
    width = zone[1] - zone[0] + 1
    distance = _distance(zone[0], zone[1], last)
    starts = np.arange(thin.core[0], thin.core[1] - width + 2)
    sums = np.concatenate([[0], np.cumsum(rows.volume)])
    mean = (sums[starts + width] - sums[starts]) / width / float(thin.baseline)
    away = np.maximum(np.maximum(starts - last, last - (starts + width - 1)), 0)
    fits = (mean >= USUAL[0]) & (mean <= USUAL[1]) & (away > 0)
    fits &= np.abs(away - distance) <= LIKE_DISTANCE * distance
    for other in thin.zones:
        fits &= (starts > other.last + 1) | (starts + width - 1 < other.first - 1)
    found = starts[fits]
    spread = np.unique(np.linspace(0, len(found) - 1, MOST_CONTROLS).round().astype(np.int64))
    return [(start, start + width - 1) for start in found[spread].tolist()] if len(found) else []


class Follower:
    """Where price went after T, in rows of the profile before it; rows outside it count on."""

    def __init__(self, trades: TradeColumns, rows: Rows, at_ms: int) -> None:
        exponent = max(trades.price_exp, decimals_of(rows.row_size))
        price = rescale(trades.price_int, trades.price_exp, exponent)
        self._row = price // int(rows.row_size.scaleb(exponent)) - rows.first
        self._price = trades.price_int / 10**trades.price_exp
        self._time_ms = trades.time_ms
        self._first = int(np.searchsorted(trades.time_ms, at_ms))
        self.row = int(self._row[max(self._first - 1, 0)])

    def is_outside(self, first: int, last: int) -> bool:
        """Whether the last price before T is known and not in these rows."""
        return self._first > 0 and not first <= self.row <= last

    def passage(self, first: int, last: int) -> Passage | None:
        """None where price does not come, does not leave again, or stood still before."""
        row = self._row[self._first :]
        inside = (row >= first) & (row <= last)
        entry = int(inside.argmax()) if len(row) else 0
        if not len(row) or not inside[entry]:
            return None
        away = (row[entry:] >= last + 2) | (row[entry:] <= first - 2)
        leave = entry + int(away.argmax())
        if not away[leave - entry]:
            return None
        entered_ms, left_ms = (int(self._time_ms[self._first + at]) for at in (entry, leave))
        variance = self._variance_per_s(entered_ms)
        if variance == 0:
            return None
        before = max(self._first + entry - 1, 0)
        came_from_below = int(self._row[before]) < first
        through = bool((row[leave] > last) == came_from_below)
        return Passage(entered_ms, max(left_ms - entered_ms, 1) / SECOND_MS, variance, through)

    def _variance_per_s(self, until_ms: int) -> float:
        """Realised variance of price a second over the ten minutes before, from each second's last price."""
        span = slice(*np.searchsorted(self._time_ms, [until_ms - BEFORE_MS, until_ms]))
        time_s, price = self._time_ms[span] // SECOND_MS, self._price[span]
        if len(price) < 2:
            return 0.0
        closing = np.append(np.flatnonzero(np.diff(time_s)), len(time_s) - 1)
        return float(np.sum(np.diff(price[closing]) ** 2)) / (BEFORE_MS / SECOND_MS)


def effect(values: FloatArray, days: IntArray, seed: int = 1) -> Effect:
    """The mean, its interval over drawn days, and how often days flipped at random lie as far from 0."""
    if len(values) == 0:
        return Effect(float("nan"), float("nan"), float("nan"), 1.0)
    rng = np.random.default_rng(seed)
    _, of = np.unique(days, return_inverse=True)
    sums, counts = np.bincount(of, values), np.bincount(of)
    flipped = np.abs(rng.choice([-1.0, 1.0], (FLIPS, len(sums))) @ sums)
    p = (1 + int(np.count_nonzero(flipped >= abs(sums.sum()) - 1e-12))) / (FLIPS + 1)
    drawn = rng.integers(0, len(sums), (DRAWS, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975]).tolist()
    return Effect(float(values.mean()), low, high, p)


def _distance(first: int, last: int, row: int) -> int:
    return max(first - row, row - last, 0)


def of_columns(trades: TradeColumns) -> Trades:
    """Windows of trades that are in memory, times ascending but for milliseconds."""

    def within(start_ms: int, end_ms: int) -> TradeColumns:
        low, high = np.searchsorted(trades.time_ms, [start_ms - HOUR_MS, end_ms + HOUR_MS])
        return trades.take(slice(int(low), int(high))).within(start_ms, end_ms)

    return within


def report(name: str, result: Result) -> Iterator[str]:
    yield f"{name}: {result.sets} matched sets on {result.days} days"
    if result.sets:
        faster, through = result.faster, result.through
        ratio, low, high = (exp(at) for at in (faster.mean, faster.low, faster.high))
        yield f"  S1, speed ratio {ratio:.2f} (95 % {low:.2f} to {high:.2f}), p {faster.p:.3f}"
        interval = f"{through.low:+.2f} to {through.high:+.2f}"
        yield f"  S2, gone through {through.mean:+.2f} (95 % {interval}), p {through.p:.3f}"
    yield f"  {result.claim}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, help="exports or daily dumps of one symbol")
    parser.add_argument("--ledger", type=Path, metavar="DIR", help="a ledger, with --symbol")
    parser.add_argument("--symbol")
    parser.add_argument("--tick", type=Decimal, default=Decimal("0.01"), help="of the files' symbol")
    parser.add_argument("--before", type=int, default=24, metavar="H", help="hours that zones are found in")
    parser.add_argument("--after", type=int, default=6, metavar="H", help="hours that they are followed for")
    parser.add_argument(
        "--simulate", type=int, metavar="DAYS", help="a market without memory, and one with it"
    )
    given = parser.parse_args()
    hours = {"before_h": given.before, "after_h": given.after}
    if given.simulate:
        for make in (without_memory, thin_but_not_fast, remembering):
            _tell(make.__name__, make(1, given.simulate), given.tick, hours)
    if given.files:
        trades = TradeColumns.concat([read_trades(path) for path in given.files]).by_id()
        _tell(", ".join(path.name for path in given.files), trades, given.tick, hours)
    if given.ledger:
        with TradeLedger.open(given.ledger, create=False) as ledger, ledger.view(given.symbol) as view:
            tick = ledger.instruments[given.symbol].tick
            start_ms, end_ms = view.runs[0].first_ms, view.runs[-1].last_ms + 1
            result = outcome_of(view.trades, start_ms, end_ms, tick=tick, **hours)
        print("\n".join(report(given.symbol, result)))


def _tell(name: str, trades: TradeColumns, tick: Decimal, hours: dict[str, int]) -> None:
    span = int(trades.time_ms.min()), int(trades.time_ms.max()) + 1
    print("\n".join(report(name, outcome_of(of_columns(trades), *span, tick=tick, **hours))), flush=True)


if __name__ == "__main__":
    main()
