"""Volume by price beside the price: how much was traded in each row, or how far its takers were ahead."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from server.charts.frame import fit
from server.charts.picture import Mark, Picture, PriceRows
from server.charts.price import draw_mark, price_range
from server.charts.shapes import FloatArray, rectangles
from server.charts.style import (
    AMBER,
    BUY,
    FAINT,
    INK,
    MUTED,
    OTHER_ROWS,
    SELL,
    VALUE_ROWS,
    VERMILION,
)

# Of the panel's width, what the longest row takes.
LONGEST = 0.94


def draw(axes: Axes, picture: Picture) -> None:
    axes.set_ylim(*price_range(picture))
    buy, sell = np.array(picture.rows.buy), np.array(picture.rows.sell)
    for mark in picture.marks:
        draw_mark(axes, mark)
    if picture.kind == "flow":
        _draw_delta(axes, picture, buy - sell)
    else:
        _draw_volume(axes, picture, buy + sell)


def _draw_volume(axes: Axes, picture: Picture, volume: FloatArray) -> None:
    longest = float(_shown(picture, volume).max()) or 1.0
    axes.set_xlim(0, longest / LONGEST)
    _bars(axes, picture.rows, volume, _colours(picture))
    _baseline(axes, 0)
    _nodes(axes, picture, volume, longest)
    for volume_of_row in picture.limits:
        axes.axvline(volume_of_row, color=MUTED, linewidth=1.0, linestyle=(0, (2, 2)), zorder=2)
    _caption(axes, 0, f"volume, max row {_short(longest)} {picture.volume_unit}")
    _caption(axes, 1, picture.limits_words)


def _draw_delta(axes: Axes, picture: Picture, delta: FloatArray) -> None:
    longest = float(np.abs(_shown(picture, delta)).max()) or 1.0
    axes.set_xlim(-longest / LONGEST, longest / LONGEST)
    _bars(axes, picture.rows, delta, [BUY if ahead else SELL for ahead in delta >= 0])
    _baseline(axes, 0)
    _caption(axes, 0, f"delta, max row {_short(longest)} {picture.volume_unit}")
    _caption(axes, 1, "◂ sold more", SELL)
    _caption(axes, 1, "bought more ▸", BUY, right=True)


def _shown(picture: Picture, values: FloatArray) -> FloatArray:
    """The values of the rows that are in sight; of all where none is."""
    low, high = price_range(picture)
    rows = picture.rows
    edges = rows.low + rows.size * np.arange(len(values))
    inside = (edges < high) & (edges + rows.size > low)
    return values[inside] if bool(inside.any()) else values


def _bars(
    axes: Axes,
    rows: PriceRows,
    values: FloatArray,
    colours: list[str],
) -> None:
    bottom = rows.low + rows.size * np.arange(len(values), dtype=np.float64)
    # A little room between rows, where there is a pixel for it.
    pixels = rows.size / (axes.get_ylim()[1] - axes.get_ylim()[0]) * axes.get_window_extent().height
    top = bottom + rows.size * (1 - 1 / pixels if pixels >= 4 else 1)
    shapes = rectangles(np.zeros(len(values)), bottom, values, top)
    axes.add_collection(
        PolyCollection(shapes, facecolors=colours, edgecolors="none", antialiaseds=pixels < 2, zorder=1)
    )


def _colours(picture: Picture) -> list[str]:
    """The POC's row, those inside value, those in a vacuum, the others."""
    rows = picture.rows
    ends = [mark.low for mark in picture.marks if mark.role == "value"]
    low, high = (min(ends), max(ends)) if len(ends) == 2 and picture.kind == "profile" else (np.inf, -np.inf)
    poc = next((mark for mark in picture.marks if mark.role == "poc" and picture.kind == "profile"), None)
    thin = [mark for mark in picture.marks if mark.role in ("vacuum", "tail")]
    middles = rows.low + rows.size * (np.arange(len(rows.buy)) + 0.5)
    return [_colour(middle, low, high, poc, thin) for middle in middles.tolist()]


def _colour(middle: float, low: float, high: float, poc: Mark | None, thin: list[Mark]) -> str:
    if poc is not None and poc.low <= middle <= poc.high:
        return VERMILION
    if any(mark.low <= middle <= mark.high for mark in thin):
        return AMBER
    return VALUE_ROWS if low <= middle <= high else OTHER_ROWS


def _baseline(axes: Axes, x: float) -> None:
    axes.axvline(x, color=FAINT, linewidth=1.0, zorder=1.2)


def _nodes(axes: Axes, picture: Picture, volume: FloatArray, longest: float) -> None:
    """A full arrow at the end of a high volume row, a hollow one at that of a low volume row."""
    for mark in picture.marks:
        if mark.role in ("hvn", "lvn"):
            middle = (mark.low + mark.high) / 2
            row = min(max(int((middle - picture.rows.low) / picture.rows.size), 0), len(volume) - 1)
            axes.plot(
                [min(float(volume[row]), longest) + longest * 0.035], [middle], marker="<", markersize=7,
                markerfacecolor=INK if mark.role == "hvn" else "white", markeredgecolor=INK, zorder=3,
                clip_on=False,
            )  # fmt: skip


def _caption(axes: Axes, line: int, words: str, colour: str = MUTED, *, right: bool = False) -> None:
    """A line of small words under the rows."""
    text = axes.annotate(
        words, (1.0 if right else 0.0, 0), (0, -6 - 13 * line), xycoords="axes fraction",
        textcoords="offset points", ha="right" if right else "left", va="top", fontsize=9, color=colour,
    )  # fmt: skip
    fit(text, axes.get_window_extent().width)


def _short(volume: float) -> str:
    return f"{volume:.4g}" if abs(volume) < 10_000 else f"{volume:,.0f}"
