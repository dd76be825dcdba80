"""From a picture's values to a PNG, by matplotlib's objects.

Invariant: nothing is kept between two pictures, and what is not known is left blank and hatched, never drawn
through.
"""

from dataclasses import dataclass
from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from server.charts import below, frame, labels, legend, price, profile
from server.charts.picture import Picture
from server.charts.style import DPI, GROUND, HEIGHT, MOST_BYTES, WIDTH, Box, layout_of

# Anti-aliased text needs some shades of each colour, not all of them.
COLOURS = (256, 64)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure with the axes of its parts; `below` where there is one."""

    figure: Figure
    price: Axes
    rows: Axes
    labels: Axes
    below: Axes | None


def drawing_of(picture: Picture) -> Drawing:
    """The picture drawn, before it is turned into pixels."""
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor=GROUND)
    FigureCanvasAgg(figure)
    layout = layout_of(picture.kind)
    made = Drawing(
        figure,
        _axes(figure, layout.price),
        _axes(figure, layout.rows),
        _axes(figure, layout.labels),
        None if layout.below is None else _axes(figure, layout.below),
    )
    frame.draw(figure, picture)
    price.draw(made.price, picture, with_times=made.below is None)
    profile.draw(made.rows, picture)
    labels.draw(made.labels, picture, layout.labels)
    legend.draw(made.labels, picture)
    if made.below is not None:
        below.draw(made.below, picture)
    return made


def _axes(figure: Figure, box: Box) -> Axes:
    axes = figure.add_axes(box.fractions)
    axes.set_facecolor("none")
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_autoscale_on(False)
    return axes


def png_of(picture: Picture) -> bytes:
    """The picture as a PNG of at most `MOST_BYTES`; raises ValueError where it cannot be made so small."""
    figure = drawing_of(picture).figure
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = canvas.buffer_rgba()  # type: ignore[no-untyped-call]
    image = Image.frombuffer("RGBA", (WIDTH, HEIGHT), pixels).convert("RGB")
    for colours in COLOURS:
        png = _compressed(image, colours)
        if len(png) <= MOST_BYTES:
            return png
    raise ValueError(f"the picture takes {len(png)} bytes, more than {MOST_BYTES}")


def _compressed(image: Image.Image, colours: int) -> bytes:
    out = BytesIO()
    image.quantize(colours, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        out, "PNG", optimize=True
    )
    return out.getvalue()
