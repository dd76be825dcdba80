"""What stands around the panels: title, what it is made of, warnings, border."""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from server.charts.picture import Picture
from server.charts.style import AMBER, FAINT, GROUND, HEIGHT, INK, LEFT, MUTED, WIDTH

RIGHT = WIDTH - 12
TITLE_AT, SUBTITLE_AT = HEIGHT - 24, HEIGHT - 48
SMALLEST = 6.0


def draw(figure: Figure, picture: Picture) -> None:
    figure.add_artist(
        Rectangle((0, 0), 1, 1, fill=False, edgecolor=FAINT, linewidth=1.5, transform=figure.transFigure)
    )
    edges = [_warning(figure, text, y) for text, y in zip(picture.warnings, (TITLE_AT, SUBTITLE_AT))]  # noqa: B905
    title_end, subtitle_end = (edge - 12 for edge in (*edges, *([RIGHT] * (2 - len(edges)))))
    left = LEFT - 62
    title = _text(figure, left, TITLE_AT, picture.title, size=13, color=INK, weight="bold")
    fit(title, title_end - left)
    subtitle = _text(figure, left, SUBTITLE_AT, picture.subtitle, size=10.5, color=MUTED)
    fit(subtitle, subtitle_end - left)


def _warning(figure: Figure, text: str, y: int) -> float:
    """A warning at the right end of a line; where it begins."""
    box = {"boxstyle": "square,pad=0.22", "facecolor": AMBER, "edgecolor": "none"}
    label = _text(figure, RIGHT - 6, y, text, size=10.5, color=INK, weight="bold", ha="right", bbox=box)
    fit(label, RIGHT - 400)
    return float(label.get_window_extent().x0) - 6


def _text(figure: Figure, x: float, y: float, text: str, *, ha: str = "left", **options: Any) -> Text:
    return figure.text(x / WIDTH, y / HEIGHT, text, ha=ha, va="center", **options)


def fit(text: Text, width: float) -> None:
    """Make the letters as small as it takes; hinting makes small ones wider than in proportion."""
    while (taken := text.get_window_extent().width) > width and (
        size := float(text.get_fontsize())
    ) > SMALLEST:
        text.set_fontsize(max(min(size * width / taken, size - 0.25), SMALLEST))


def outlined(colour: str = GROUND) -> dict[str, object]:
    """The ground behind words that stand on a drawing."""
    return {"boxstyle": "square,pad=0.15", "facecolor": colour, "edgecolor": "none", "alpha": 0.85}
