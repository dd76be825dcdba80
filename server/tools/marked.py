"""A window's footprint as the tools ask for it, with what stands out in it.

Invariant: the window's trades are decoded once, for the footprint and for whatever else reads along.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import ceil
from typing import Any, Protocol

from analytics.bars import default_width_ms, width_of, width_words
from analytics.errors import OptionInvalid
from analytics.footprint import Footprint, FootprintPass
from analytics.imbalances import Absorptions, Imbalances, Stack, absorptions, imbalances, stacks
from analytics.rows import Rows, on_ticks, profile_row_ticks, rows_of
from server.tools.arguments import number_of
from server.tools.tape import Question
from storage.candles import MinuteCandles
from storage.histograms import PriceHistogram
from storage.trades import TapeColumns

LARGEST_RATIO = 100
RATIO_DECIMALS = 4


class Reader(Protocol):
    """What takes a window's trades, chunk by chunk."""

    def read(self, chunk: TapeColumns) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class MarkedFootprint:
    """A footprint and all that the definitions find in it."""

    footprint: Footprint
    imbalances: Imbalances
    stacks: tuple[Stack, ...]
    absorptions: Absorptions

    @property
    def bar(self) -> str:
        return width_words(self.footprint.width_ms)

    @property
    def least(self) -> Decimal:
        """The volume that a cell needs to count as an imbalance, in the base asset."""
        return self.footprint.rows.quantity(ceil(self.imbalances.minimum))

    @property
    def method(self) -> str:
        """How the cells were made and compared."""
        return f"footprint/{self.bar}/{self.imbalances.ratio.normalize():f}/v1"


@dataclass(frozen=True, slots=True)
class FootprintOptions:
    """What a caller may choose of a footprint, checked; None where it is to fit the window."""

    row_size: Decimal | None
    width_ms: int | None
    ratio: Decimal


def options_of(*, row_size: Any, bar: Any, imbalance_ratio: Any) -> FootprintOptions:
    """The options as written. Raises `Refusal` and OptionInvalid."""
    ratio = number_of(imbalance_ratio, "imbalance_ratio")
    if not 1 <= ratio <= LARGEST_RATIO or ratio != round(ratio, RATIO_DECIMALS):
        valid = f"1 to {LARGEST_RATIO} with at most {RATIO_DECIMALS} decimals"
        raise OptionInvalid("imbalance_ratio", imbalance_ratio, valid=valid, default=3)
    return FootprintOptions(
        None if row_size is None else number_of(row_size, "row_size", "ROW_SIZE_INVALID"),
        None if bar is None else width_of(str(bar), "bar"),
        ratio,
    )


def marked_footprint(
    question: Question, candles: MinuteCandles, options: FootprintOptions, beside: Sequence[Reader] = ()
) -> MarkedFootprint:
    """The footprint of the question's window, whose candles are given; `beside` reads the same trades."""
    window = question.window
    made = FootprintPass(
        candles,
        _rows(question, options.row_size),
        width_ms=options.width_ms or default_width_ms(window.end_ms - window.start_ms),
        start_ms=window.start_ms,
        end_ms=window.end_ms,
    )
    for chunk in question.trades():
        for reader in (made, *beside):
            reader.read(chunk)
    footprint = made.result()
    found = imbalances(footprint, ratio=options.ratio)
    return MarkedFootprint(footprint, found, stacks(footprint, found, candles), absorptions(footprint))


def _rows(question: Question, row_size: Decimal | None) -> Rows:
    def rows(histogram: PriceHistogram) -> Rows:
        ticks = on_ticks(histogram, question.instrument.tick, question.instrument.lot)
        return rows_of(ticks, profile_row_ticks(ticks, row_size))

    return question.over_prices(rows)
