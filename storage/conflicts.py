"""Two contents under one id: what is kept of the second, beside the trade that was first and stays.

Invariant: a conflict never changes what is held. Its record is a MessagePack map with the names written out,
prices and quantities as decimal strings, exact in value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import ormsgpack

from storage.records import decoding
from storage.trades import MOST_DECIMALS, TradeColumns

# So many are kept of a symbol at a time: an exchange that goes on contradicting itself must not fill a disk.
MOST_KEPT = 1_000


@dataclass(frozen=True, slots=True, eq=False)
class Conflict:
    """A row each: the one that came first and is held, and the other one under the same id."""

    kept: TradeColumns
    other: TradeColumns

    @property
    def id(self) -> int:
        return int(self.kept.id[0])

    @property
    def time_ms(self) -> int:
        """When the trade that is held was made."""
        return int(self.kept.time_ms[0])


def pack_conflict(conflict: Conflict) -> bytes:
    return ormsgpack.packb(
        {"id": conflict.id, "kept": _packed(conflict.kept), "other": _packed(conflict.other)}
    )


def unpack_conflict(value: bytes) -> Conflict:
    """Raises `CorruptRecord`."""
    with decoding("conflict", value):
        record = ormsgpack.unpackb(value)
        agg_trade_id = int(record["id"])
        return Conflict(_unpacked(agg_trade_id, record["kept"]), _unpacked(agg_trade_id, record["other"]))


def _packed(row: TradeColumns) -> Mapping[str, object]:
    return {
        "time_ms": int(row.time_ms[0]),
        "price": _decimal(int(row.price_int[0]), row.price_exp),
        "quantity": _decimal(int(row.quantity_int[0]), row.quantity_exp),
        "first_id": int(row.first_id[0]),
        "last_id": int(row.last_id[0]),
        "buyer_is_maker": bool(row.buyer_is_maker[0]),
    }


def _decimal(value: int, exponent: int) -> str:
    return f"{Decimal(value).scaleb(-exponent):f}"


def _unpacked(agg_trade_id: int, record: Mapping[str, Any]) -> TradeColumns:
    def column(value: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array([value], np.int64)

    return TradeColumns(
        column(agg_trade_id),
        column(record["time_ms"]),
        column(_units(record["price"])),
        column(_units(record["quantity"])),
        np.array([record["buyer_is_maker"]], np.bool_),
        MOST_DECIMALS,
        MOST_DECIMALS,
        first_id=column(record["first_id"]),
        last_id=column(record["last_id"]),
    )


def _units(text: str) -> int:
    units = Decimal(text).scaleb(MOST_DECIMALS)
    if units != int(units):
        raise ValueError(f"{text} has more than {MOST_DECIMALS} decimals")
    return int(units)
