"""A ladder's sums are the plain sums, whatever it is fed and in whatever form."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.blocks import decode_block, encode_block
from storage.errors import CorruptRecord
from storage.histograms import PriceHistogram
from storage.ladder import CHUNK, MOST_PRICES, PAGE, PriceLadder
from storage.rollups import rollup_of
from storage.trades import TradeColumns
from tests.tapes import Row, columns, plain_sums, rows_of, run_of, sums_of, tapes


def print_at(price: int, quantity: int = 1, *, maker: bool = False) -> Row:
    return (1, 0, price, quantity, 1, 1, maker)


# In units of 1e-8: odd ones, some finer than the prices, some wider than 32 bits.
SIZES = st.one_of(st.none(), st.integers(1, 2000), st.integers(1, 2000).map(lambda n: n * 1_234_567_891))


@given(
    st.lists(tapes(max_size=30).filter(lambda tape: bool(tape.valid.any())), min_size=1, max_size=4),
    SIZES,
    st.data(),
)
def test_sums_over_blocks_and_histograms_are_the_plain_sums(
    parts: list[TradeColumns], size: int | None, data: st.DataObject
) -> None:
    bin_size = None if size is None else Decimal(size).scaleb(-8)
    ladder = PriceLadder.spanning([rollup_of(part).histogram for part in parts], bin_size)
    whole = PriceHistogram.merge([PriceHistogram.of(part) for part in parts])
    if ladder is None:
        assert whole.totals is not None
        assert whole.totals.high - whole.totals.low >= MOST_PRICES or whole.volume.sum() >= 2**50 or size
        return
    for part in parts:
        if data.draw(st.booleans()):
            ladder.add(decode_block(encode_block(part)).prints())
        else:
            ladder.add_sums(PriceHistogram.of(part))
    found = ladder.histogram()
    if bin_size is None:
        assert (found.price_exp, found.quantity_exp) == (whole.price_exp, whole.quantity_exp)
    found = found.at_exponents(8, 8)
    assert (found.totals, found.bin_int) == (whole.at_exponents(8, 8).totals, size)
    rows = [row for part in parts for row in rows_of(part)]
    binned = [(i, t, p if size is None else p // size * size, *rest) for i, t, p, *rest in rows]
    assert sums_of(found) == plain_sums(binned)


@given(st.lists(tapes(max_size=10).filter(len), min_size=1, max_size=3))
def test_the_prints_of_a_block_are_its_valid_rows(parts: list[TradeColumns]) -> None:
    for part in parts:
        packed, plain = decode_block(encode_block(part)).prints(), part.reduced().prints()
        for name in ("price_int", "quantity_int", "buyer_is_maker"):
            assert getattr(packed, name).tolist() == getattr(plain, name).tolist()
        assert (packed.price_exp, packed.quantity_exp) == (plain.price_exp, plain.quantity_exp)


def test_the_largest_sums_that_fit_are_exact() -> None:
    """Two trades take two bits: 61 are left for the quantity."""
    most = 2**61 - 1
    tape = columns([print_at(7, most - 2), print_at(7, 2), print_at(9, 0)], exponent=0)
    ladder = PriceLadder.spanning([PriceHistogram.of(tape)])
    assert ladder is not None
    ladder.add(tape.prints())
    assert sums_of(ladder.histogram()) == {7: (most, 0, 2, 0)}
    more = columns([print_at(7, most), print_at(7, 1)], exponent=0)
    assert PriceLadder.spanning([PriceHistogram.of(more)]) is None


def test_prices_on_both_sides_of_a_page_are_found() -> None:
    rows = [print_at(10 + at, 1 + at, maker=bool(at % 2)) for at in (0, PAGE - 1, PAGE, 3 * PAGE)]
    tape = columns(rows, exponent=0)
    ladder = PriceLadder.spanning([PriceHistogram.of(tape)])
    assert ladder is not None
    ladder.add(tape.prints())
    assert sums_of(ladder.histogram()) == plain_sums(rows)


def test_trades_of_more_than_one_chunk_are_all_counted() -> None:
    tape = run_of(1, 2 * CHUNK + 5)
    ladder = PriceLadder.spanning([rollup_of(tape).histogram])
    assert ladder is not None
    ladder.add(decode_block(encode_block(tape)).prints())
    assert sums_of(ladder.histogram().at_exponents(8, 8)) == plain_sums(rows_of(tape))


def test_prices_too_far_apart_have_no_ladder() -> None:
    near, far = (
        PriceHistogram.of(columns([print_at(1), print_at(1 + apart)], exponent=0))
        for apart in (MOST_PRICES - 1, MOST_PRICES)
    )
    assert PriceLadder.spanning([near]) is not None
    assert PriceLadder.spanning([far]) is None


def test_a_price_beyond_those_announced_is_damage() -> None:
    tape = run_of(1, 10).reduced()
    ladder = PriceLadder.spanning([PriceHistogram.of(tape)])
    assert ladder is not None
    for by in (-1, 1):
        moved = replace(tape.prints(), price_int=tape.price_int + by * 100)
        with pytest.raises(CorruptRecord, match="beyond what its rollup says"):
            ladder.add(moved)
    assert not np.any(ladder.histogram().trades)
