"""The labels of the marks beside the panels, each tied to its price and none on another."""

from matplotlib.axes import Axes

from server.charts.frame import fit
from server.charts.picture import Mark, Picture
from server.charts.price import price_range
from server.charts.scales import spread
from server.charts.style import GROUND, INK, LOOKS, Box

LEADER = 18  # pixels from the panel to the words
APART = 19.0
SIZE = 10.0
# Beside a crowd of labels, smaller ones.
SMALL_APART, SMALL = 14.0, 8.5


def draw(axes: Axes, picture: Picture, box: Box) -> None:
    axes.set_xlim(0, box.width)
    axes.set_ylim(0, box.height)
    low, high = price_range(picture)
    named = [mark for mark in picture.marks if mark.label]
    at = [(_middle(mark) - low) / (high - low) * box.height for mark in named]
    roomy = len(named) * APART <= box.height
    apart, size = (APART, SIZE) if roomy else (SMALL_APART, SMALL)
    places = spread([min(max(y, 0.0), box.height) for y in at], apart, apart / 2, box.height - apart / 2)
    for mark, y, place in zip(named, at, places, strict=True):
        _leader(axes, mark, y, place)
        _words(axes, mark, place, size, box.width - LEADER - 6)


def _middle(mark: Mark) -> float:
    return (mark.low + mark.high) / 2


def _leader(axes: Axes, mark: Mark, y: float, place: float) -> None:
    colour = LOOKS[mark.role].text
    axes.plot([0, 4, LEADER - 4, LEADER], [y, y, place, place], color=colour, linewidth=0.9, clip_on=False)


def _words(axes: Axes, mark: Mark, place: float, size: float, width: float) -> None:
    last = mark.role == "last"
    text = axes.text(
        LEADER + 4, place, mark.label, ha="left", va="center_baseline", fontsize=size,
        zorder=9 if last else 3, color=GROUND if last else LOOKS[mark.role].text,
        weight="bold" if mark.role in ("poc", "last") else "normal",
        bbox={"boxstyle": "square,pad=0.2", "facecolor": INK, "edgecolor": "none"} if last else None,
    )  # fmt: skip
    fit(text, width)
