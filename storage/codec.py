"""Bytes <-> columns: the second-batch, the form in which trades first reach the disk.

Invariant: what is decoded equals what was encoded, to the last digit, and bytes of another version or
shape are refused by name. docs/storage-format.md holds the grammar and a worked example.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import ormsgpack

from storage.errors import CorruptRecord, NewerFormat
from storage.keys import SECOND_MS
from storage.trades import INT64_MAX, MOST_DECIMALS, IntArray, TradeColumns, smallest_exponent

# On disk: never reuse a number.
CONSECUTIVE = 1  # ids step by one and each trade's first id follows the last id of the one before
STEPPED = 2  # any ids in ascending order, any first ids

HEAD = 7  # version, price exponent, quantity exponent, id, first id, price, second
WIDTH = {CONSECUTIVE: 4, STEPPED: 6}  # numbers a trade


def encode_second_batch(trades: TradeColumns) -> bytes:
    """One second's trades, ids ascending, all with T in the same UTC second, as MessagePack.

    A flat array `[version, pe, qe, id0, first0, price0, second_ms, ...]` with a row a trade behind it:
    price step, quantity (negative when the buyer was the maker), ms within the second, last - first + 1,
    and in version 2 id step - 1 and the step of the first id beyond the last id before. The first row's
    steps are 0. Source of the layout: docs/storage-format.md.
    """
    price_exp = smallest_exponent(trades.price_int, trades.price_exp)
    quantity_exp = smallest_exponent(trades.quantity_int, trades.quantity_exp)
    trades = trades.at_exponents(price_exp, quantity_exp)
    second_ms = int(trades.time_ms[0]) // SECOND_MS * SECOND_MS
    id_steps = _steps(trades.id, trades.id[:-1] + 1)
    first_steps = _steps(trades.first_id, trades.last_id[:-1] + 1)
    version = STEPPED if id_steps.any() or first_steps.any() else CONSECUTIVE
    columns = [
        _steps(trades.price_int, trades.price_int[:-1]),
        np.where(trades.buyer_is_maker, -trades.quantity_int, trades.quantity_int),
        trades.time_ms - second_ms,
        trades.last_id - trades.first_id + 1,
        id_steps,
        first_steps,
    ][: WIDTH[version]]
    head = [
        version,
        price_exp,
        quantity_exp,
        trades.id[0],
        trades.first_id[0],
        trades.price_int[0],
        second_ms,
    ]
    flat = np.concatenate([np.array(head, np.int64), np.column_stack(columns).ravel()])
    return ormsgpack.packb(flat, option=ormsgpack.OPT_SERIALIZE_NUMPY)


def _steps(values: IntArray, expected: IntArray) -> IntArray:
    """How far each value lies from the one expected; 0 for the first."""
    steps = np.zeros(len(values), np.int64)
    np.subtract(values[1:], expected, out=steps[1:])
    return steps


def by_second(trades: TradeColumns) -> Iterator[tuple[int, TradeColumns]]:
    """The trades of each UTC second, seconds ascending, ids ascending within one."""
    seconds = trades.time_ms // SECOND_MS
    if len(seconds) == 0:
        return
    order = np.lexsort((trades.id, seconds))
    trades, seconds = trades.take(order), seconds[order]
    bounds = [0, *(np.flatnonzero(np.diff(seconds)) + 1).tolist(), len(seconds)]
    for start, stop in pairwise(bounds):
        yield int(seconds[start]) * SECOND_MS, trades.take(slice(start, stop))


def decode_second_batches(values: Sequence[bytes]) -> TradeColumns:
    """The trades of many second-batches at once, in id order, at the finest exponents among them.

    Raises `CorruptRecord` for bytes that are no second-batch and `NewerFormat` for an unknown version.
    """
    batches: dict[int, list[bytes]] = {version: [] for version in WIDTH}
    for value in values:
        numbers = _unpack(value)
        batches[numbers[0]].append(_packed(numbers))
    parts = [_columns(version, packed) for version, packed in batches.items() if packed]
    return TradeColumns.concat(parts).by_id()


def _unpack(value: bytes) -> list[int]:
    try:
        batch: Any = ormsgpack.unpackb(value)
    except ormsgpack.MsgpackDecodeError as error:
        raise CorruptRecord(f"second-batch of {len(value)} bytes is not MessagePack: {error}") from error
    if not isinstance(batch, list) or len(batch) <= HEAD or not isinstance(batch[0], int):
        raise CorruptRecord(f"second-batch of {len(value)} bytes has no head of {HEAD} numbers and a trade")
    if batch[0] not in WIDTH:
        raise NewerFormat(f"second-batch version {batch[0]}; this tapedeck reads {sorted(WIDTH)}")
    if (len(batch) - HEAD) % WIDTH[batch[0]]:
        raise CorruptRecord(f"second-batch of {len(batch)} numbers does not hold whole trades")
    return batch


def _packed(batch: list[int]) -> bytes:
    """The numbers as 64-bit integers; `np.array` takes twice as long and lets other numbers pass."""
    try:
        return struct.pack(f"{len(batch)}q", *batch)
    except struct.error as error:
        raise CorruptRecord(f"second-batch holds something that is no 64-bit integer: {error}") from error


def _columns(version: int, batches: list[bytes]) -> TradeColumns:
    """All batches of one version as columns: every step column becomes one running sum."""
    head, rows, counts = _split(batches, WIDTH[version])
    _check(version, head, rows)
    _, price_exps, quantity_exps, id0, first0, price0, second_ms = head
    price_step, quantity, ms, trades_in, *more_steps = rows
    id_step, first_step = more_steps or [np.zeros_like(ms)] * 2
    starts = np.cumsum(counts) - counts
    first_id = _running(trades_in + first_step, first0, starts, counts) - trades_in
    price = _running(price_step, price0, starts, counts)
    return TradeColumns(
        id=_running(id_step + 1, id0 - 1, starts, counts),
        time_ms=np.repeat(second_ms, counts) + ms,
        price_int=_to_finest(price, price_exps, counts),
        quantity_int=_to_finest(np.abs(quantity), quantity_exps, counts),
        first_id=first_id,
        last_id=first_id + (trades_in - 1),
        buyer_is_maker=quantity < 0,
        price_exp=int(price_exps.max()),
        quantity_exp=int(quantity_exps.max()),
    )


def _split(batches: list[bytes], width: int) -> tuple[IntArray, IntArray, IntArray]:
    """The heads as (HEAD, batches) columns, the rows as (width, rows) columns, and the rows of each batch."""
    numbers = np.frombuffer(b"".join(batches), np.int64)
    sizes = np.array([len(batch) for batch in batches]) // numbers.itemsize
    places = (np.cumsum(sizes) - sizes)[:, np.newaxis] + np.arange(HEAD)
    in_rows = np.ones(len(numbers), np.bool_)
    in_rows[places] = False
    rows = np.ascontiguousarray(numbers[in_rows].reshape(-1, width).T)
    return numbers[places].T, rows, (sizes - HEAD) // width


def _check(version: int, head: IntArray, rows: IntArray) -> None:
    exponents, ms = head[1:3], rows[2]
    if exponents.min() < 0 or exponents.max() > MOST_DECIMALS:
        raise CorruptRecord(f"second-batch with decimal exponents {exponents.min()} to {exponents.max()}")
    if ms.min() < 0 or ms.max() >= SECOND_MS:
        raise CorruptRecord("second-batch with a time outside its second")
    if version == STEPPED and rows[4].min() < 0:
        raise CorruptRecord("second-batch whose ids do not ascend")


def _running(steps: IntArray, before: IntArray, starts: IntArray, counts: IntArray) -> IntArray:
    """Running sum of `steps` that begins anew with each batch, from what was `before` its first step."""
    total = np.cumsum(steps)
    running: IntArray = total + np.repeat(before - (total[starts] - steps[starts]), counts)
    return running


def _to_finest(values: IntArray, exponents: IntArray, counts: IntArray) -> IntArray:
    """Values of batches of mixed exponents at the finest of them."""
    finest = exponents.max()
    if bool(np.all(exponents == finest)):
        return values
    factors = np.repeat(np.power(10, finest - exponents), counts)
    if bool(np.any(np.abs(values) > INT64_MAX // factors)):
        raise CorruptRecord(f"second-batch with values that do not fit in 64 bits at {finest} decimals")
    scaled: IntArray = values * factors
    return scaled
