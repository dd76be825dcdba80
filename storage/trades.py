"""The vocabulary of the tape: instruments, trades as columns, gaps, coverage.

Invariant: a price or a quantity is an integer with a decimal exponent (`value = n * 10**-exp`), never a
float, so that it comes back exactly as the exchange sent it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
AnyIntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]

INT64_MAX = int(np.iinfo(np.int64).max)
# The exchange's own precision: what is finer is refused when it is parsed.
MOST_DECIMALS = 8


@dataclass(frozen=True, slots=True)
class Instrument:
    """What is traded and on which grid: `tick` is the price step, `lot` the quantity step."""

    symbol: str
    venue: str
    base: str
    quote: str
    tick: Decimal
    lot: Decimal
    status: str = "TRADING"


@dataclass(frozen=True, slots=True, eq=False)
class TapeColumns:
    """Aggregate trades as (n,) columns, one row an aggTrade: what the analyses read.

    Prices are `price_int * 10**-price_exp` of the quote asset, quantities `quantity_int * 10**-quantity_exp`
    of the base asset. `time_ms` is the trade time T, UTC milliseconds. A row with quantity 0 is one that the
    exchange marked invalid: it keeps its id and has no volume.
    """

    id: IntArray
    time_ms: IntArray
    price_int: IntArray
    quantity_int: IntArray
    buyer_is_maker: BoolArray
    price_exp: int
    quantity_exp: int

    def __len__(self) -> int:
        return len(self.id)

    @property
    def nbytes(self) -> int:
        """The memory of the columns."""
        return sum(getattr(self, name).nbytes for name in self._columns())

    @classmethod
    def empty(cls) -> Self:
        none: dict[str, Any] = {name: np.empty(0, np.int64) for name in cls._columns()}
        none["buyer_is_maker"] = np.empty(0, np.bool_)
        return cls(**none, price_exp=0, quantity_exp=0)

    @classmethod
    def _columns(cls) -> list[str]:
        return [field.name for field in fields(cls) if not field.name.endswith("_exp")]

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """The rows of all parts in the order given, at the finest exponents among them."""
        parts = [part for part in parts if len(part)]
        if not parts:
            return cls.empty()
        if len(parts) == 1:
            return parts[0]
        price_exp, quantity_exp = finest_exponents(parts)
        parts = [part.at_exponents(price_exp, quantity_exp) for part in parts]
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in cls._columns()}
        return cls(**columns, price_exp=price_exp, quantity_exp=quantity_exp)

    def take(self, rows: npt.NDArray[np.intp] | BoolArray | slice) -> Self:
        """The rows that an index array, a mask or a slice picks."""
        columns = {name: getattr(self, name)[rows] for name in self._columns()}
        return replace(self, **columns)

    def at_exponents(self, price_exp: int, quantity_exp: int) -> Self:
        """The same values at other exponents; `ValueError` where that would not be exact."""
        if (price_exp, quantity_exp) == (self.price_exp, self.quantity_exp):
            return self
        return replace(
            self,
            price_int=rescale(self.price_int, self.price_exp, price_exp),
            quantity_int=rescale(self.quantity_int, self.quantity_exp, quantity_exp),
            price_exp=price_exp,
            quantity_exp=quantity_exp,
        )

    def reduced(self) -> Self:
        """The same values at the smallest exponents that hold them exactly."""
        return self.at_exponents(
            smallest_exponent(self.price_int, self.price_exp),
            smallest_exponent(self.quantity_int, self.quantity_exp),
        )

    def by_id(self) -> Self:
        """Rows in id order, the first of equal ids kept."""
        if len(self) < 2 or bool(np.all(self.id[1:] > self.id[:-1])):
            return self
        _, first = np.unique(self.id, return_index=True)
        return self.take(first)

    def within(self, start_ms: int, end_ms: int) -> Self:
        """The rows with start_ms <= T < end_ms."""
        if len(self) == 0 or (start_ms <= int(self.time_ms.min()) and int(self.time_ms.max()) < end_ms):
            return self
        inside = (self.time_ms >= start_ms) & (self.time_ms < end_ms)
        count = int(np.count_nonzero(inside))
        first = int(inside.argmax())
        # Times ascend with few exceptions: mostly one stretch is meant, which need not be copied.
        stretch = slice(first, first + count)
        return self.take(stretch if bool(inside[stretch].all()) else inside)

    @property
    def valid(self) -> BoolArray:
        """False for rows that the exchange marked invalid."""
        return self.quantity_int > 0

    def of_valid(self) -> Self:
        """The rows that the exchange did not mark invalid."""
        if len(self) == 0 or int(self.quantity_int.min()) > 0:
            return self
        return self.take(self.valid)

    def prints(self) -> "Prints":
        """What was traded at which price."""
        return Prints(
            self.price_int, self.quantity_int, self.buyer_is_maker, self.price_exp, self.quantity_exp
        ).valid()


@dataclass(frozen=True, slots=True, eq=False)
class TradeColumns(TapeColumns):
    """The same with the ids of the first and the last single trade that each row is made of: all that the
    exchange says."""

    first_id: IntArray
    last_id: IntArray

    def tape(self) -> TapeColumns:
        """Without these."""
        return TapeColumns(
            self.id,
            self.time_ms,
            self.price_int,
            self.quantity_int,
            self.buyer_is_maker,
            self.price_exp,
            self.quantity_exp,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Prints:
    """What a histogram is made of: the (n,) columns of `TradeColumns` of these names, of any integer type."""

    price_int: AnyIntArray
    quantity_int: AnyIntArray
    buyer_is_maker: BoolArray
    price_exp: int
    quantity_exp: int

    def valid(self) -> "Prints":
        """Those that the exchange did not mark invalid."""
        if len(self.quantity_int) == 0 or self.quantity_int.min() > 0:
            return self
        valid = self.quantity_int > 0
        columns = self.price_int[valid], self.quantity_int[valid], self.buyer_is_maker[valid]
        return Prints(*columns, self.price_exp, self.quantity_exp)


GapState = Literal["open", "certified"]


@dataclass(frozen=True, slots=True)
class Gap:
    """Ids that the ledger lacks: `open` ones are being fetched, `certified` ones the exchange lacks too.

    `after_ms` and `before_ms` are the trade times of the rows on either side.
    """

    first_id: int
    last_id: int
    after_ms: int
    before_ms: int
    state: GapState = "open"

    @property
    def missing(self) -> int:
        return self.last_id - self.first_id + 1


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which trades a window's answer is made of, and what is missing from it (half-open [start, end)).

    `trades` counts the valid stored trades, `missing` the ids between `first_id` and `last_id` in open gaps,
    `certified` those there that the exchange has none for or marked invalid, of which `invalid` are stored.
    `uncovered_ms` is the time of which nothing is known. No trades: ids and times are None.
    """

    start_ms: int
    end_ms: int
    trades: int
    missing: int
    certified: int
    invalid: int
    gaps: tuple[Gap, ...]
    first_ms: int | None
    last_ms: int | None
    first_id: int | None
    last_id: int | None
    uncovered_ms: int

    @property
    def rows(self) -> int:
        """How many ids are stored, those marked invalid among them."""
        return self.trades + self.invalid

    def gaps_in(self, state: GapState) -> tuple[Gap, ...]:
        return tuple(gap for gap in self.gaps if gap.state == state)

    @property
    def complete(self) -> bool:
        return self.missing == 0 and self.uncovered_ms == 0

    @property
    def covered_pct(self) -> float:
        """Covered share of the window in percent, floored to two decimals: 100.0 only when all of it is."""
        window = self.end_ms - self.start_ms
        return (window - self.uncovered_ms) * 10_000 // window / 100


