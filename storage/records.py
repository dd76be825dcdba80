"""The ledger's small records: what is kept of a symbol beside its trades.

Invariant: MessagePack maps with the names written out, so that any language reads them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from decimal import Decimal

import ormsgpack

from storage.held_ids import Run
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


@dataclass(frozen=True, slots=True)
class SymbolState:
    """What is kept of a symbol beside its trades.

    `warmup_from_ms` is how far back its history is wanted; None before its first start. `expired` are ids
    that were held and deleted with their hours, as far as they still bound what is missing: the newest one
    before all that are kept, then those among the kept ones.
    """

    warmup_from_ms: int | None = None
    expired: tuple[Run, ...] = ()


def pack_state(state: SymbolState) -> bytes:
    return ormsgpack.packb(
        {"warmup_from_ms": state.warmup_from_ms, "expired": [astuple(run) for run in state.expired]}
    )


def unpack_state(value: bytes) -> SymbolState:
    record = ormsgpack.unpackb(value)
    return SymbolState(record["warmup_from_ms"], tuple(Run(*run) for run in record.get("expired", ())))


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
