"""Under the price: each bar's delta, and its running sum from 0 at the window's start.

Invariant: the running sum is broken where trades are not known.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from server.charts.frame import outlined
from server.charts.picture import Picture
from server.charts.price import draw_gaps, draw_times, draw_values
from server.charts.scales import value_ticks
from server.charts.shapes import FloatArray, rectangles
from server.charts.style import BUY, FAINT, INK, MUTED, SELL

MOST_TICKS = 5
ROOM = 0.08


def draw(axes: Axes, picture: Picture) -> None:
    bars = picture.bars
    delta, cvd = np.array(bars.delta), np.cumsum(bars.delta)
    low, high = min(0.0, float(cvd.min()), float(delta.min())), max(0.0, float(cvd.max()), float(delta.max()))
    room = (high - low or 1.0) * ROOM
    axes.set_xlim(picture.start_ms, picture.end_ms)
    axes.set_ylim(low - room, high + room * 3)  # the words stand above
    draw_values(axes, value_ticks(*axes.get_ylim(), MOST_TICKS))
    draw_times(axes, picture, worded=True)
    axes.axhline(0, color=FAINT, linewidth=1.0, zorder=1)
    _delta_bars(axes, picture, delta)
    for times, values in broken(picture, cvd):
        axes.plot(times, values, color=INK, linewidth=1.7, zorder=3, solid_joinstyle="round")
    draw_gaps(axes, picture, worded=False)
    axes.annotate(
        picture.flow_end, (picture.end_ms, float(cvd[-1])), (8, 0), textcoords="offset points",
        ha="left", va="center", fontsize=10, weight="bold", color=INK, annotation_clip=False,
    )  # fmt: skip
    axes.text(
        0.008, 0.97, f"CVD from 0 (line), delta of each bar, {picture.volume_unit}",
        transform=axes.transAxes, ha="left", va="top", fontsize=9, color=MUTED, zorder=5,
        bbox=outlined(),
    )  # fmt: skip


def _delta_bars(axes: Axes, picture: Picture, delta: FloatArray) -> None:
    start, width = np.array(picture.bars.start_ms, float), picture.bars.width_ms
    shapes = rectangles(start + width * 0.18, np.zeros(len(delta)), start + width * 0.82, delta)
    colours = [BUY if value >= 0 else SELL for value in delta]
    axes.add_collection(PolyCollection(shapes, facecolors=colours, edgecolors="none", zorder=2))


def broken(picture: Picture, cvd: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
    """The running sum at the ends of bars, in stretches between which something is not known."""
    starts = np.array(picture.bars.start_ms)
    ends = np.minimum(starts + picture.bars.width_ms, picture.end_ms)
    for gap in picture.gaps:
        reaches = (starts <= gap.start_ms) & (gap.start_ms < ends) & (gap.end_ms >= ends)
        ends = np.where(reaches, gap.start_ms, ends)
    before = np.searchsorted(sorted(gap.start_ms for gap in picture.gaps), starts, side="left")
    cuts = np.flatnonzero(np.diff(before)) + 1
    return list(zip(np.split(ends.astype(np.float64), cuts), np.split(cvd, cuts), strict=True))
