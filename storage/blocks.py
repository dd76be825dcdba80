"""A sealed hour: the trades of one symbol and hour as one columnar block.

Invariant: a block decodes to the very rows it was made of, and the same rows always make the same bytes.
docs/storage-format.md holds the layout.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import ormsgpack

from storage.errors import CorruptRecord, NewerFormat
from storage.packing import pack, unpack
from storage.trades import MOST_DECIMALS, AnyIntArray, BoolArray, IntArray, Prints, TapeColumns, TradeColumns

# On disk: never reuse a number.
BLOCK = 1


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A block whose columns are decoded when they are asked for."""

    record: dict[str, Any]

    def __len__(self) -> int:
        return int(self.record["n"])

    @property
    def first_id(self) -> int:
        return int(self.record["i0"])

    @property
    def last_id(self) -> int:
        return int(self.record["i1"])

    def trades(self) -> TradeColumns:
        """All rows, ids ascending. Raises `CorruptRecord` where the columns are not what the head says."""
        with self._as_formatted():
            tape = self._tape()
            counts = self._wide("c")
            last_id = np.cumsum(counts)
            last_id += self.record["f0"] - 1 + self._steps("df")
            return TradeColumns(
                tape.id,
                tape.time_ms,
                tape.price_int,
                tape.quantity_int,
                tape.buyer_is_maker,
                tape.price_exp,
                tape.quantity_exp,
                first_id=last_id - counts + 1,
                last_id=last_id,
            )

    def tape(self) -> TapeColumns:
        """The same without the ids of single trades, in two thirds of the time."""
        with self._as_formatted():
            return self._tape()

    @contextmanager
    def _as_formatted(self) -> Iterator[None]:
        try:
            yield
        except (TypeError, ValueError, OverflowError) as error:
            raise CorruptRecord(
                f"block of {len(self)} trades is not what the format says: {error}"
            ) from error

    def _tape(self) -> TapeColumns:
        head = self.record
        ids = np.arange(len(self))
        ids += head["i0"] + self._steps("di")
        if int(ids[-1]) != head["i1"]:
            raise CorruptRecord(f"block ends with id {ids[-1]}, its head says {head['i1']}")
        return TapeColumns(
            id=ids,
            time_ms=np.add(self._column("t"), head["t0"], dtype=np.int64),
            price_int=self._wide("p"),
            quantity_int=self._wide("q"),
            buyer_is_maker=self._makers(),
            price_exp=head["pe"],
            quantity_exp=head["qe"],
        )

    def prints(self) -> Prints:
        """What was traded at which price; the other columns are not decoded. Raises `CorruptRecord`."""
        head = self.record
        return Prints(self._column("p"), self._column("q"), self._makers(), head["pe"], head["qe"]).valid()

    def _wide(self, name: str) -> IntArray:
        column: IntArray = self._column(name).astype(np.int64, copy=False)
        return column

    def _column(self, name: str) -> AnyIntArray:
        try:
            packed = self.record[name]
        except KeyError as error:
            raise CorruptRecord(f"block has no column {name!r}") from error
        return unpack(packed, len(self))

    def _steps(self, name: str) -> IntArray | int:
        """The running sum of a column of exceptions; 0 where there are none."""
        return np.cumsum(self._wide(name)) if name in self.record else 0

    def _makers(self) -> BoolArray:
        bits = np.frombuffer(self.record["m"], np.uint8)
        return np.unpackbits(bits, count=len(self)).view(np.bool_)


def encode_block(trades: TradeColumns) -> bytes:
    """The rows of one hour, ids ascending, at least one, as a MessagePack map of pcodec columns."""
    trades = trades.reduced()
    counts = trades.last_id - trades.first_id + 1
    start_ms = int(trades.time_ms.min())
    record: dict[str, Any] = {
        "v": BLOCK,
        "n": len(trades),
        "i0": int(trades.id[0]),
        "i1": int(trades.id[-1]),
        "f0": int(trades.first_id[0]),
        "t0": start_ms,
        "t1": int(trades.time_ms.max()),
        "mono": bool(np.all(np.diff(trades.time_ms) >= 0)),
        "pe": trades.price_exp,
        "qe": trades.quantity_exp,
        "p": pack(trades.price_int),
        "q": pack(trades.quantity_int),
        "t": pack(trades.time_ms - start_ms),
        "c": pack(counts),
        "m": np.packbits(trades.buyer_is_maker).tobytes(),
    }
    for name, steps in (
        ("di", np.diff(trades.id, prepend=trades.id[0] - 1) - 1),
        ("df", np.diff(trades.first_id, prepend=trades.first_id[0]) - np.append(0, counts[:-1])),
    ):
        if steps.any():
            record[name] = pack(steps)
    return ormsgpack.packb(record)


def decode_block(value: bytes) -> Block:
    """The block in `value`. Raises `CorruptRecord` and `NewerFormat`."""
    try:
        record = ormsgpack.unpackb(value)
    except ormsgpack.MsgpackDecodeError as error:
        raise CorruptRecord(f"block of {len(value)} bytes is not MessagePack: {error}") from error
    if not isinstance(record, dict) or not isinstance(record.get("v"), int):
        raise CorruptRecord(f"block of {len(value)} bytes is no map with a version")
    if record["v"] != BLOCK:
        raise NewerFormat(f"block version {record['v']}; this tapedeck reads {BLOCK}")
    _check_head(record)
    return Block(record)


def _check_head(head: dict[str, Any]) -> None:
    """The sides are checked first: they bound how much memory the rest of the head can ask for."""
    if not all(isinstance(head.get(name), int) for name in ("n", "i0", "i1", "f0", "t0", "t1", "pe", "qe")):
        raise CorruptRecord("block has a head that lacks a number")
    sides = head.get("m")
    if not isinstance(sides, bytes) or head["n"] < 1 or len(sides) != (head["n"] + 7) // 8:
        found = len(sides) if isinstance(sides, bytes) else "no"
        raise CorruptRecord(f"block has {found} bytes of sides for {head['n']} trades")
    if not (0 <= head["pe"] <= MOST_DECIMALS and 0 <= head["qe"] <= MOST_DECIMALS):
        raise CorruptRecord(f"block with {head['pe']} and {head['qe']} decimals")
