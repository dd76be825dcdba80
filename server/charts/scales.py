"""Where the figures beside a picture stand: round times, round prices, labels that do not overlap.

Invariant: no label says less or more than its step needs, and none lies on another.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import count
from math import ceil, floor, inf

SECOND_MS = 1_000
DAY_MS = 86_400_000
# Steps on the clock that divide the minute, the hour, the day; then days.
STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 14_400, 21_600, 43_200)

Tick = tuple[float, str]


def time_ticks(start_ms: int, end_ms: int, most: int) -> list[Tick]:
    """Round times in [start_ms, end_ms], at most so many, as UTC; midnight by its date."""
    steps = [*(seconds * SECOND_MS for seconds in STEPS_S), *(DAY_MS * days for days in range(1, 8))]
    step = next((each for each in steps if len(_multiples(start_ms, end_ms, each)) <= most), steps[-1])
    form = "%H:%M" if step % (60 * SECOND_MS) == 0 else "%H:%M:%S"
    return [(at, _time_words(at, form)) for at in _multiples(start_ms, end_ms, step)]


def _multiples(start: int, end: int, step: int) -> range:
    return range(-(-start // step) * step, end + 1, step)


def _time_words(at_ms: int, form: str) -> str:
    time = datetime.fromtimestamp(at_ms / 1000, UTC)
    return f"{time.day} {time:%b}" if at_ms % DAY_MS == 0 else f"{time:{form}}"


def value_ticks(low: float, high: float, most: int, decimals: int = 8) -> list[Tick]:
    """Round values in [low, high] with at most so many decimals, at least one where there is any."""
    for step, places in _round_steps(decimals):
        first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
        if last - first + 1 <= most:
            return [(n * step, f"{n * step + 0.0:.{places}f}") for n in range(first, last + 1)]
    return []


def _round_steps(decimals: int) -> Iterator[tuple[float, int]]:
    """1, 2, 5 · 10ⁿ from the last decimal on, and the decimals that each needs."""
    for n in count(-decimals):
        for factor in (1, 2, 5):
            yield factor * 10.0**n, max(0, -n)


def spread(wanted: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """Places in [low, high] at least `apart` from each other and as near to the wanted ones as that allows.

    Neighbours that are too close share the room around their middle. Where there is no room for all, they
    stand evenly over the whole.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    if len(wanted) > 1:
        apart = min(apart, (high - low) / (len(wanted) - 1))
    groups: list[tuple[float, int]] = []
    for i in order:
        middle, size = wanted[i], 1
        while True:
            middle = _held(middle, (size - 1) * apart / 2, low, high)
            before, others = groups[-1] if groups else (-inf, 1)
            if middle - before >= (size + others) * apart / 2 - 1e-9:
                break
            groups.pop()
            middle, size = (before * others + middle * size) / (others + size), others + size
        groups.append((middle, size))
    places = [middle + (n - (size - 1) / 2) * apart for middle, size in groups for n in range(size)]
    return [place for _, place in sorted(zip(order, places, strict=True))]


def _held(middle: float, half: float, low: float, high: float) -> float:
    return min(max(middle, low + half), high - half)
