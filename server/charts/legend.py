"""What has no label of its own, in words beside the panels; nothing where all has one."""

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from server.charts.picture import Picture, Role
from server.charts.style import BUY, LOOKS, MUTED, SELL

RANGES: dict[Role, str] = {"vacuum": "thin (vacuum)", "tail": "thin end of the range"}


def draw(axes: Axes, picture: Picture) -> None:
    """In the corner under the labels."""
    entries = [*_ranges(picture), *_prints(picture)]
    if entries:
        axes.legend(
            handles=entries, loc="upper left", bbox_to_anchor=(0.07, -0.003), fontsize=9, frameon=False,
            labelcolor=MUTED, handlelength=1.5, borderpad=0.2, borderaxespad=0.0, labelspacing=0.35,
        )  # fmt: skip


def _ranges(picture: Picture) -> list[Artist]:
    shown = {mark.role for mark in picture.marks}
    return [
        Patch(facecolor=LOOKS[role].fill, edgecolor=LOOKS[role].colour, linewidth=0.8, label=words)
        for role, words in RANGES.items()
        if role in shown
    ]


def _prints(picture: Picture) -> list[Artist]:
    sides = {one.side for one in picture.prints}
    return [
        Line2D([], [], color=colour, marker=marker, linestyle="", markersize=8, label=f"large {side}")
        for side, marker, colour in (("buy", "^", BUY), ("sell", "v", SELL))
        if side in sides
    ]
