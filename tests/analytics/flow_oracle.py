"""The definitions of bars, order flow and its kin the slow and plain way: one trade at a time, Decimal and
Fraction.

Written from the definitions alone; shares no code with what it judges.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor, log, sqrt

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True)
class Row:
    """An aggTrade; `sold` where the taker sold; quantity 0 where the exchange marked it invalid."""

    id: int
    time_ms: int
    price: Decimal
    quantity: Decimal
    sold: bool

    @property
    def notional(self) -> Decimal:
        return self.price * self.quantity

    @property
    def signed(self) -> Decimal:
        return -self.quantity if self.sold else self.quantity


def valid(rows: Iterable[Row]) -> list[Row]:
    return sorted((row for row in rows if row.quantity), key=lambda row: row.id)


def total(values: Iterable[Decimal]) -> Decimal:
    return sum(values, Decimal(0))


def bought(rows: Iterable[Row]) -> Decimal:
    return total(row.quantity for row in rows if not row.sold)


def sold(rows: Iterable[Row]) -> Decimal:
    return total(row.quantity for row in rows if row.sold)


@dataclass(frozen=True)
class Bar:
    start_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    buy: Decimal
    sell: Decimal
    trades: int
    notional: Decimal


def grouped(rows: Iterable[Row], width_ms: int) -> dict[int, list[Row]]:
    """Rows in id order by the begin of their bar, bars ascending."""
    found: dict[int, list[Row]] = defaultdict(list)
    for row in valid(rows):
        found[row.time_ms // width_ms * width_ms].append(row)
    return dict(sorted(found.items()))


def bars(rows: Iterable[Row], width_ms: int) -> list[Bar]:
    return [
        Bar(
            start_ms,
            inside[0].price,
            max(row.price for row in inside),
            min(row.price for row in inside),
            inside[-1].price,
            bought(inside),
            sold(inside),
            len(inside),
            total(row.notional for row in inside),
        )
        for start_ms, inside in grouped(rows, width_ms).items()
    ]


def vwap(rows: Sequence[Row], decimals: int) -> Decimal:
    exact = Fraction(total(row.notional for row in rows)) / Fraction(total(row.quantity for row in rows))
    return Decimal(round(exact * 10**decimals)).scaleb(-decimals)


def cvd(rows: Iterable[Row]) -> list[tuple[int, Decimal]]:
    """Running delta at the end of each traded minute."""
    running, found = Decimal(0), []
    for start_ms, inside in grouped(rows, MINUTE_MS).items():
        running += total(row.signed for row in inside)
        found.append((start_ms + MINUTE_MS, running))
    return found


def divergences(rows: Sequence[Row], start_ms: int, end_ms: int) -> set[str]:
    from_ms = end_ms - (end_ms - start_ms) // 4
    minutes = grouped(rows, MINUTE_MS)
    running = dict(cvd(rows))
    late = [begin for begin in minutes if begin >= from_ms]
    early = [begin for begin in minutes if begin < from_ms]
    if not late or not early:
        return set()

    def prices(begins: list[int]) -> list[Decimal]:
        return [row.price for begin in begins for row in minutes[begin]]

    def sums(begins: list[int]) -> list[Decimal]:
        return [running[begin + MINUTE_MS] for begin in begins]

    found = set()
    if max(prices(late)) > max(prices(early)) and max(sums(late)) < max(sums(early)):
        found.add("higher_high_lower_cvd")
    if min(prices(late)) < min(prices(early)) and min(sums(late)) > min(sums(early)):
        found.add("lower_low_higher_cvd")
    return found


def five_minute_returns(rows: Sequence[Row], start_ms: int, end_ms: int) -> list[float]:
    """Between the last prices of the bins that end inside the window, carried over empty ones."""
    bins = {bar.start_ms: bar.close for bar in bars(rows, 5 * MINUTE_MS)}
    closes: list[Decimal] = []
    first = start_ms // (5 * MINUTE_MS) * 5 * MINUTE_MS
    for begin in range(first, end_ms, 5 * MINUTE_MS):
        if begin + 5 * MINUTE_MS >= end_ms:
            break
        if begin in bins:
            closes.append(bins[begin])
        elif closes:
            closes.append(closes[-1])
    return [log(b / a) for a, b in pairwise(closes)]


def sigma_pct(returns: Sequence[float], wanted: int) -> float | None:
    last = returns[-wanted:]
    if len(last) < 0.9 * wanted:
        return None
    return 100 * sqrt(sum(r * r for r in last) / len(last) * wanted)


@dataclass(frozen=True)
class Stroke:
    rows: tuple[Row, ...]

    @property
    def notional(self) -> Decimal:
        return total(row.notional for row in self.rows)

    @property
    def prices(self) -> int:
        return len({row.price for row in self.rows})

    @property
    def sold(self) -> bool:
        return self.rows[0].sold


def strokes(rows: Iterable[Row]) -> list[Stroke]:
    found: list[list[Row]] = []
    for row in valid(rows):
        before = found[-1][-1] if found else None
        if before and (row.id, row.time_ms, row.sold) == (before.id + 1, before.time_ms, before.sold):
            found[-1].append(row)
        else:
            found.append([row])
    return [Stroke(tuple(group)) for group in found]


def nearest_rank(values: Iterable[Decimal], share: Fraction) -> Decimal:
    ranked = sorted(values)
    return ranked[ceil(share * len(ranked)) - 1]


def ranked(found: Iterable[Stroke]) -> list[Stroke]:
    return sorted(found, key=lambda stroke: (-stroke.notional, stroke.rows[0].id))


def sizes(found: Iterable[Stroke]) -> dict[tuple[Decimal, bool], tuple[int, Decimal]]:
    """Count and notional by the power of two below which a stroke lies, and by whether it sold."""
    cells: dict[tuple[Decimal, bool], list[Decimal]] = defaultdict(list)
    for stroke in found:
        below = Decimal("0.0625")
        while stroke.notional >= below:
            below *= 2
        cells[below, stroke.sold].append(stroke.notional)
    return {cell: (len(notionals), total(notionals)) for cell, notionals in cells.items()}


Cells = dict[tuple[int, int], tuple[Decimal, Decimal]]


def footprint(rows: Iterable[Row], row_size: Decimal, width_ms: int) -> Cells:
    """What was bought and sold by bar and row of the absolute grids, traded cells alone."""
    cells: dict[tuple[int, int], list[Row]] = defaultdict(list)
    for row in valid(rows):
        cells[row.time_ms // width_ms, floor(Fraction(row.price) / Fraction(row_size))].append(row)
    return {cell: (bought(inside), sold(inside)) for cell, inside in cells.items()}


def median(values: Iterable[Decimal]) -> Fraction:
    found = sorted(map(Fraction, values))
    half = len(found) // 2
    return found[half] if len(found) % 2 else (found[half - 1] + found[half]) / 2


def imbalances(cells: Cells, ratio: Decimal) -> set[tuple[int, int, str, bool]]:
    """Bar, row, side, and whether the other cell is empty."""
    least = median(buy + sell for buy, sell in cells.values())
    found = set()
    nothing = (Decimal(0), Decimal(0))
    for bar in {bar for bar, _ in cells}:
        rows = [row for b, row in cells if b == bar]
        for row in range(min(rows), max(rows)):
            buy, sell = cells.get((bar, row + 1), nothing)[0], cells.get((bar, row), nothing)[1]
            if buy > 0 and buy >= least and buy >= ratio * sell:
                found.add((bar, row + 1, "buy", sell == 0))
            if sell > 0 and sell >= least and sell >= ratio * buy:
                found.add((bar, row, "sell", buy == 0))
    return found


def stacks(found: set[tuple[int, int, str, bool]]) -> set[tuple[int, str, int, int]]:
    """Bar, side, first and last row of three and more adjacent ones."""
    at = {(bar, row, side) for bar, row, side, _ in found}
    runs = set()
    for bar, row, side in at:
        if (bar, row - 1, side) in at:
            continue
        last = row
        while (bar, last + 1, side) in at:
            last += 1
        if last - row >= 2:
            runs.add((bar, side, row, last))
    return runs


def returned(rows: Iterable[Row], low: Decimal, high: Decimal, since_ms: int) -> tuple[str, int | None]:
    minutes = [bar for bar in bars(rows, MINUTE_MS) if bar.start_ms >= since_ms]
    left = False
    for minute in minutes:
        meets = minute.low <= high and minute.high >= low
        if left and meets:
            return "came_back", minute.start_ms
        left = left or not meets
    return ("went_away" if left else "still_there"), None


def absorptions(
    rows: Sequence[Row], row_size: Decimal, width_ms: int, end_ms: int
) -> tuple[Decimal, int, set[tuple[int, int, str]]]:
    """The limit, the number of heavy cells that are judged, and bar, row and side of those absorbed."""
    cells = footprint(rows, row_size, width_ms)
    limit = nearest_rank((side for cell in cells.values() for side in cell if side), Fraction(95, 100))
    closes = {bar.start_ms // width_ms: bar.close for bar in bars(rows, width_ms)}

    def close_row(bar: int) -> int:
        latest = max(known for known in closes if known <= bar)
        return floor(Fraction(closes[latest]) / Fraction(row_size))

    heavy, absorbed = 0, set()
    for (bar, row), (buy, sell) in cells.items():
        if (bar + 2) * width_ms > end_ms:
            continue
        ends = [close_row(bar), close_row(bar + 1)]
        if buy >= limit:
            heavy += 1
            if all(end <= row + 1 for end in ends):
                absorbed.add((bar, row, "buy"))
        if sell >= limit:
            heavy += 1
            if all(end >= row - 1 for end in ends):
                absorbed.add((bar, row, "sell"))
    return limit, heavy, absorbed


def vpin(
    rows: Sequence[Row], start_ms: int, end_ms: int, lot: Decimal
) -> tuple[Fraction, Decimal, int] | None:
    """VPIN, the size of a bucket, and how many whole ones there are; trades filled in one lot at a time."""
    volume = total(row.quantity for row in valid(rows))
    size = floor(Fraction(volume) * DAY_MS / (50 * (end_ms - start_ms)) / Fraction(lot)) * lot
    if size == 0:
        return None
    buckets, buy, sell = [], Decimal(0), Decimal(0)
    for row in valid(rows):
        left = row.quantity
        while left:
            part = min(left, size - buy - sell)
            left -= part
            buy, sell = (buy, sell + part) if row.sold else (buy + part, sell)
            if buy + sell == size:
                buckets.append(abs(buy - sell))
                buy = sell = Decimal(0)
    if len(buckets) < 50:
        return None
    return Fraction(total(buckets[-50:])) / (50 * Fraction(size)), size, len(buckets)


def kyle_lambda(rows: Sequence[Row]) -> tuple[float, float, int] | None:
    """Slope in bps a million, its t statistic, and how many minutes."""
    minutes = bars(rows, MINUTE_MS)
    points = [
        (
            float(b.notional * (b.buy - b.sell) / (b.buy + b.sell)) / 1e6,
            10_000 * (log(b.close) - log(a.close)),
        )
        for a, b in pairwise(minutes)
    ]
    square = sum(x * x for x, _ in points)
    if len(points) < 30 or square == 0:
        return None
    slope = sum(x * y for x, y in points) / square
    rest = sum((y - slope * x) ** 2 for x, y in points)
    return slope, slope / sqrt(rest / (len(points) - 1) / square), len(points)


def amihud(rows: Sequence[Row]) -> float | None:
    found = bars(rows, 5 * MINUTE_MS)
    ratios = [
        10_000 * abs(log(b.close) - log(a.close)) / (float(b.notional) / 1e6) for a, b in pairwise(found)
    ]
    return sum(ratios) / len(ratios) if len(ratios) >= 30 else None
