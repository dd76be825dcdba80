"""Developing levels: the point of control and the value area as they stood minute by minute.

Invariant: at each minute the levels are those that a profile of the trades up to then has on the same rows;
the last change is the whole window's. Source: definitions, sections 3 and 5 (docs/analytics.md).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil

import numpy as np

from analytics.profile import STEP, ValueAreaMethod, check_value_area
from analytics.rows import Rows
from analytics.tape import counting, row_of
from storage.histograms import exact_bincount
from storage.trades import BoolArray, IntArray, TapeColumns, rescale

MINUTE_MS = 60_000
# Minutes times rows that are worked on at once: 4 MB a column of that many.
CELLS_AT_ONCE = 500_000


@dataclass(frozen=True, slots=True, eq=False)
class DevelopingLevels:
    """What changed and when: (changes,) columns, times ascending.

    At `time_ms` (UTC; a full minute, or the window's end) the levels became those of the rows `poc`, `val`
    and `vah`, indices into `rows`, and stayed so until the next change. `poc_moved` tells the changes at
    which the POC is another row than before. The first one is the first minute's.
    """

    rows: Rows
    time_ms: IntArray
    poc: IntArray
    val: IntArray
    vah: IntArray

    def __len__(self) -> int:
        return len(self.time_ms)

    @property
    def poc_moved(self) -> BoolArray:
        moved: BoolArray = np.diff(self.poc, prepend=-1) != 0
        return moved


def developing_levels(
    trades: Iterable[TapeColumns],
    rows: Rows,
    *,
    start_ms: int,
    end_ms: int,
    value_area_pct: Decimal | int = 70,
    method: ValueAreaMethod = "two_row",
) -> DevelopingLevels:
    """The changes of POC and value area over [start_ms, t), t each full UTC minute up to `end_ms`.

    `rows` are the window's own, of all of its trades; `trades` are read once, an hour or so a chunk, in time
    order but for milliseconds. Raises OptionInvalid, and ValueError where a trade lies outside the rows.
    """
    check_value_area(value_area_pct, method)
    marks, levels = [], []
    for minutes, volume in _batches(_by_minute(trades, rows, start_ms, end_ms), len(rows)):
        poc = _pocs(volume)
        val, vah = _value_areas(volume, poc, Fraction(value_area_pct), STEP[method])
        marks.append(np.minimum((minutes + 1) * MINUTE_MS, end_ms))
        levels.append(np.stack([poc, val, vah]))
    if not marks:
        none = np.empty(0, np.int64)
        return DevelopingLevels(rows, none, none, none, none)
    time_ms, level = np.concatenate(marks), np.concatenate(levels, axis=1)
    changed = (np.diff(level, axis=1, prepend=-1) != 0).any(axis=0)
    return DevelopingLevels(rows, time_ms[changed], *level[:, changed])


def _by_minute(
    trades: Iterable[TapeColumns], rows: Rows, start_ms: int, end_ms: int
) -> Iterator[tuple[int, IntArray]]:
    """Each minute that was traded in, ascending, and the volume that its trades added to each row."""
    held: dict[int, IntArray] = {}
    for chunk in trades:
        chunk = counting(chunk, start_ms, end_ms)
        if len(chunk) == 0:
            continue
        first = int(chunk.time_ms.min()) // MINUTE_MS
        # Times step back by milliseconds at a chunk's edge: its last minute may not be over.
        yield from ((minute, held.pop(minute)) for minute in sorted(held) if minute < first - 1)
        for minute, volume in _minutes_of(chunk, rows):
            held[minute] = held[minute] + volume if minute in held else volume
    yield from sorted(held.items())


def _minutes_of(chunk: TapeColumns, rows: Rows) -> Iterator[tuple[int, IntArray]]:
    minute = chunk.time_ms // MINUTE_MS
    first, last = int(minute.min()), int(minute.max())
    cells = (minute - first) * len(rows) + row_of(chunk, rows)
    sums = exact_bincount(cells, chunk.quantity_int, (last - first + 1) * len(rows))
    volume = rescale(sums, chunk.quantity_exp, rows.quantity_exp).reshape(-1, len(rows))
    return ((first + i, volume[i].copy()) for i in np.flatnonzero(volume.any(axis=1)).tolist())


def _batches(minutes: Iterator[tuple[int, IntArray]], rows: int) -> Iterator[tuple[IntArray, IntArray]]:
    """Minutes and, a line for each, the volume by row up to its end."""
    most = max(CELLS_AT_ONCE // rows, 1)
    before = np.zeros(rows, np.int64)
    batch: list[tuple[int, IntArray]] = []
    for minute in minutes:
        batch.append(minute)
        if len(batch) == most:
            numbers, volume = _summed(batch, before)
            before, batch = volume[-1], []
            yield numbers, volume
    if batch:
        yield _summed(batch, before)


def _summed(batch: list[tuple[int, IntArray]], before: IntArray) -> tuple[IntArray, IntArray]:
    added = np.stack([volume for _, volume in batch])
    added[0] += before
    return np.array([minute for minute, _ in batch], np.int64), np.cumsum(added, axis=0)


def _pocs(volume: IntArray) -> IntArray:
    """`profile.poc_row` of each line of (minutes, rows)."""
    rows = volume.shape[1]
    traded = volume > 0
    first, last = traded.argmax(axis=1), rows - 1 - traded[:, ::-1].argmax(axis=1)
    off_centre = np.abs(2 * np.arange(rows) - (first + last)[:, None])
    heaviest = volume == volume.max(axis=1, keepdims=True)
    poc: IntArray = np.where(heaviest, off_centre, 2 * rows).argmin(axis=1)
    return poc


def _value_areas(volume: IntArray, poc: IntArray, pct: Fraction, step: int) -> tuple[IntArray, IntArray]:
    """`profile.value_area` of each line, grown side by side."""
    traded = volume > 0
    rows = volume.shape[1]
    bottom, top = traded.argmax(axis=1), rows - traded[:, ::-1].argmax(axis=1)
    below = np.concatenate([np.zeros((len(volume), 1), np.int64), np.cumsum(volume, axis=1)], axis=1)
    enough = np.array([ceil(pct * total / 100) for total in below[:, -1].tolist()], np.int64)
    low, high = poc.copy(), poc + 1
    growing = np.arange(len(volume))
    while True:
        held = below[growing, high[growing]] - below[growing, low[growing]]
        growing = growing[held < enough[growing]]
        if len(growing) == 0:
            break
        _grow(below, low, high, bottom, top, growing, step)
    return _trimmed(traded, low, high)


def _grow(
    below: IntArray,
    low: IntArray,
    high: IntArray,
    bottom: IntArray,
    top: IntArray,
    at: IntArray,
    step: int,
) -> None:
    """One step of the lines `at`: the heavier side joins; equal: above, or both where both are empty."""
    down = np.maximum(low[at] - step, bottom[at])
    up = np.minimum(high[at] + step, top[at])
    under = below[at, low[at]] - below[at, down]
    over = below[at, up] - below[at, high[at]]
    can_fall, can_rise = down < low[at], up > high[at]
    both = can_fall & can_rise
    neither = both & (under == 0) & (over == 0)
    fall = neither | (can_fall & ~can_rise) | (both & (under > over))
    rise = neither | (can_rise & ~can_fall) | (both & ~(under > over))
    low[at] = np.where(fall, down, low[at])
    high[at] = np.where(rise, up, high[at])


def _trimmed(traded: BoolArray, low: IntArray, high: IntArray) -> tuple[IntArray, IntArray]:
    """The first and the last traded row (inclusive) of each line's band."""
    row = np.arange(traded.shape[1])
    inside = traded & (row >= low[:, None]) & (row < high[:, None])
    return inside.argmax(axis=1), traded.shape[1] - 1 - inside[:, ::-1].argmax(axis=1)
