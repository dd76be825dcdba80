"""Why a question has no answer: each refusal says what happened, what is valid and what to try.

    BinsTooWide          not for people: the histogram is coarser than the rows; ask with finer bins
    Refused
    ├── NoTrades         the window holds no valid trade
    ├── OptionInvalid    an option lies outside its range
    ├── RowSizeInvalid   the row size is not a positive multiple of the tick
    └── RowTooFine       the row size makes too many rows, or rows too empty for a baseline

Invariant: the fields of a refusal carry the numbers of its message, so that no caller parses text.
"""

from decimal import Decimal
from typing import ClassVar


class BinsTooWide(Exception):
    """The histogram's bins are too wide for the rows wanted; one by exact price has the answer, and where the
    rows were asked for, one in bins of their `row_size`."""

    def __init__(self, row_size: Decimal | None = None) -> None:
        super().__init__("the bins of the histogram are too wide for the rows")
        self.row_size = row_size


class Refused(Exception):
    """Base of all refusals; `code` is the name by which the tools report it."""

    code: ClassVar[str]


class NoTrades(Refused):
    """The histogram or the tape of the window is empty."""

    code = "NO_TRADES"

    def __init__(self) -> None:
        super().__init__("no trades in the window; one valid trade is enough; try a longer or another window")


class OptionInvalid(Refused):
    """`option` had the value `given`; `valid` says in words what it may be."""

    code = "OPTION_INVALID"

    def __init__(self, option: str, given: object, *, valid: str, default: object) -> None:
        super().__init__(f"{option} {given} is out of range; valid: {valid}; try {default}")
        self.option = option
        self.given = given
        self.valid = valid
        self.default = default


class RowSizeInvalid(Refused):
    """`row_size` is no positive multiple of `tick`; `below` and `above` are the nearest ones.

    `below` is None where no positive multiple is smaller.
    """

    code = "ROW_SIZE_INVALID"

    def __init__(self, row_size: Decimal, *, tick: Decimal, below: Decimal | None, above: Decimal) -> None:
        nearest = f"{above:f}" if below is None else f"{below:f} or {above:f}"
        super().__init__(
            f"row_size {row_size} is not a row of whole ticks; "
            f"valid: positive multiples of the tick {tick:f}; try {nearest}"
        )
        self.row_size = row_size
        self.tick = tick
        self.below = below
        self.above = above


class RowTooFine(Refused):
    """Rows of `row_size` cannot carry the answer; rows of `fits` can.

    `rows` is how many there would be. One of the reasons is given: `limit`, the most rows allowed, or
    `empty_run`, the lowest and highest tick's price of the longest run of empty rows.
    """

    code = "ROW_TOO_FINE"

    def __init__(
        self,
        row_size: Decimal,
        *,
        rows: int,
        fits: Decimal,
        limit: int | None = None,
        empty_run: tuple[Decimal, Decimal] | None = None,
    ) -> None:
        happened, valid = _too_fine(row_size, rows, empty_run), _enough(limit, empty_run)
        super().__init__(f"{happened}; valid: {valid}; try row_size={fits:f}")
        self.row_size = row_size
        self.rows = rows
        self.fits = fits
        self.limit = limit
        self.empty_run = empty_run


def _too_fine(row_size: Decimal, rows: int, empty_run: tuple[Decimal, Decimal] | None) -> str:
    if empty_run is None:
        return f"row_size {row_size:f} makes {rows} rows"
    low, high = empty_run
    return f"the median of {rows} rows of {row_size:f} is empty, the longest empty run is {low:f}-{high:f}"


def _enough(limit: int | None, empty_run: tuple[Decimal, Decimal] | None) -> str:
    if empty_run is None:
        return f"at most {limit} rows"
    return "rows of which more than half hold trades"
