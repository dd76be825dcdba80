"""Minute candles: what the plain loop says, kept or made, whole or cut."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import groupby, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import keys
from storage.candle_records import decode_candles, encode_candles
from storage.candles import MINUTE_MS, MinuteCandles
from storage.errors import CorruptRecord, NewerFormat
from storage.export import in_id_order
from storage.ledger import TradeLedger
from storage.trades import TapeColumns, TradeColumns
from tests.tapes import START_MS, columns, on_disk, rows_of, run_of, tape_rows_of, tapes

HOUR = keys.hour_of(START_MS)
# minute, open, high, low, close, buy, sell, trades, first id, last id; prices and quantities in 1e-8
Plain = tuple[int, int, int, int, int, int, int, int, int, int]


def plainly(trades: TradeColumns) -> Iterator[tuple[Plain, Fraction]]:
    """Candle and notional of each minute, by a loop over the rows."""
    rows = sorted((row for row in rows_of(trades) if row[3]), key=lambda row: (row[1] // MINUTE_MS, row[0]))
    for minute, group in groupby(rows, key=lambda row: row[1] // MINUTE_MS):
        part = list(group)
        prices = [row[2] for row in part]
        buy = sum(row[3] for row in part if not row[6])
        sell = sum(row[3] for row in part if row[6])
        yield (
            (
                minute * MINUTE_MS, prices[0], max(prices), min(prices), prices[-1],
                buy, sell, len(part), part[0][0], part[-1][0],
            ),
            Fraction(sum(row[2] * row[3] for row in part), 10**16),
        )  # fmt: skip


def listed(candles: MinuteCandles) -> list[tuple[Plain, Fraction]]:
    places = candles.price_exp + candles.quantity_exp
    notional = [Fraction(value, 10**places) for value in candles.notional]
    at_8 = candles.at_exponents(8, 8)
    table = zip(
        at_8.minute_ms.tolist(), at_8.open.tolist(), at_8.high.tolist(), at_8.low.tolist(),
        at_8.close.tolist(), at_8.buy.tolist(), at_8.sell.tolist(), at_8.trades.tolist(),
        at_8.first_id.tolist(), at_8.last_id.tolist(), strict=True,
    )  # fmt: skip
    return list(zip(table, notional, strict=True))


@given(tapes(seconds=300))
def test_candles_are_what_a_plain_loop_over_the_rows_says(tape: TradeColumns) -> None:
    assert listed(MinuteCandles.of(tape)) == list(plainly(tape))


@given(tape=tapes(seconds=300), cuts=st.lists(st.integers(0, 60), max_size=4))
def test_candles_of_disjoint_rows_merge_to_those_of_all(tape: TradeColumns, cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(tape)]
    parts = [MinuteCandles.of(tape.take(slice(a, b))) for a, b in pairwise(bounds)]
    assert listed(MinuteCandles.merge(parts[::-1])) == list(plainly(tape))


@given(tapes(seconds=300))
def test_candles_come_back_from_their_bytes(tape: TradeColumns) -> None:
    inside = tape.within(HOUR, HOUR + keys.HOUR_MS)
    candles = MinuteCandles.of(inside)
    assert listed(decode_candles(encode_candles(candles, HOUR), HOUR)) == list(plainly(inside))


def test_notional_beyond_64_bits_is_exact() -> None:
    huge = columns(
        [(1, START_MS, 10**17, 10**17, 1, 1, True), (2, START_MS + 1, 3 * 10**17 + 1, 10**17, 2, 2, False)]
    )
    candles = MinuteCandles.of(huge)
    assert listed(decode_candles(encode_candles(candles, HOUR), HOUR)) == list(plainly(huge))
    assert sum(candles.notional) > 2**63


@on_disk(25)
@given(
    tape=tapes(seconds=9_000),
    sealed=st.booleans(),
    late=st.integers(0, 60),
    window=st.tuples(st.integers(-4_000_000, 9_000_000), st.integers(0, 10_000_000)),
    whole_minutes=st.booleans(),
)
def test_a_view_gives_the_candles_and_the_tape_of_its_window(
    tmp_path_factory: pytest.TempPathFactory,
    tape: TradeColumns,
    sealed: bool,
    late: int,
    window: tuple[int, int],
    whole_minutes: bool,
) -> None:
    start_ms = START_MS + window[0]
    end_ms = start_ms + window[1]
    if whole_minutes:
        start_ms, end_ms = start_ms // MINUTE_MS * MINUTE_MS, end_ms // MINUTE_MS * MINUTE_MS
    with TradeLedger.open(tmp_path_factory.mktemp("candles") / "ledger") as ledger:
        ledger.append("X", tape.take(slice(late, None)))
        if sealed:
            ledger.seal(START_MS + 10 * keys.HOUR_MS)
            ledger.seal(START_MS + 10 * keys.HOUR_MS)
        ledger.append("X", tape)
        with ledger.view("X") as view:
            assert listed(view.candles(start_ms, end_ms)) == list(plainly(tape.within(start_ms, end_ms)))
            ordered = list(in_id_order(view.tape(start_ms, end_ms), view.id_spans()))
            assert tape_rows_of(TapeColumns.concat(ordered)) == tape_rows_of(tape.within(start_ms, end_ms))


@pytest.mark.parametrize("stored", [None, b"\x93"])
def test_candles_that_are_gone_or_damaged_are_made_from_the_block(
    tmp_path: Path, stored: bytes | None
) -> None:
    tape = run_of(1, 5_000)
    with TradeLedger.open(tmp_path / "ledger") as ledger:
        ledger.append("X", tape)
        ledger.seal(START_MS + 10 * keys.HOUR_MS)
        key = keys.candles("X", HOUR)
        ledger._database.write({key: stored} if stored else {}, [] if stored else [key])
        with ledger.view("X") as view:
            assert listed(view.candles(0, 2 * START_MS)) == list(plainly(tape))


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (b"", CorruptRecord),
        (b"\x81\xa1v\x01", CorruptRecord),
        (b"\x81\xa1v\x02", NewerFormat),
        (encode_candles(MinuteCandles.of(run_of(1, 9)), HOUR)[:-1], CorruptRecord),
    ],
)
def test_bytes_that_are_no_candles_are_refused(value: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        decode_candles(value, HOUR)
