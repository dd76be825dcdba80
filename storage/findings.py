"""What verifying a ledger comes upon, and what becomes of it.

Invariant: a remedy moves records aside, makes them anew out of sound ones, or leaves them; it invents none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from storage import keys

# What is damaged: a file of LevelDB's, a record, a record beside another. What is not: an open gap, ids that
# the exchange has none for, and whatever else is worth a line.
Kind = Literal["file", "record", "mismatch", "gap", "certified", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was come upon. `remedy` says what a repair does about it: it puts the records `put` and
    deletes the keys `removed`."""

    kind: Kind
    what: str
    key: bytes = b""
    remedy: str = ""
    put: Mapping[bytes, bytes] = field(default_factory=dict)
    removed: tuple[bytes, ...] = ()
    symbol: str = ""
    hour_ms: int | None = None

    @property
    def is_damage(self) -> bool:
        return self.kind in ("file", "record", "mismatch")


def finding(
    kind: Kind,
    key: bytes,
    what: str,
    remedy: str = "",
    *,
    put: Mapping[bytes, bytes] | None = None,
    removed: tuple[bytes, ...] = (),
) -> Finding:
    """A finding about a record, with the symbol and the hour of its key."""
    name = keys.parsed(key)
    symbol, hour_ms = (name.symbol, name.hour_ms) if name else ("", None)
    return Finding(kind, what, key, remedy, put or {}, removed, symbol, hour_ms)


def given_up(kind: Kind, key: bytes, what: str, records: Mapping[bytes, bytes]) -> Finding:
    """A finding whose remedy moves these records to `lost:`; the ids of their rows are held no more."""
    lost = {keys.lost(each): value for each, value in records.items()}
    names = ", ".join(each.decode(errors="replace") for each in records)
    return finding(kind, key, what, f"kept as lost: {names}", put=lost, removed=tuple(records))
