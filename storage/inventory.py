"""What a ledger holds, symbol by symbol.

Invariant: two ledgers with equal inventories hold the same ids in records of the same size.
"""

from dataclasses import dataclass

from storage.errors import CorruptRecord
from storage.ledger import TradeLedger
from storage.trades import Coverage
from storage.view import FOREVER_MS, LedgerView


@dataclass(frozen=True, slots=True)
class Inventory:
    """What is held of one symbol.

    `rows` are its ids, invalid ones included; `sealed_hours` are in blocks, `unsealed` rows in no block.
    `stored_bytes` is None where records cannot be read, and `damage` says why.
    """

    symbol: str
    coverage: Coverage
    rows: int
    sealed_hours: int
    unsealed: int
    stored_bytes: int | None
    damage: str | None = None

    @property
    def missing(self) -> int:
        """The ids in open gaps."""
        return sum(gap.missing for gap in self.coverage.gaps_in("open"))

    @property
    def certified(self) -> int:
        """The ids that the exchange has none for."""
        return sum(gap.missing for gap in self.coverage.gaps_in("certified"))

    @property
    def bytes_a_trade(self) -> float | None:
        return self.stored_bytes / self.rows if self.stored_bytes is not None and self.rows else None


def inventories(ledger: TradeLedger) -> list[Inventory]:
    """What the ledger holds of each symbol. Reads every record, verifying checksums."""
    found = []
    for symbol in ledger.symbols:
        with ledger.view(symbol) as view:
            held = _inventory(symbol, view)
        if held is not None:
            found.append(held)
    return found


def _inventory(symbol: str, view: LedgerView) -> Inventory | None:
    """None where all that was held has expired."""
    coverage = view.coverage_of_all()
    if coverage is None or coverage.first_id is None:
        return None
    sealed = list(view.sealed_hours(0, FOREVER_MS))
    rows = coverage.rows
    size, damage = _size(view)
    return Inventory(
        symbol,
        coverage,
        rows=rows,
        sealed_hours=len({hour_ms for hour_ms, _ in sealed}),
        unsealed=rows - sum(rollup.rows for _, rollup in sealed),
        stored_bytes=size,
        damage=damage,
    )


def _size(view: LedgerView) -> tuple[int | None, str | None]:
    try:
        return view.stored_bytes(), None
    except CorruptRecord as error:
        return None, str(error)
