"""The ledger's small records: what is kept of a symbol beside its trades.

Invariant: MessagePack maps with the names written out, so that any language reads them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from decimal import Decimal

import ormsgpack

from storage.absences import Absence, Seen
from storage.errors import CorruptRecord
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
    with decoding("source", value):
        source = Source(**ormsgpack.unpackb(value))
        if not isinstance(source.venue, str) or not all(isinstance(a, str) for a in list(source.addresses)):
            raise TypeError("venue or addresses are no text")
        return source


@dataclass(frozen=True, slots=True)
class SymbolState:
    """What is kept of a symbol beside its trades.

    `warmup_from_ms` is how far back its history is wanted; None before its first start. `warmup_from_id` is
    the first id of that history; None where there is none to fetch. `expired` are ids that were held and
    deleted with their hours, as far as they still bound what is missing: the newest one before all that are
    kept, then those among the kept ones.
    """

    warmup_from_ms: int | None = None
    expired: tuple[Run, ...] = ()
    warmup_from_id: int | None = None


def pack_state(state: SymbolState) -> bytes:
    return ormsgpack.packb(
        {
            "warmup_from_ms": state.warmup_from_ms,
            "warmup_from_id": state.warmup_from_id,
            "expired": [astuple(run) for run in state.expired],
        }
    )


def unpack_state(value: bytes) -> SymbolState:
    with decoding("state", value):
        record = ormsgpack.unpackb(value)
        expired = tuple(Run(*run) for run in record.get("expired", ()))
        numbers = [number for run in expired for number in astuple(run)]
        wanted = record["warmup_from_ms"], record.get("warmup_from_id")
        if not all(isinstance(n, int) for n in [*numbers, *(n for n in wanted if n is not None)]):
            raise TypeError("ids or times are no numbers")
        if any(run.first_id > run.last_id for run in expired):
            raise ValueError("expired ids run backwards")
        return SymbolState(wanted[0], expired, wanted[1])


def pack_absence(absence: Absence) -> bytes:
    return ormsgpack.packb(asdict(absence))


def unpack_absence(value: bytes) -> Absence:
    with decoding("absence", value):
        record = ormsgpack.unpackb(value)
        below, above = Seen(**record.pop("below")), Seen(**record.pop("above"))
        absence = Absence(**record, below=below, above=above)
        numbers = [absence.first_id, absence.last_id, absence.first_asked_ms, absence.last_asked_ms]
        if not all(isinstance(n, int) for n in [*numbers, absence.asked, *astuple(below), *astuple(above)]):
            raise TypeError("ids, times or counts are no numbers")
        if not below.id < absence.first_id <= absence.last_id < above.id:
            raise ValueError("the rows on both sides are not on both sides")
        if absence.state not in ("open", "certified"):
            raise ValueError(f"unknown state {absence.state!r}")
        return absence


def pack_instruments(history: Sequence[tuple[int, Instrument]]) -> bytes:
    return ormsgpack.packb([_instrument_record(since_ms, known) for since_ms, known in history])


def _instrument_record(since_ms: int, known: Instrument) -> Mapping[str, object]:
    return asdict(known) | {"since_ms": since_ms, "tick": str(known.tick), "lot": str(known.lot)}


def unpack_instruments(value: bytes) -> InstrumentHistory:
    history = []
    with decoding("filters", value):
        for record in ormsgpack.unpackb(value):
            since_ms = record.pop("since_ms")
            record |= {"tick": Decimal(record["tick"]), "lot": Decimal(record["lot"])}
            history.append((int(since_ms), Instrument(**record)))
        if not history:
            raise ValueError("no version of them")
    return history


def pack_schema(number: int) -> bytes:
    return ormsgpack.packb({"format": number})


def unpack_schema(value: bytes) -> int:
    with decoding("schema", value):
        return int(ormsgpack.unpackb(value)["format"])


@contextmanager
def decoding(what: str, value: bytes) -> Iterator[None]:
    """Whatever bytes that are no such record lead to is a damaged record."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise CorruptRecord(f"{what} of {len(value)} bytes is not what the format says: {error}") from error
