"""Checking a sealed hour: its block by itself, its rollup and its candles against the block.

Invariant: rows are believed only where nothing contradicts them; what follows from them is made anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from storage import keys
from storage.blocks import Block, decode_block
from storage.candle_records import decode_candles, encode_candles
from storage.candles import MinuteCandles
from storage.errors import CorruptRecord
from storage.findings import Finding, Kind, finding, given_up
from storage.rollups import Rollup, decode_rollup, encode_rollup, rollup_of
from storage.trades import TradeColumns


@dataclass(frozen=True, slots=True)
class StoredHour:
    """The records of an hour's part: of `blocks`, `rollup` and `candles` those that there are."""

    symbol: str
    hour_ms: int
    part: int
    records: Mapping[str, bytes]

    def key(self, family: str) -> bytes:
        make = {"blocks": keys.block, "rollup": keys.rollup, "candles": keys.candles}[family]
        return make(self.symbol, self.hour_ms, self.part)

    def given_up(self, family: str, what: str) -> Finding:
        """The whole hour is moved aside."""
        kind: Kind = "record" if family == "blocks" else "mismatch"
        return given_up(
            kind, self.key(family), what, {self.key(name): value for name, value in self.records.items()}
        )

    def made_anew(self, family: str, what: str, value: bytes) -> Finding:
        kind: Kind = "record" if family in self.records else "mismatch"
        return finding(
            kind, self.key(family), what, "made anew from its block", put={self.key(family): value}
        )


def check_hour(hour: StoredHour) -> tuple[TradeColumns | None, list[Finding]]:
    """The rows of a sealed hour, and what is wrong with it; None where there are no rows to believe.

    A rollup's digest is of the rows that were sealed: a block of other rows is damaged, whatever it decodes
    to. Raises `NewerFormat`.
    """
    if "blocks" not in hour.records:
        family = "rollup" if "rollup" in hour.records else "candles"
        return None, [hour.given_up(family, f"the block of this {family} is gone")]
    try:
        block = decode_block(hour.records["blocks"])
        rows = block.trades()
        _check_rows(block, rows, hour.hour_ms)
        expected = rollup_of(rows)
        candles = MinuteCandles.of(rows)
    except (CorruptRecord, ValueError) as error:
        return None, [hour.given_up("blocks", str(error))]
    rollup, wrong = _stored_rollup(hour, expected)
    if rollup is not None and rollup.digest != expected.digest:
        return None, [hour.given_up("blocks", "its trades are not those of which its rollup has the digest")]
    findings = [hour.made_anew("rollup", wrong, encode_rollup(expected))] if wrong else []
    return rows, findings + _check_candles(hour, candles)


def _check_rows(block: Block, rows: TradeColumns, hour_ms: int) -> None:
    """What a block says of its rows, and what every hour's rows are. Raises `CorruptRecord`."""
    head = block.record
    steps = np.diff(rows.time_ms)
    found = {
        "t0": int(rows.time_ms.min()),
        "t1": int(rows.time_ms.max()),
        "mono": bool(np.all(steps >= 0)),
        "i0": int(rows.id[0]),
    }
    for name, value in found.items():
        if head.get(name) != value:
            raise CorruptRecord(f"block says {name} = {head.get(name)}, its rows {value}")
    if not np.all(np.diff(rows.id) > 0):
        raise CorruptRecord("ids of the block do not ascend")
    if found["t0"] < hour_ms or found["t1"] >= hour_ms + keys.HOUR_MS:
        raise CorruptRecord("block has trades of another hour")
    if rows.price_int.min() < 0 or rows.quantity_int.min() < 0:
        raise CorruptRecord("block has a negative price or quantity")


def _stored_rollup(hour: StoredHour, expected: Rollup) -> tuple[Rollup | None, str]:
    """The rollup, and what is wrong with it."""
    if "rollup" not in hour.records:
        return None, "the rollup of this block is gone"
    try:
        rollup = decode_rollup(hour.records["rollup"])
        differing = _difference(rollup, expected) or _difference(rollup.histogram, expected.histogram)
    except CorruptRecord as error:
        return None, str(error)
    return rollup, f"{differing} differs from what the block's trades add up to" if differing else ""


def _check_candles(hour: StoredHour, expected: MinuteCandles) -> list[Finding]:
    value = encode_candles(expected, hour.hour_ms)
    if "candles" not in hour.records:
        key = hour.key("candles")
        return [finding("note", key, "hour without candles", "made from its block", put={key: value})]
    try:
        candles = decode_candles(hour.records["candles"], hour.hour_ms)
        differing = _difference(candles, expected)
    except CorruptRecord as error:
        return [hour.made_anew("candles", str(error), value)]
    if not differing:
        return []
    return [hour.made_anew("candles", f"{differing} differs from the block's trades", value)]


def _difference(one: Any, other: Any) -> str | None:
    """The name of the first field in which two dataclasses differ."""
    for each in (field for field in fields(one) if field.compare):
        a, b = getattr(one, each.name), getattr(other, each.name)
        if isinstance(a, np.ndarray):
            same = np.array_equal(a, b)
        elif is_dataclass(a) and is_dataclass(b):
            inner = _difference(a, b)
            if inner is not None:
                return f"{each.name}.{inner}"
            same = True
        else:
            same = a == b
        if not same:
            return each.name
    return None
