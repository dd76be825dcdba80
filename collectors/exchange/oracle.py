"""The exchange's ledger as the judge of a client's: what the client lacks, has too much, or has otherwise.

Invariant: compared by id over the span of ids asked about, holes for good subtracted, values exact.
"""

from dataclasses import dataclass

import numpy as np

from collectors.exchange.truth import Truth
from storage.trades import IntArray, TradeColumns

PAGE = 10_000
_COMPARED = ("time_ms", "price_int", "quantity_int", "first_id", "last_id", "buyer_is_maker")


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """Ids, ascending; `trades` is how many were compared in the exchange's ledger."""

    trades: int
    missing: IntArray
    extra: IntArray
    other: IntArray

    def __bool__(self) -> bool:
        """Whether there is one."""
        return bool(len(self.missing) or len(self.extra) or len(self.other))


def ledger(truth: Truth, symbol: str, first_id: int, last_id: int) -> TradeColumns:
    """The trades of first_id..last_id that a complete record holds."""
    parts: list[TradeColumns] = []
    next_id = first_id
    while next_id <= last_id:
        rows = truth.from_id(symbol, next_id, min(PAGE, last_id - next_id + 1))
        if len(rows) == 0:
            break
        next_id = int(rows.id[-1]) + 1
        parts.append(rows.take(rows.id <= last_id))
    return truth.kept(TradeColumns.concat(parts), symbol)


def difference(truth: TradeColumns, rows: TradeColumns) -> Difference:
    """Between a span of the exchange's ledger and the rows of a client's, each id once in both."""
    truth, rows = truth.at_exponents(8, 8), rows.by_id().at_exponents(8, 8)
    missing, extra = np.setdiff1d(truth.id, rows.id), np.setdiff1d(rows.id, truth.id)
    ours, theirs = truth.take(np.isin(truth.id, rows.id)), rows.take(np.isin(rows.id, truth.id))
    differs = np.zeros(len(ours), np.bool_)
    for name in _COMPARED:
        differs |= getattr(ours, name) != getattr(theirs, name)
    return Difference(len(truth), missing, extra, ours.id[differs])
