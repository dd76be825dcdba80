"""Sealed hours: columns back to the last row, rollups equal to plain sums, digests anyone can recompute."""

import hashlib
import struct

import ormsgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.blocks import decode_block, encode_block
from storage.errors import CorruptRecord, NewerFormat
from storage.histograms import PriceHistogram
from storage.rollups import bin_width, decode_rollup, digest_of, encode_rollup, rollup_of
from storage.trades import TradeColumns
from tests.ledgers import signed
from tests.tapes import columns, rows_of, run_of, tape_rows_of, tapes


@given(tapes().filter(len))
def test_a_block_decodes_to_the_rows_it_was_made_of(tape: TradeColumns) -> None:
    encoded = encode_block(tape)
    block = decode_block(encoded)
    assert rows_of(block.trades()) == rows_of(tape)
    assert tape_rows_of(block.tape()) == tape_rows_of(tape)
    assert (len(block), block.first_id, block.last_id) == (len(tape), tape.id[0], tape.id[-1])
    assert encode_block(tape.at_exponents(8, 8)) == encoded


@given(tapes().filter(len))
def test_a_rollup_comes_back_and_sums_what_its_trades_sum(tape: TradeColumns) -> None:
    rollup = decode_rollup(encode_rollup(rollup_of(tape)))
    exact = PriceHistogram.of(tape)
    assert (rollup.rows, rollup.valid) == (len(tape), int(tape.valid.sum()))
    assert (rollup.first_id, rollup.last_id) == (tape.id[0], tape.id[-1])
    assert (rollup.first_ms, rollup.last_ms) == (tape.time_ms[0], tape.time_ms[-1])
    assert rollup.histogram.totals == exact.totals
    width = rollup.histogram.bin_int
    assert_same(rollup.histogram, exact if width is None else exact.in_bins(width))


@given(tapes().filter(len))
def test_a_rollup_without_a_checksum_as_early_versions_wrote_it_is_read(tape: TradeColumns) -> None:
    record = ormsgpack.unpackb(encode_rollup(rollup_of(tape)))
    early = decode_rollup(ormsgpack.packb({k: v for k, v in record.items() if k != "crc"} | {"v": 1}))
    assert early.digest == digest_of(tape)
    assert_same(early.histogram, rollup_of(tape).histogram)


@given(tapes(max_size=20).filter(len), st.data())
def test_a_rollup_of_which_any_bit_is_wrong_is_refused_at_once(
    tape: TradeColumns, data: st.DataObject
) -> None:
    value = bytearray(encode_rollup(rollup_of(tape)))
    value[data.draw(st.integers(0, len(value) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((CorruptRecord, NewerFormat)):
        decode_rollup(bytes(value))


def test_a_rollup_of_which_a_column_is_no_column_is_refused_when_it_is_asked() -> None:
    """Its writer was wrong, not the disk: the checksum fits."""
    record = ormsgpack.unpackb(encode_rollup(rollup_of(run_of(1, 100)))) | {"b": b"\xff"}
    rollup = decode_rollup(signed(record))
    assert rollup.rows == 100
    for _ in range(2):
        with pytest.raises(CorruptRecord, match="cannot be decoded"):
            _ = rollup.histogram


def assert_same(one: PriceHistogram, other: PriceHistogram) -> None:
    assert (one.price_exp, one.quantity_exp, one.bin_int) == (
        other.price_exp,
        other.quantity_exp,
        other.bin_int,
    )
    for name in ("price_int", "buy", "sell", "buy_trades", "sell_trades"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist()


@given(tapes(), tapes(), st.integers(0, 4))
def test_merging_bins_is_binning_the_merge(one: TradeColumns, other: TradeColumns, power: int) -> None:
    parts = [PriceHistogram.of(tape).at_exponents(8, 8) for tape in (one, other)]
    whole = PriceHistogram.merge(parts).at_exponents(8, 8)
    in_bins = PriceHistogram.merge([parts[0].in_bins(10**power), parts[1]])
    if len(parts[0]):
        assert_same(in_bins, whole.in_bins(10**power))
        assert in_bins.totals == whole.totals
    assert_same(whole, PriceHistogram.of(columns(rows_of(one) + rows_of(other))).at_exponents(8, 8))


@given(tapes().filter(len))
def test_totals_are_the_plain_sums(tape: TradeColumns) -> None:
    valid = [(row[2], row[3]) for row in rows_of(tape) if row[3]]
    totals = PriceHistogram.of(tape).at_exponents(8, 8).totals
    if not valid:
        assert totals is None
        return
    assert totals is not None
    assert (totals.low, totals.high) == (min(p for p, _ in valid), max(p for p, _ in valid))
    assert totals.notional == sum(p * q for p, q in valid)
    assert totals.square_notional == sum(p * p * q for p, q in valid)
    assert all(p % totals.divisor == 0 for p, _ in valid)


@given(tapes().filter(len))
def test_a_digest_is_over_the_rows_as_the_exchange_sent_them(tape: TradeColumns) -> None:
    plain = b"".join(
        struct.pack("<qqqqqqB", identity, time_ms, price, quantity, first, last, maker)
        for identity, time_ms, price, quantity, first, last, maker in rows_of(tape)
    )
    assert digest_of(tape.reduced()) == hashlib.sha256(plain).digest()


@pytest.mark.parametrize(
    ("price", "width"),
    [(1, 1), (499_999, 1), (500_000, 10), (6_200_000, 100), (9_400_000, 100), (10**12, 10**7)],
)
def test_a_bin_is_the_largest_power_of_ten_within_its_share_of_the_price(price: int, width: int) -> None:
    assert bin_width(price) == width


@pytest.mark.parametrize("value", [b"", b"\xc1", ormsgpack.packb([1]), ormsgpack.packb({"n": 1})])
def test_bytes_that_are_no_block_are_refused(value: bytes) -> None:
    with pytest.raises(CorruptRecord):
        decode_block(value)
    with pytest.raises(CorruptRecord):
        decode_rollup(value)


def test_a_block_whose_columns_are_cut_short_is_refused() -> None:
    record = ormsgpack.unpackb(encode_block(run_of(1, 100)))
    for name in ("p", "q", "t", "c", "m"):
        with pytest.raises(CorruptRecord):
            decode_block(ormsgpack.packb(record | {name: record[name][:-4]})).trades()
    with pytest.raises(CorruptRecord):
        decode_block(ormsgpack.packb(record | {"n": 101})).trades()


@pytest.mark.parametrize(
    "change",
    [{"n": 10**15}, {"n": 0}, {"n": "100"}, {"i0": 2**63}, {"pe": 99}, {"qe": -1}, {"p": 7}, {"m": None}],
)
def test_a_block_with_a_senseless_head_is_refused(change: dict[str, object]) -> None:
    record = ormsgpack.unpackb(encode_block(run_of(1, 100)))
    with pytest.raises(CorruptRecord):
        decode_block(ormsgpack.packb(record | change)).trades()


def test_versions_of_the_future_are_refused_by_their_number() -> None:
    with pytest.raises(NewerFormat, match="block version 9"):
        decode_block(ormsgpack.packb({"v": 9}))
    with pytest.raises(NewerFormat, match="rollup version 9"):
        decode_rollup(ormsgpack.packb({"v": 9}))
