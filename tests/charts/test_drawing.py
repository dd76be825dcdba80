"""What stands where in a picture, looked up in its pixels; and how large it gets."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from PIL import Image

from server.charts import picture as model
from server.charts.drawing import Drawing, drawing_of, png_of
from server.charts.picture import Mark, Picture, PriceBars, PriceRows, Span
from server.charts.style import BLUE, CANDLE, HATCH, HATCH_GROUND, INK, MOST_BYTES, VERMILION
from tests.charts.examples import KINDS, ledger_of, picture_of, tape, with_holes

Pixels = npt.NDArray[np.int64]
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def whole() -> Iterator[dict[str, Picture]]:
    with ledger_of(tape(25)) as ledger:
        yield {kind: picture_of(ledger, kind, 24) for kind in KINDS}


@pytest.fixture(scope="module")
def partial() -> Iterator[dict[str, Picture]]:
    with ledger_of(with_holes(tape(20))) as ledger:
        yield {kind: picture_of(ledger, kind, 24) for kind in KINDS}


def pixels_of(drawing: Drawing) -> Pixels:
    canvas = drawing.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(np.int64)  # type: ignore[no-untyped-call]


def is_colour(pixels: Pixels, colour: str, within: int = 40) -> npt.NDArray[np.bool_]:
    wanted = np.array([round(255 * part) for part in to_rgb(colour)])
    near: npt.NDArray[np.bool_] = np.abs(pixels - wanted).max(axis=-1) <= within
    return near


def row_of(axes: Axes, price: float, height: int) -> float:
    return height - float(axes.transData.transform((0, price))[1])


def inside(axes: Axes, pixels: Pixels) -> Pixels:
    box = axes.get_window_extent()
    top = pixels.shape[0] - int(box.y1)
    return pixels[top + 1 : pixels.shape[0] - int(box.y0) - 1, int(box.x0) + 1 : int(box.x1) - 1]


def test_the_poc_is_drawn_where_its_price_is(whole: dict[str, Picture]) -> None:
    picture = whole["profile"]
    (poc,) = (mark for mark in picture.marks if mark.role == "poc")
    drawing = drawing_of(picture)
    pixels = pixels_of(drawing)
    for axes in (drawing.price, drawing.rows):
        box = axes.get_window_extent()
        part = pixels[:, int(box.x0) + 2 : int(box.x1) - 2]
        hits = is_colour(part, VERMILION).mean(axis=1)
        wanted = row_of(axes, (poc.low + poc.high) / 2, len(pixels))
        assert abs(float(np.argmax(hits)) + 0.5 - wanted) <= 2


def test_the_longest_row_of_the_profile_is_the_poc(whole: dict[str, Picture]) -> None:
    picture = whole["profile"]
    (poc,) = (mark for mark in picture.marks if mark.role == "poc")
    volume = np.array(picture.rows.buy) + np.array(picture.rows.sell)
    assert picture.rows.low + picture.rows.size * int(volume.argmax()) == pytest.approx(poc.low)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_drawn_through_time_that_is_not_known(partial: dict[str, Picture], kind: str) -> None:
    """Only hatching, save for the words in the middle of a wide gap."""
    picture = partial[kind]
    assert len(picture.gaps) == 3
    drawing = drawing_of(replace(picture, prints=()))
    pixels = pixels_of(drawing)
    for axes in (drawing.price, *([] if drawing.below is None else [drawing.below])):
        for gap in picture.gaps[1:2]:
            left, right = (float(axes.transData.transform((at, 0))[0]) for at in (gap.start_ms, gap.end_ms))
            assert right - left > 20
            box = axes.get_window_extent()
            part = pixels[
                len(pixels) - int(box.y1) + 1 : len(pixels) - int(box.y0) - 1, int(left) + 2 : int(right) - 1
            ]
            assert not is_colour(part, INK, 30).any()
            assert not is_colour(part, CANDLE, 30).any()
            assert not is_colour(part, BLUE, 30).any()
            hatched = is_colour(part, HATCH, 45) | is_colour(part, HATCH_GROUND, 45)
            assert hatched.mean() > 0.95


def test_a_gap_of_a_moment_can_be_seen(whole: dict[str, Picture]) -> None:
    picture = whole["profile"]
    at = (picture.start_ms + picture.end_ms) // 2
    plain, cut = (pixels_of(drawing_of(replace(picture, gaps=gaps))) for gaps in ((), (Span(at, at + 1),)))
    changed = np.flatnonzero((plain != cut).any(axis=(0, 2)))
    assert 2 <= len(changed) <= 4


def test_the_running_delta_is_broken_at_gaps(partial: dict[str, Picture]) -> None:
    drawing = drawing_of(partial["flow"])
    assert drawing.below is not None
    times = [np.asarray(line.get_xdata()) for line in drawing.below.lines]
    ends = [(float(at[0]), float(at[-1])) for at in times if len(at) > 2]
    gaps = partial["flow"].gaps[1:]
    assert len(ends) == len(gaps) + 1
    for gap, before, after in zip(gaps, ends, ends[1:], strict=False):
        assert before[1] <= gap.start_ms + partial["flow"].bars.width_ms
        assert after[0] >= gap.end_ms


def test_what_may_change_is_said_in_the_picture(
    partial: dict[str, Picture], whole: dict[str, Picture]
) -> None:
    texts = [text.get_text() for text in drawing_of(partial["profile"]).figure.texts]
    assert any(text.startswith("PARTIAL: 74.") for text in texts)
    assert any("trades missing" in text for text in texts)
    assert not any("PARTIAL" in text.get_text() for text in drawing_of(whole["profile"]).figure.texts)


def test_the_title_says_symbol_market_window_and_the_line_below_as_of_when(whole: dict[str, Picture]) -> None:
    title, subtitle = (text.get_text() for text in drawing_of(whole["profile"]).figure.texts[-2:])
    assert title.startswith("BTCUSDT volume profile · simulated · 24 h to 2025-11-25 22:")
    assert title.endswith("UTC")
    assert subtitle.startswith("as of 2025-11-25 22:5")


@pytest.mark.parametrize("kind", KINDS)
def test_no_label_lies_on_another_or_leaves_the_picture(whole: dict[str, Picture], kind: str) -> None:
    drawing = drawing_of(whole[kind])
    boxes = [text.get_window_extent() for text in drawing.labels.texts]
    assert len(boxes) == len([mark for mark in whole[kind].marks if mark.label])
    ranked = sorted(boxes, key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 + 2 for below, above in itertools.pairwise(ranked))
    assert all(box.x1 <= 1_000 and box.y0 >= 0 and box.y1 <= 680 for box in boxes)


def test_many_levels_at_one_price_find_room(whole: dict[str, Picture]) -> None:
    price = whole["levels"].bars.close[-1]
    crowd = tuple(Mark("level", price, price, f"{price:.2f}  level {n}") for n in range(40))
    drawing = drawing_of(replace(whole["levels"], marks=crowd))
    places = sorted(text.get_window_extent().y0 for text in drawing.labels.texts)
    assert min(np.diff(places)) > 9


@pytest.mark.parametrize("kind", KINDS)
def test_a_week_in_the_most_rows_there_may_be_stays_small(kind: model.Kind) -> None:
    rng = np.random.default_rng(5)
    closes = 60_000 + np.cumsum(rng.normal(0, 40, 100))
    opens, highs, lows, last = (tuple((closes + offset).tolist()) for offset in (-9, 60, -70, 0))
    starts = tuple(HOUR_MS * 2 * n for n in range(100))
    delta = tuple(rng.normal(0, 50, 100).tolist())
    bars = PriceBars(2 * HOUR_MS, starts, opens, highs, lows, last, delta)
    low, high = float(closes.min()) - 70, float(closes.max()) + 60
    rows = PriceRows(
        low, (high - low) / 2_000, *(tuple(rng.exponential(9, 2_000).tolist()) for _ in range(2))
    )
    roles: tuple[model.Role, ...] = ("poc", "value", "value", "vwap", "vacuum", "tail", "hvn", "lvn", "last")
    marks = tuple(
        Mark(role, price, price + 5, f"{role} {price:.2f}")
        for role, price in zip(roles, rng.uniform(low, high, len(roles)).tolist(), strict=True)
    )
    gaps = tuple(Span(n * 10 * HOUR_MS, (n * 10 + 3) * HOUR_MS) for n in range(16))
    picture = Picture(
        kind, "W" * 150, "subtitle" * 30, ("PARTIAL: 12.34 % covered", "123456789 trades missing"),
        0, 168 * HOUR_MS, 168 * HOUR_MS, 2, "BTC", bars, rows, marks, gaps, flow_end="1.5 BTC",
    )  # fmt: skip
    png = png_of(picture)
    image = Image.open(BytesIO(png))
    assert len(png) <= MOST_BYTES <= 150_000
    assert image.size[0] <= 1_000
    assert image.size[1] <= 700
    assert image.info.get("transparency") is None
    assert image.mode == "P"


def test_rows_of_one_tick_are_marked_as_rows() -> None:
    narrow = tape(1)
    in_ticks = (narrow.price_int // 10 ** (narrow.price_exp - 2)) // 50_000  # some 120 of the smallest steps
    with ledger_of(replace(narrow, price_int=in_ticks, price_exp=2)) as ledger:
        picture = picture_of(ledger, "profile", 1)
        levels = picture_of(ledger, "levels", 1)
    assert picture.rows.size == pytest.approx(0.01)
    (poc,) = (mark for mark in picture.marks if mark.role == "poc")
    assert poc.high - poc.low == pytest.approx(0.01)
    assert all(mark.high > mark.low for mark in levels.marks if mark.role == "poc")
    assert all(mark.high == mark.low for mark in levels.marks if mark.role in ("value", "vwap", "level"))


def test_one_trade_makes_a_picture() -> None:
    with ledger_of(tape(1).take(slice(-1, None))) as ledger:
        for kind in KINDS:
            picture = picture_of(ledger, kind, 1)
            assert any("LOW SAMPLE: 1 trades" in warning for warning in picture.warnings)
            assert len(png_of(picture)) > 1_000


def test_a_picture_passes_through_a_message_unchanged(whole: dict[str, Picture]) -> None:
    for picture in whole.values():
        assert model.unpacked(model.packed(picture)) == picture