class Decimals(Protocol):
    """What has prices and quantities as integers at these exponents."""

    @property
    def price_exp(self) -> int: ...
    @property
    def quantity_exp(self) -> int: ...


def finest_exponents(parts: Iterable[Decimals]) -> tuple[int, int]:
    """The decimals of price and of quantity at which every part is exact."""
    exponents = [(part.price_exp, part.quantity_exp) for part in parts]
    return max(price for price, _ in exponents), max(quantity for _, quantity in exponents)


def decimal_of(n: int, exponent: int) -> Decimal:
    """`n * 10**-exponent` with exactly `exponent` decimals."""
    return Decimal(n).scaleb(-exponent)


def decimals_of(step: Decimal) -> int:
    """Decimals of a price or quantity step, trailing zeros aside: 2 for `0.0100`, 0 for `10`."""
    exponent = step.normalize().as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError(f"a step is a finite number, not {step}")
    return max(0, -exponent)


def rescale(values: IntArray, exponent: int, wanted: int) -> IntArray:
    """Integers at `exponent` decimals as integers at `wanted` decimals; `ValueError` where inexact."""
    if wanted == exponent or len(values) == 0:
        return values
    factor = 10 ** abs(wanted - exponent)
    if wanted > exponent:
        if int(np.abs(values).max()) > INT64_MAX // factor:
            raise ValueError(f"{wanted} decimals do not fit in 64 bits: largest value {np.abs(values).max()}")
        scaled: IntArray = values * factor
        return scaled
    if bool(np.any(values % factor)):
        raise ValueError(f"{wanted} decimals are too few for values kept with {exponent}")
    reduced: IntArray = values // factor
    return reduced


def smallest_exponent(values: IntArray, exponent: int) -> int:
    """The fewest decimals that hold all values exactly."""
    if len(values) == 0:
        return 0
    divisor = int(np.gcd.reduce(values))
    while exponent > 0 and divisor % 10 == 0:
        exponent, divisor = exponent - 1, divisor // 10
        if divisor == 0:  # all values are zero
            return 0
    return exponent
