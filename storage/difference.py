"""Two tapes of the same ids: what one alone has, and where they say different things.

Invariant: rows are matched by id and by nothing else.
"""

from dataclasses import dataclass

import numpy as np

from storage.trades import BoolArray, TradeColumns

COMPARED = ("time_ms", "price_int", "quantity_int", "first_id", "last_id", "buyer_is_maker")


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """Rows in id order: those that one side alone has, and those that both have with differing content."""

    only_left: TradeColumns
    only_right: TradeColumns
    left: TradeColumns
    right: TradeColumns
    same: int

    def __bool__(self) -> bool:
        return any(map(len, (self.only_left, self.only_right, self.left)))


def difference(left: TradeColumns, right: TradeColumns) -> Difference:
    """How two tapes differ, ids ascending in each."""
    in_right, in_left = np.isin(left.id, right.id), np.isin(right.id, left.id)
    both_left, both_right = left.take(in_right), right.take(in_left)
    differs = _differs(both_left, both_right)
    return Difference(
        only_left=left.take(~in_right),
        only_right=right.take(~in_left),
        left=both_left.take(differs),
        right=both_right.take(differs),
        same=len(both_left) - int(differs.sum()),
    )


def _differs(left: TradeColumns, right: TradeColumns) -> BoolArray:
    exponents = max(left.price_exp, right.price_exp), max(left.quantity_exp, right.quantity_exp)
    left, right = left.at_exponents(*exponents), right.at_exponents(*exponents)
    differs = np.zeros(len(left), np.bool_)
    for name in COMPARED:
        differs |= getattr(left, name) != getattr(right, name)
    return differs
