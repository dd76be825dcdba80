"""High and low volume nodes: rows that stand out from their surroundings, by prominence.

Invariant: nodes are peaks and valleys of one smoothed curve, whatever the volume's unit. Source: definitions,
section 3 (docs/analytics.md).
"""

from dataclasses import dataclass
from decimal import Decimal
from math import log

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from analytics.rows import Rows, core_rows, exact_total
from storage.trades import IntArray

FloatArray = npt.NDArray[np.float64]

SMOOTHING_ROWS = 1.5
# A thousandth of a usual row: what an empty row counts as, since it has no logarithm.
FLOOR = 1 / 1000
PEAK_PROMINENCE = log(1.5)
VALLEY_PROMINENCE = log(2)


@dataclass(frozen=True, slots=True)
class Node:
    """A row that stands out: `price` is its lowest tick's, `volume` its own in the base asset.

    `prominence_ratio` is how many times the smoothed volume changes between it and the higher of its two
    feet (for a valley the lower of its two rims).
    """

    row: int
    price: Decimal
    volume: Decimal
    prominence_ratio: float


@dataclass(frozen=True, slots=True)
class Nodes:
    """The peaks and valleys of a profile, the most prominent first, of equals the lower."""

    high_volume: tuple[Node, ...]
    low_volume: tuple[Node, ...]


def volume_nodes(rows: Rows) -> Nodes:
    """Peaks of a prominence ratio of at least 1.5 and valleys of at least 2.

    The curve is ln(s + b/1000), s the volume smoothed by a Gaussian of 1.5 rows and b the mean core row. An
    empty row at either end lets the first and the last row be peaks; they are never valleys.
    """
    curve = smoothed_log(rows.volume)
    floor = np.log(_floor_of(rows.volume))
    peaks = prominences(np.concatenate([[floor], curve, [floor]]))
    valleys = prominences(-curve)
    return Nodes(
        _nodes(rows, {at - 1: height for at, height in peaks.items() if height >= PEAK_PROMINENCE}),
        _nodes(rows, {at: depth for at, depth in valleys.items() if depth >= VALLEY_PROMINENCE}),
    )


def smoothed_log(volume: IntArray) -> FloatArray:
    """The curve whose peaks and valleys are nodes: (rows,)."""
    smooth = gaussian_filter1d(volume.astype(np.float64), SMOOTHING_ROWS, mode="nearest")
    return np.log(smooth + _floor_of(volume))


def prominences(curve: FloatArray) -> dict[int, float]:
    """How far each peak rises over the higher of its feet; a plateau counts once, in its middle.

    A foot is the lowest point between the peak and the next higher point on that side, or the end. The same
    as `scipy.signal.find_peaks`, whose import takes half a second.
    """
    found = {}
    for at in _peaks(curve):
        left, right = curve[: at + 1][::-1], curve[at:]
        found[at] = float(curve[at] - max(_foot(left), _foot(right)))
    return found


def _peaks(curve: FloatArray) -> list[int]:
    """The middles of the stretches that are higher than both of their neighbours."""
    starts = np.flatnonzero(np.diff(curve, prepend=np.nan) != 0)
    stops = np.append(starts[1:], len(curve))
    level = curve[starts]
    higher = np.zeros(len(level), np.bool_)
    higher[1:-1] = (level[1:-1] > level[:-2]) & (level[1:-1] > level[2:])
    middles: list[int] = ((starts[higher] + stops[higher] - 1) // 2).tolist()
    return middles


def _foot(away: FloatArray) -> float:
    """The lowest point from the first one, a peak, up to where the curve is higher than it."""
    higher = np.flatnonzero(away > away[0])
    return float(away[: higher[0] if len(higher) else len(away)].min())


def _floor_of(volume: IntArray) -> float:
    first, last = core_rows(volume)
    return exact_total(volume[first : last + 1]) / (last + 1 - first) * FLOOR


def _nodes(rows: Rows, prominence: dict[int, float]) -> tuple[Node, ...]:
    ranked = sorted(prominence, key=lambda row: (-prominence[row], row))
    return tuple(
        Node(
            row, rows.low(row), rows.quantity(int(rows.volume[row])), float(np.exp(prominence[row]))
        )
        for row in ranked
    )  # fmt: skip
