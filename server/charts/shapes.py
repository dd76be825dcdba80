"""Many rectangles at once, each column by column."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def rectangles(left: FloatArray, bottom: FloatArray, right: FloatArray, top: FloatArray) -> list[FloatArray]:
    """The four corners of each, (4, 2), as matplotlib's collections take them."""
    corners = [(left, bottom), (left, top), (right, top), (right, bottom)]
    return list(np.stack([np.stack(corner, 1) for corner in corners], 1))
