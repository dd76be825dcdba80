"""Pictures look as they did: compared coarsely, so that another version of the fonts' renderer passes.

`make pictures` draws the goldens anew; look at them before they are committed.
"""

from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from server.charts.drawing import png_of
from server.charts.picture import Picture
from tests.charts.examples import GOLDEN, goldens

BLOCK = 4
# Mean difference of the coarse pictures, and the share of blocks that differ clearly, of 255.
MOST_MEAN, CLEARLY, MOST_CLEAR = 1.5, 40, 0.01


@cache
def drawn() -> dict[str, Picture]:
    return goldens()


def coarse(png: bytes) -> npt.NDArray[np.float64]:
    """The mean colour of each block."""
    pixels = np.asarray(Image.open(BytesIO(png)).convert("RGB")).astype(np.float64)
    height, width, _ = pixels.shape
    blocks = pixels.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK, 3)
    means: npt.NDArray[np.float64] = blocks.mean(axis=(1, 3))
    return means


def differs(one: bytes, other: bytes) -> bool:
    apart = np.abs(coarse(one) - coarse(other)).max(axis=2)
    return bool(apart.mean() > MOST_MEAN or (apart > CLEARLY).mean() > MOST_CLEAR)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.png")), ids=lambda path: path.stem)
def test_a_picture_looks_as_it_did(path: Path) -> None:

    assert not differs(png_of(drawn()[path.stem]), path.read_bytes())


def test_every_golden_is_there() -> None:
    assert {path.stem for path in GOLDEN.glob("*.png")} == set(drawn())


def test_another_picture_differs() -> None:
    """The comparison is not so coarse that it would pass anything."""
    pictures = [path.read_bytes() for path in sorted(GOLDEN.glob("*.png"))]
    assert all(differs(one, other) for one in pictures for other in pictures if one is not other)
    moved = np.roll(np.asarray(Image.open(BytesIO(pictures[0])).convert("RGB")), 6, axis=0)
    out = BytesIO()
    Image.fromarray(moved).save(out, "PNG")
    assert differs(out.getvalue(), pictures[0])
