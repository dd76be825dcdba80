"""The price over time: candles, the marks across them, and hatching where trades are not known.

Invariant: hatching lies over the candles, so that no price is drawn through time that is not known.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection

from server.charts.frame import outlined
from server.charts.picture import Mark, Picture, PriceBars, Span
from server.charts.scales import Tick, time_ticks, value_ticks
from server.charts.shapes import rectangles
from server.charts.style import (
    BUY,
    CANDLE,
    GRID,
    GROUND,
    HATCH,
    HATCH_GROUND,
    INK,
    LEFT,
    LOOKS,
    MUTED,
    POINT,
    SELL,
    VALUE_FILL,
)

# Room above and below the prices, and what a gap takes at least, in shares of the panel.
MARGIN = 0.05
NARROWEST = 0.004
BODY = 0.64
# How wide a digit is, of the size of its letters.
DIGIT = 0.64
MOST_TIMES, MOST_PRICES = 7, 9
# From this share of the panel on a gap has room for words.
WIDE = 0.2


def price_range(picture: Picture) -> tuple[float, float]:
    """The prices that the panels show."""
    low, high = picture.focus or (min(picture.bars.low), max(picture.bars.high))
    tick = 10.0**-picture.decimals
    room = max((high - low) * MARGIN, 2 * tick)
    return low - room, high + room


def draw(axes: Axes, picture: Picture, *, with_times: bool) -> None:
    axes.set_xlim(picture.start_ms, picture.end_ms)
    axes.set_ylim(*price_range(picture))
    _grid(axes, picture, with_times=with_times)
    if picture.kind == "profile":
        _value_area(axes, picture.marks)
    for mark in picture.marks:
        draw_mark(axes, mark)
    _candles(axes, picture.bars)
    _prints(axes, picture)
    draw_gaps(axes, picture, worded=True)
    _last(axes, picture)


def _grid(axes: Axes, picture: Picture, *, with_times: bool) -> None:
    draw_values(axes, value_ticks(*axes.get_ylim(), MOST_PRICES, picture.decimals))
    draw_times(axes, picture, worded=with_times)


def draw_values(axes: Axes, ticks: list[Tick]) -> None:
    """The grid of prices or volumes, its words small enough for the room on the left."""
    longest = max((len(words) for _, words in ticks), default=1)
    size = min(10.0, (LEFT - 14) / (longest * DIGIT * POINT))
    axes.set_yticks([at for at, _ in ticks], [words for _, words in ticks])
    axes.tick_params(axis="y", length=0, pad=6, labelsize=size, labelcolor=MUTED)
    axes.grid(axis="y", color=GRID, linewidth=0.8)


def draw_times(axes: Axes, picture: Picture, *, worded: bool) -> None:
    """The time's grid, and its words below where they belong."""
    times = time_ticks(picture.start_ms, picture.end_ms, MOST_TIMES)
    axes.set_xticks([at for at, _ in times], [words if worded else "" for _, words in times])
    axes.tick_params(axis="x", length=0, pad=6, labelsize=10, labelcolor=MUTED)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    if worded:
        axes.annotate(
            "UTC", (0, 0), (-24, -7), xycoords="axes fraction", textcoords="offset points",
            ha="right", va="top", fontsize=10, color=MUTED,
        )  # fmt: skip


def _value_area(axes: Axes, marks: tuple[Mark, ...]) -> None:
    ends = [mark.low for mark in marks if mark.role == "value"]
    if len(ends) == 2:
        axes.axhspan(min(ends), max(ends), facecolor=VALUE_FILL, edgecolor="none", zorder=0.4)


def draw_mark(axes: Axes, mark: Mark) -> None:
    """A line across the panel, or a filled range."""
    look = LOOKS[mark.role]
    if look.fill is not None:
        axes.axhspan(mark.low, mark.high, facecolor=look.fill, edgecolor="none", zorder=0.6)
    if look.width and look.fill is not None:
        for edge in (mark.low, mark.high):
            axes.axhline(edge, color=look.colour, linewidth=look.width, zorder=0.7)
    elif look.width:
        middle = (mark.low + mark.high) / 2
        axes.axhline(middle, color=look.colour, linewidth=look.width, linestyle=look.line, zorder=1.5)


def _candles(axes: Axes, bars: PriceBars) -> None:
    """Hollow where price rose, full where it fell."""
    start, half = np.array(bars.start_ms, float), bars.width_ms / 2
    low, high = np.array(bars.low), np.array(bars.high)
    opened, closed = np.array(bars.open), np.array(bars.close)
    middle = start + half
    wicks = np.stack([np.stack([middle, low], 1), np.stack([middle, high], 1)], 1)
    axes.add_collection(LineCollection(list(wicks), colors=CANDLE, linewidths=1.0, zorder=2))
    bottom, top = np.minimum(opened, closed), np.maximum(opened, closed)
    bodies = rectangles(middle - half * BODY, bottom, middle + half * BODY, top)
    fills = [GROUND if rose else CANDLE for rose in closed >= opened]
    axes.add_collection(
        PolyCollection(bodies, facecolors=fills, edgecolors=CANDLE, linewidths=0.9, zorder=2.1)
    )


def _prints(axes: Axes, picture: Picture) -> None:
    for side, marker, colour in (("buy", "^", BUY), ("sell", "v", SELL)):
        found = [one for one in picture.prints if one.side == side]
        axes.scatter(
            [one.time_ms for one in found],
            [one.price for one in found],
            s=[40 + 110 * one.share for one in found],
            marker=marker, facecolor=colour, edgecolor=GROUND, linewidth=0.9, zorder=3, clip_on=True,
        )  # fmt: skip


def draw_gaps(axes: Axes, picture: Picture, *, worded: bool) -> None:
    """Hatching over the whole height, wide enough to be seen."""
    window_ms = picture.end_ms - picture.start_ms
    for gap in picture.gaps:
        left, right = _widened(gap, picture.start_ms, picture.end_ms, window_ms * NARROWEST)
        axes.axvspan(
            left, right, facecolor=HATCH_GROUND, edgecolor=HATCH, hatch="////", linewidth=0, zorder=4
        )
        if worded and right - left >= WIDE * window_ms:
            axes.text(
                (left + right) / 2, 0.5, "not recorded", transform=axes.get_xaxis_transform(), zorder=4.1,
                ha="center", va="center", fontsize=11, color=INK, bbox=outlined() | {"alpha": 1},
            )  # fmt: skip


def _widened(gap: Span, start_ms: int, end_ms: int, least_ms: float) -> tuple[float, float]:
    short = max(least_ms - (gap.end_ms - gap.start_ms), 0)
    left = min(max(gap.start_ms - short / 2, start_ms), max(end_ms - least_ms, start_ms))
    return left, max(gap.end_ms + short / 2, left + least_ms)


def _last(axes: Axes, picture: Picture) -> None:
    """Where price stands now, in front of everything."""
    for mark in picture.marks:
        if mark.role == "last":
            axes.plot(
                [picture.as_of_ms],
                [mark.low],
                "o",
                color=INK,
                markersize=7,
                markeredgecolor=GROUND,
                zorder=5,
                clip_on=False,
            )
