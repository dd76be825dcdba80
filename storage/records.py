"""The ledger's small records: what is kept of a symbol beside its trades.

Invariant: MessagePack maps with the names written out, so that any language reads them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal

import ormsgpack

from storage.held_ids import Run
from storage.trades import Gap, Instrument

# Filters with the time from which they were seen to hold, oldest first.
InstrumentHistory = list[tuple[int, Instrument]]


@dataclass(frozen=True, slots=True)
class TapeState:
    """The span from the oldest to the newest row held, and how far back history is wanted."""

    span: Run | None
    warmup_from_ms: int | None


def pack_state(state: TapeState) -> bytes:
    return ormsgpack.packb(asdict(state))


def unpack_state(value: bytes) -> TapeState:
    record = ormsgpack.unpackb(value)
    return TapeState(Run(**record["span"]) if record["span"] else None, record["warmup_from_ms"])


def pack_gap(gap: Gap) -> bytes:
    return ormsgpack.packb(asdict(gap))


def unpack_gap(value: bytes) -> Gap:
    return Gap(**ormsgpack.unpackb(value))


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
