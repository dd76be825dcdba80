"""Levels by libraries of the field, from the same trades and rows; imported in their environment alone.

Both get row numbers for prices: finmlkit rounds prices and marketprofile lifts exact ticks by a float ceil,
and neither happens to whole numbers.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from finmlkit.bar.base import comp_bar_footprints
from finmlkit.feature.core.volume import comp_poc_hva_lva
from market_profile import MarketProfile

Levels = tuple[int, int, int]
IntArray = npt.NDArray[np.int64]


def finmlkit_levels(
    time_ms: IntArray,
    price_int: IntArray,
    quantity: IntArray,
    maker: npt.NDArray[np.bool_],
    *,
    row_ticks: int,
) -> Levels:
    """POC, lowest and highest row of the value area, from finmlkit's footprint of one bar."""
    rows, volume = finmlkit_rows(price_int // row_ticks, quantity, maker)
    return finmlkit_value_area(rows, volume)


def finmlkit_rows(row: IntArray, quantity: IntArray, maker: npt.NDArray[np.bool_]) -> tuple[Any, Any]:
    """Rows and their volume, which finmlkit sums in 32-bit floats."""
    prices = row.astype(np.float64)
    closes = np.array([-1, len(row) - 1], np.int64)
    sides = np.where(maker, -1, 1).astype(np.int8)
    low, high = np.array([prices.min()]), np.array([prices.max()])
    found = comp_bar_footprints(prices, quantity.astype(np.float64), closes, sides, 1.0, low, high, 3.0)
    return np.asarray(found[0][0]), np.asarray(found[1][0]) + np.asarray(found[2][0])


def finmlkit_value_area(rows: Any, volume: Any, pct: float = 70.0) -> Levels:
    """Its two-row value area, without the empty rows at its ends, which it keeps."""
    poc, high, low = comp_poc_hva_lva(rows, volume, pct)
    inside = rows[(rows >= low) & (rows <= high) & (volume > 0)]
    return int(poc), int(inside[0]), int(inside[-1])


def marketprofile_levels(
    time_ms: IntArray,
    price_int: IntArray,
    quantity: IntArray,
    maker: npt.NDArray[np.bool_],
    *,
    row_ticks: int,
) -> Levels:
    """POC, lowest and highest row of the value area, one line a trade."""
    close = (price_int // row_ticks).astype(np.float64)
    frame = pd.DataFrame(
        {"Close": close, "Low": close, "High": close, "Volume": quantity.astype(np.float64)},
        index=pd.to_datetime(time_ms, unit="ms"),
    )
    found = MarketProfile(frame, tick_size=1, row_size=1)[frame.index.min() : frame.index.max()]
    low, high = found.value_area
    return int(found.poc_price), int(low), int(high)
