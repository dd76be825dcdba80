"""Thin rows of a profile: runs of rows in which little was traded, measured against the profile's core.

Invariant: volumes, baseline and limit are exact; the one float is the smoothing of rule `thin`. Source:
definitions, sections 4.1 to 4.3 (docs/analytics.md).
"""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Literal, get_args

import numpy as np
from scipy.ndimage import gaussian_filter1d

from analytics.errors import OptionInvalid, RowTooFine
from analytics.rows import core_rows, exact_median, exact_total
from storage.trades import BoolArray, IntArray

Rule = Literal["thin", "origin"]
Kind = Literal["interior", "edge_tail"]

DEFAULT_THRESHOLD_PCT: dict[Rule, Decimal] = {"thin": Decimal(10), "origin": Decimal(20)}
MIN_WIDTH_TICKS = 2
SMOOTHING_ROWS = 1.0


@dataclass(frozen=True, slots=True)
class ThinZone:
    """A run of thin rows, indices `first` to `last` inclusive.

    `gap`: at least one of them is empty; `jump`: all are. `volume` is the rows' sum, `deficit_pct` how far
    their mean lies under the baseline, in % of it.
    """

    first: int
    last: int
    kind: Kind
    gap: bool
    jump: bool
    volume: int
    deficit_pct: float

    @property
    def rows(self) -> slice:
        return slice(self.first, self.last + 1)


@dataclass(frozen=True, slots=True)
class ThinZones:
    """The zones of a profile, low to high, with its core (inclusive) and the baseline they were held to."""

    core: tuple[int, int]
    baseline: Fraction
    zones: tuple[ThinZone, ...]


def thin_zones(
    volume: IntArray,
    *,
    ticks_per_row: int,
    rule: Rule = "thin",
    threshold_pct: Decimal | int | None = None,
    first_row: int = 0,
    tick: Decimal = Decimal(1),
) -> ThinZones:
    """Runs of rows under `threshold_pct` % of the core's baseline, at least 2 ticks wide.

    `volume` is (rows,) int64 from the lowest to the highest traded row, the first being row `first_row` of
    the absolute grid. Rule `thin`: under 10 % of the core's mean after smoothing, extended over rows that are
    under it unsmoothed. Rule `origin`: under 20 % of the core's median. Raises RowTooFine where that median
    is 0 (its sizes are in ticks if no `tick` is given), OptionInvalid for a threshold or rule out of range.
    """
    threshold = checked_threshold(rule, threshold_pct)
    core = core_rows(volume)
    baseline = baseline_of(volume[core[0] : core[1] + 1], rule)
    if baseline == 0:
        raise _empty_median(volume, core, first_row=first_row, row_size=tick * ticks_per_row, tick=tick)
    runs = _runs(volume, baseline * Fraction(threshold) / 100, rule)
    zones = (
        _zone(volume, first, last, core, baseline)
        for first, last in runs
        if (last - first + 1) * ticks_per_row >= MIN_WIDTH_TICKS
    )
    return ThinZones(core, baseline, tuple(zones))


def checked_threshold(rule: Rule, threshold_pct: Decimal | int | None) -> Decimal:
    """The threshold in % of the baseline: the caller's within (0, 100], else the rule's own."""
    if rule not in get_args(Rule):
        raise OptionInvalid("rule", rule, valid="thin, origin", default="thin")
    if threshold_pct is None:
        return DEFAULT_THRESHOLD_PCT[rule]
    if not (Decimal(threshold_pct).is_finite() and 0 < threshold_pct <= 100):
        default = DEFAULT_THRESHOLD_PCT[rule]
        raise OptionInvalid("threshold_pct", threshold_pct, valid="above 0, at most 100", default=default)
    return Decimal(threshold_pct)


def baseline_of(core: IntArray, rule: Rule) -> Fraction:
    """Volume of a typical core row, empty rows included: their mean (`thin`) or median (`origin`)."""
    if rule == "origin":
        return exact_median(core)
    return Fraction(exact_total(core), len(core))


def _runs(volume: IntArray, limit: Fraction, rule: Rule) -> list[tuple[int, int]]:
    """First and last row of each run under the limit; runs that meet after extension are one."""
    thin = volume < ceil(limit)
    if rule == "origin":
        return _stretches(thin)
    smooth = gaussian_filter1d(volume.astype(np.float64), SMOOTHING_ROWS, mode="nearest")
    found = smooth < float(limit)
    return [(first, last) for first, last in _stretches(found | thin) if found[first : last + 1].any()]


def _stretches(mask: BoolArray) -> list[tuple[int, int]]:
    """First and last index of each stretch of True."""
    edges = np.flatnonzero(np.diff(mask, prepend=False, append=False)).tolist()
    return [(first, stop - 1) for first, stop in zip(edges[::2], edges[1::2], strict=True)]


def _zone(volume: IntArray, first: int, last: int, core: tuple[int, int], baseline: Fraction) -> ThinZone:
    rows = volume[first : last + 1]
    total = exact_total(rows)
    at_edge = first == 0 or last == len(volume) - 1 or first < core[0] or last > core[1]
    return ThinZone(
        first,
        last,
        kind="edge_tail" if at_edge else "interior",
        gap=not bool(rows.all()),
        jump=total == 0,
        volume=total,
        deficit_pct=float(100 * (baseline - Fraction(total, len(rows))) / baseline),
    )


def _empty_median(
    volume: IntArray, core: tuple[int, int], *, first_row: int, row_size: Decimal, tick: Decimal
) -> RowTooFine:
    empty = [(a + core[0], b + core[0]) for a, b in _stretches(volume[core[0] : core[1] + 1] == 0)]
    first, last = max(empty, key=lambda run: run[1] - run[0])
    return RowTooFine(
        row_size,
        rows=len(volume),
        fits=row_size * _working_multiple(volume, first_row),
        empty_run=(row_size * (first_row + first), row_size * (first_row + last + 1) - tick),
    )


def _working_multiple(volume: IntArray, first_row: int) -> int:
    """How many rows to make one, at least, for the median core row to hold trades."""
    multiple = 2
    while exact_median(_core(_merged(volume, first_row, multiple))) == 0:
        multiple += 1
    return multiple


def _core(volume: IntArray) -> IntArray:
    first, last = core_rows(volume)
    return volume[first : last + 1]


def _merged(volume: IntArray, first_row: int, multiple: int) -> IntArray:
    """The same volume on rows `multiple` times as large, on the same absolute grid."""
    starts = np.arange(-first_row % multiple, len(volume), multiple)
    return np.add.reduceat(volume, np.union1d([0], starts))
