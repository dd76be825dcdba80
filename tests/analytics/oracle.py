"""The definitions computed the slow and plain way: one trade at a time, Decimal, Counter and Fraction.

Written from the definitions alone; shares no code with what it judges.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from math import floor, gcd, log, sqrt

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

Volumes = dict[int, Decimal]
SCALE = 10**12  # every price of the tests is a whole number of 1e-12


@dataclass(frozen=True)
class Print:
    price: Decimal
    quantity: Decimal
    time_ms: int
    buyer_is_maker: bool


def answer_tick(prints: Sequence[Print], tick: Decimal) -> Fraction:
    return Fraction(gcd(int(tick * SCALE), *(int(p.price * SCALE) for p in prints)), SCALE)


@lru_cache(200_000)
def row(price: Decimal, size: Fraction) -> int:
    return floor(Fraction(price) / size)


def row_volumes(prints: Iterable[Print], size: Fraction) -> Volumes:
    """Volume of every row from the lowest to the highest traded one."""
    traded: Counter[int] = Counter()
    with localcontext(prec=60):
        for p in prints:
            traded[row(p.price, size)] += p.quantity  # type: ignore[assignment]
    return {r: Decimal(traded[r]) for r in range(min(traded), max(traded) + 1)}


def ladder() -> Iterable[int]:
    return (step * 10**n for n in range(40) for step in (1, 2, 5))


def row_where_reached(volume: Volumes, share: Fraction) -> int:
    cumulative, total = Fraction(0), sum(map(Fraction, volume.values()))
    for r in sorted(volume):
        cumulative += Fraction(volume[r])
        if cumulative >= share * total:
            return r
    raise AssertionError("the whole is reached somewhere")


def core_width(volume: Volumes) -> int:
    return row_where_reached(volume, Fraction("0.995")) - row_where_reached(volume, Fraction("0.005")) + 1


def sizes_with(prints: Sequence[Print], tick: Fraction, limit: int) -> Iterable[int]:
    low, high = min(p.price for p in prints), max(p.price for p in prints)
    for m in ladder():
        if row(high, m * tick) - row(low, m * tick) + 1 > 2000:
            continue
        if core_width(row_volumes(prints, m * tick)) <= limit:
            yield m


def profile_row_ticks(prints: Sequence[Print], tick: Fraction) -> int:
    return next(iter(sizes_with(prints, tick, 100)))


def vacuum_row_ticks(prints: Sequence[Print], tick: Fraction) -> int:
    chosen = None
    for m in sizes_with(prints, tick, 200):
        if chosen is not None and core_width(row_volumes(prints, m * tick)) < 20:
            return chosen
        chosen = m
        if median_core_trades(prints, m * tick) >= 150:
            return m
    raise AssertionError("some size is too coarse")


def median_core_trades(prints: Sequence[Print], size: Fraction) -> Fraction:
    counts = Counter(row(p.price, size) for p in prints)
    return median([Fraction(counts[r]) for r in core(row_volumes(prints, size))])


def median(values: Sequence[Fraction]) -> Fraction:
    ranked = sorted(values)
    half = len(ranked) // 2
    return ranked[half] if len(ranked) % 2 else (ranked[half - 1] + ranked[half]) / 2


def exact_sum(values: Iterable[Fraction]) -> Fraction:
    return sum(values, Fraction(0))


def core(volume: Mapping[int, Decimal | int]) -> list[int]:
    held = {r: v if isinstance(v, int) else Fraction(v) for r, v in sorted(volume.items())}
    total, rows = sum(held.values()), []
    cumulative: int | Fraction = 0
    for r, quantity in held.items():
        if 100 * (cumulative + quantity) > total and 100 * cumulative < 99 * total:
            rows.append(r)
        cumulative += quantity
    return rows


def poc(volume: Volumes) -> int:
    traded = [r for r in volume if volume[r]]
    return min(volume, key=lambda r: (-volume[r], abs(2 * r - min(traded) - max(traded)), r))


def contested(volume: Volumes, poc: int) -> int | None:
    rivals = [r for r in volume if abs(r - poc) >= 3 and 10 * volume[r] >= 9 * volume[poc]]
    return min(rivals, key=lambda r: (-volume[r], abs(r - poc), r), default=None)


def value_area(volume: Volumes, poc: int, pct: Decimal, step: int) -> tuple[int, int]:
    traded = [r for r in volume if volume[r]]
    bottom, top = min(traded), max(traded)
    inside, total = {poc}, sum(map(Fraction, volume.values()))
    while sum(Fraction(volume[r]) for r in inside) * 100 < Fraction(pct) * total:
        above = [r for r in range(max(inside) + 1, max(inside) + step + 1) if r <= top]
        below = [r for r in range(min(inside) - step, min(inside)) if r >= bottom]
        over, under = (sum(Fraction(volume[r]) for r in side) for side in (above, below))
        if not below or (above and over > under) or (above and over == under != 0):
            inside |= set(above)
        elif not above or under > over:
            inside |= set(below)
        else:
            inside |= set(above) | set(below)
    kept = [r for r in inside if volume[r]]
    return min(kept), max(kept)


def developing(
    prints: Sequence[Print], size: Fraction, start_ms: int, end_ms: int, pct: Decimal, step: int
) -> list[tuple[int, int, int, int]]:
    """(time, POC, VAL row, VAH row) at each full minute, or the end, at which one of the three changed."""
    changes: list[tuple[int, int, int, int]] = []
    for mark in [*range(start_ms // 60_000 * 60_000 + 60_000, end_ms, 60_000), end_ms]:
        known = [p for p in prints if p.time_ms < mark]
        if known:
            volume = row_volumes(known, size)
            levels = poc(volume), *value_area(volume, poc(volume), pct, step)
            if not changes or changes[-1][1:] != levels:
                changes.append((mark, *levels))
    return changes


def prominent(volume: Volumes) -> tuple[dict[int, float], dict[int, float]]:
    """Rows of the high and of the low volume nodes with their prominence ratios."""
    raw = np.array([float(volume[r]) for r in sorted(volume)])
    base = float(exact_sum(Fraction(volume[r]) for r in core(volume)) / len(core(volume))) / 1000
    curve = np.log(gaussian_filter1d(raw, 1.5, mode="nearest") + base)
    padded = np.concatenate([[log(base)], curve, [log(base)]])
    high, rise = find_peaks(padded, prominence=log(1.5))
    low, fall = find_peaks(-curve, prominence=log(2))
    first = min(volume)
    return (
        dict(zip((high - 1 + first).tolist(), np.exp(rise["prominences"]).tolist(), strict=True)),
        dict(zip((low + first).tolist(), np.exp(fall["prominences"]).tolist(), strict=True)),
    )


def vwap_and_sigma(prints: Sequence[Print], decimals: int) -> tuple[Decimal, Decimal]:
    total = exact_sum(Fraction(p.quantity) for p in prints)
    mean = exact_sum(Fraction(p.price) * Fraction(p.quantity) for p in prints) / total
    variance = exact_sum(Fraction(p.quantity) * (Fraction(p.price) - mean) ** 2 for p in prints) / total
    with localcontext(prec=120):
        sigma = (Decimal(variance.numerator) / Decimal(variance.denominator)).sqrt()
        return (
            Decimal(round(mean * 10**decimals)).scaleb(-decimals),
            Decimal(round(Fraction(sigma) * 10**decimals)).scaleb(-decimals),
        )


@dataclass(frozen=True)
class Zone:
    first: int
    last: int
    interior: bool
    gap: bool
    jump: bool
    deficit_pct: Fraction


def zones(volume: Volumes, rule: str, threshold: Decimal, row_ticks: int) -> list[Zone] | None:
    """Thin zones low to high; None where the baseline is 0."""
    rows = [Fraction(volume[r]) for r in core(volume)]
    baseline = median(rows) if rule == "origin" else exact_sum(rows) / len(rows)
    if baseline == 0:
        return None
    limit = baseline * Fraction(threshold) / 100
    raw = [Fraction(volume[r]) for r in sorted(volume)]
    runs = [[i] for i in range(len(raw)) if raw[i] < limit]
    if rule == "thin":
        smooth = gaussian_filter1d(np.array([float(v) for v in raw]), 1.0, mode="nearest")
        runs = [extended(i, raw, limit) for i in range(len(raw)) if smooth[i] < float(limit)]
    inner = set(core(volume)) - {min(volume), max(volume)}
    return [
        described(run, volume, baseline, inner)
        for run in joined(runs)
        if (run[-1] - run[0] + 1) * row_ticks >= 2
    ]


def extended(seed: int, raw: list[Fraction], limit: Fraction) -> list[int]:
    first = last = seed
    while first > 0 and raw[first - 1] < limit:
        first -= 1
    while last < len(raw) - 1 and raw[last + 1] < limit:
        last += 1
    return list(range(first, last + 1))


def joined(runs: list[list[int]]) -> list[list[int]]:
    """Overlapping or adjacent runs as one, low to high."""
    covered = sorted({i for run in runs for i in run})
    joint: list[list[int]] = []
    for i in covered:
        if joint and joint[-1][-1] == i - 1:
            joint[-1].append(i)
        else:
            joint.append([i])
    return joint


def described(run: list[int], volume: Volumes, baseline: Fraction, inner: set[int]) -> Zone:
    numbers = sorted(volume)
    rows = [numbers[i] for i in run]
    held = [Fraction(volume[r]) for r in rows]
    return Zone(
        rows[0],
        rows[-1],
        interior=set(rows) <= inner,
        gap=any(v == 0 for v in held),
        jump=all(v == 0 for v in held),
        deficit_pct=100 * (baseline - exact_sum(held) / len(held)) / baseline,
    )


def single_print(prints: Sequence[Print], size: Fraction, zone: Zone) -> bool:
    half_hours = [
        {p.time_ms // 1_800_000 for p in prints if row(p.price, size) == r}
        for r in range(zone.first, zone.last + 1)
    ]
    return all(len(seen) == 1 for seen in half_hours)


def sigma15m(prints: Sequence[Print], start_ms: int, end_ms: int) -> float | None:
    closes = []
    for mark in range(-(-start_ms // 300_000) * 300_000, end_ms, 300_000):
        before = [p for p in prints if p.time_ms < mark]
        if before:
            closes.append(before[-1].price)
    returns = [log(b / a) for a, b in pairwise(closes)]
    if len(returns) < 12:
        return None
    return float(prints[-1].price) * sqrt(3 * sum(r * r for r in returns) / len(returns))


@dataclass
class Visited:
    visits: int = 0
    through: int = 0
    rejected: int = 0
    jumps: int = 0
    crossings_ms: list[int] = field(default_factory=list)


def visited(prints: Sequence[Print], size: Fraction, zone: Zone) -> Visited:
    """One print after the other: a visit ends at least one row away from the zone."""
    seen, side, visit = Visited(), 0, None
    for p in prints:
        r = row(p.price, size)
        now = (r > zone.last) - (r < zone.first)
        seen.jumps += side * now == -1
        if visit is None and now == 0:
            visit = (side, p.time_ms)
            seen.visits += 1
        elif visit is not None and (r >= zone.last + 2 or r <= zone.first - 2):
            came_from, began_ms = visit
            seen.through += came_from == -now
            seen.rejected += came_from == now
            if came_from == -now:
                seen.crossings_ms.append(p.time_ms - began_ms)
            visit = None
        side = now
    return seen


def median_cross_s(seen: Visited) -> float | None:
    times = [Fraction(ms, 1000) for ms in seen.crossings_ms]
    return float(median(times)) if times else None


@lru_cache(200_000)
def poisson_draw(symbol: str, block: int, resample: int) -> int:
    """Poisson(1) by inversion of a 64-bit hash; splitmix64 of symbol and block, then of the resample."""
    seed = int.from_bytes(blake2b(symbol.encode(), digest_size=8).digest(), "little")
    u = Fraction(splitmix(splitmix(block ^ seed) ^ splitmix(resample)), 2**64)
    with localcontext(prec=40):
        share = cumulative = Decimal(-1).exp()
        n = 0
        while u >= Fraction(int(cumulative * 2**64), 2**64):
            n += 1
            share /= n
            cumulative += share
    return n


def splitmix(x: int) -> int:
    whole = 2**64 - 1
    x = (x + 0x9E3779B97F4A7C15) & whole
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & whole
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & whole
    return x ^ x >> 31


def stabilities(
    prints: Sequence[Print], size: Fraction, found: Sequence[Zone], symbol: str, rule: str, threshold: Decimal
) -> list[float | None]:
    parts: dict[int, Counter[int]] = {}
    for p in prints:
        parts.setdefault(p.time_ms // 600_000, Counter())[row(p.price, size)] += int(p.quantity * SCALE)
    if len(parts) < 6:
        return [None] * len(found)
    rows = range(min(map(min, parts.values())), max(map(max, parts.values())) + 1)
    kept = [0] * len(found)
    for i in range(200):
        volume = dict.fromkeys(rows, 0)
        for block, traded in parts.items():
            weight = poisson_draw(symbol, block, i)
            for r, quantity in traded.items():
                volume[r] += weight * quantity
        if any(volume.values()):
            inside = [Fraction(volume[r]) for r in core(volume)]
            baseline = median(inside) if rule == "origin" else exact_sum(inside) / len(inside)
            for at, zone in enumerate(found):
                held = [volume[r] for r in range(zone.first, zone.last + 1)]
                kept[at] += Fraction(sum(held), len(held)) < baseline * Fraction(threshold) / 100
    return [count / 200 for count in kept]


def grid_check(
    prints: Sequence[Print], tick: Fraction, m: int, zone: Zone, rule: str, threshold: Decimal
) -> str:
    """Of the grids x1/2, x2, shifted by floor(m/2) ticks, doubled and shifted by a row: how many find it."""
    grids = [(2 * m, 0), (2 * m, m)]
    if m % 2 == 0:
        grids.append((m // 2, 0))
    if m // 2:
        grids.append((m, m // 2))
    low, high = zone.first * m, (zone.last + 1) * m
    found = 0
    for size, shift in grids:
        moved = [replace(p, price=p.price - Decimal(shift) * as_decimal(tick)) for p in prints]
        spans = [
            (z.first * size + shift, (z.last + 1) * size + shift)
            for z in zones(row_volumes(moved, size * tick), rule, threshold, size) or []
        ]
        found += any(2 * (min(b, high) - max(a, low)) >= high - low for a, b in spans)
    return f"{found}/{len(grids)}"


def as_decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)
