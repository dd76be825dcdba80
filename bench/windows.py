"""Which symbols and windows are asked about, apart from the tapes: who asks need not import the market.

Invariant: `NOW_MS` lies inside an hour, so that every window begins in the middle of a sealed hour and ends
with 37 minutes that are not sealed yet.
"""

from storage.keys import HOUR_MS

NOW_MS = 20_780 * 24 * HOUR_MS + ((12 * 60 + 36) * 60 + 43) * 1000  # 2026-11-23T12:36:43Z
SYMBOL = "BTCUSDT"
WEEK_SYMBOLS = (SYMBOL, "ETHUSDT")
DAY_H = 24
WEEK_H = 168
WINDOWS_H = (1, DAY_H, WEEK_H)


def window_of(hours: int) -> tuple[int, int]:
    """The last `hours` hours, half-open."""
    return NOW_MS - hours * HOUR_MS, NOW_MS
