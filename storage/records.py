"""The ledger's small records: what is kept of a symbol beside its trades.

Invariant: MessagePack maps with the names written out, so that any language reads them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal

import ormsgpack

from storage.trades import Instrument

# Filters with the time from which they were seen to hold, oldest first.
InstrumentHistory = list[tuple[int, Instrument]]


@dataclass(frozen=True, slots=True)
class Source:
    """The venue that a ledger records, and the addresses at which it was last seen to be that venue."""

    venue: str
    addresses: list[str]


def pack_source(source: Source) -> bytes:
    return ormsgpack.packb(asdict(source))


def unpack_source(value: bytes) -> Source:
    return Source(**ormsgpack.unpackb(value))


def pack_state(warmup_from_ms: int | None) -> bytes:
    return ormsgpack.packb({"warmup_from_ms": warmup_from_ms})


def unpack_state(value: bytes) -> int | None:
    """How far back the history of a symbol is wanted; None before its first start."""
    warmup_from_ms: int | None = ormsgpack.unpackb(value)["warmup_from_ms"]
    return warmup_from_ms


def pack_instruments(history: Sequence[tuple[int, Instrument]]) -> bytes:
    return ormsgpack.packb([_instrument_record(since_ms, known) for since_ms, known in history])


def _instrument_record(since_ms: int, known: Instrument) -> Mapping[str, object]:
    return asdict(known) | {"since_ms": since_ms, "tick": str(known.tick), "lot": str(known.lot)}


def unpack_instruments(value: bytes) -> InstrumentHistory:
    history = []
    for record in ormsgpack.unpackb(value):
        since_ms = record.pop("since_ms")
        record |= {"tick": Decimal(record["tick"]), "lot": Decimal(record["lot"])}
        history.append((since_ms, Instrument(**record)))
    return history
