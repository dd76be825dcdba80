"""Dumps as bytes: whatever variant a tape is written in, the same columns come back."""

import gzip
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.dump import LONGEST_LINE, MOST_MALFORMED, DumpError, DumpSlice, parse_dump
from storage.trades import TradeColumns
from tests.tapes import START_MS, rows_of, run_of, tapes

END_MS = START_MS + 3_600_000
HEADER = b"agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n"
ROW = "7,1.50000000,2.00000000,3,4,{},True,True"


def decimals(n: int, *, padded: bool) -> str:
    text = f"{n // 10**8}.{n % 10**8:08d}"
    return text if padded else (text.rstrip("0").rstrip(".") or "0")


def csv_of(
    trades: TradeColumns,
    *,
    scale: int = 1,
    truth: tuple[str, str] = ("False", "True"),
    cells: int = 8,
    padded: bool = True,
    end: str = "\n",
) -> bytes:
    """A tape as lines, written by a plain loop."""
    lines = []
    for a, time, p, q, f, last, maker in rows_of(trades):
        row = [a, decimals(p, padded=padded), decimals(q, padded=padded), f, last, time * scale, truth[maker]]
        lines.append(",".join(map(str, [*row, truth[1]][:cells])))
    return "".join(line + end for line in lines).encode()


def parsed(content: bytes, *, chunk: int = 1 << 20, end_ms: int = END_MS) -> DumpSlice:
    chunks = [content[at : at + chunk] for at in range(0, len(content), chunk)]
    slices = list(parse_dump(chunks, START_MS, end_ms))
    return DumpSlice(
        TradeColumns.concat([slice_.trades for slice_ in slices]),
        [fault for slice_ in slices for fault in slice_.malformed],
    )


@given(
    tapes(seconds=60),
    st.sampled_from([1, 1000]),
    st.sampled_from([("False", "True"), ("false", "true"), ("0", "1")]),
    st.sampled_from([7, 8]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(40, 400),
    st.randoms(use_true_random=False),
)
def test_a_tape_comes_back_from_every_variant_of_its_dump(
    tape: TradeColumns,
    scale: int,
    truth: tuple[str, str],
    cells: int,
    header: bool,
    padded: bool,
    end: str,
    chunk: int,
    random: Random,
) -> None:
    order = list(range(len(tape)))
    random.shuffle(order)
    shuffled = tape.take(np.array(order, np.intp))
    content = csv_of(shuffled, scale=scale, truth=truth, cells=cells, padded=padded, end=end)
    read = parsed((HEADER if header else b"") + content, chunk=chunk)
    assert read.malformed == []
    assert rows_of(read.trades) == rows_of(shuffled)


def test_microseconds_are_floored() -> None:
    read = parsed(ROW.format(START_MS * 1000 + 1_999).encode())
    assert read.trades.time_ms.tolist() == [START_MS + 1]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("7,1.5,2.0", "3 cells"),
        ("7,1.5,2.0,3,4,{},perhaps,True", "True or False"),
        ("7,1.5.0,2.0,3,4,{},True,True", "expected a decimal"),
        ("7,1.123456789,2.0,3,4,{},True,True", "at most 8 decimals"),
        ("7,-1.5,2.0,3,4,{},True,True", "expected a decimal"),
        ("7,92233720369,2.0,3,4,{},True,True", "at most 92233720368.54775807"),
        ("7,NaN,2.0,3,4,{},True,True", "expected a decimal"),
        ("seven,1.5,2.0,3,4,{},True,True", "expected an integer"),
        ("-7,1.5,2.0,3,4,{},True,True", "an id out of range"),
        ("4611686018427387904,1.5,2.0,3,4,{},True,True", "an id out of range"),
        ("7,0,2.0,3,4,{},True,True", "price 0"),
        ("7,1.5,2.0,4,3,{},True,True", "f to l"),
        ("7,1.5,2.0,-1,-1,{},True,True", "f to l"),
        ("7,1.5,2.0,3,4,1600000000000,True,True", "outside the dump's day"),
        ("\u0663,1.5,2.0,3,4,{},True,True", "codec can't decode"),
    ],
)
def test_a_line_that_cannot_be_read_loses_itself_alone_and_is_named(line: str, why: str) -> None:
    good = run_of(100, 500)
    lines = csv_of(good).splitlines(keepends=True)
    bad = line.format(START_MS).encode()
    read = parsed(b"".join([*lines[:123], bad + b"\n", *lines[123:]]))
    assert rows_of(read.trades) == rows_of(good)
    assert [fault.text for fault in read.malformed] == [bad.decode(errors="replace")]
    assert why in read.malformed[0].reason


def test_a_line_with_more_zeros_than_needed_is_read() -> None:
    read = parsed(f"7,1.5000000000,2.0,3,4,{START_MS},True,True\n".encode())
    assert rows_of(read.trades) == [(7, START_MS, 150_000_000, 200_000_000, 3, 4, True)]


def test_a_row_marked_invalid_keeps_its_id_and_has_no_aggressor() -> None:
    read = parsed(f"7,0,0,-1,-1,{START_MS},True,True\n".encode())
    assert rows_of(read.trades) == [(7, START_MS, 0, 0, -1, -1, False)]


@pytest.mark.parametrize("content", [b"", b"\n\n", HEADER, b"\xef\xbb\xbf" + HEADER])
def test_a_dump_without_rows_gives_none(content: bytes) -> None:
    assert len(parsed(content).trades) == 0


def test_a_byte_order_mark_costs_no_row() -> None:
    assert len(parsed(b"\xef\xbb\xbf" + csv_of(run_of(1, 3))).trades) == 3


def test_blank_lines_are_nothing() -> None:
    content = b"\n" + csv_of(run_of(1, 2)) + b"\n\n" + csv_of(run_of(3, 2))
    assert len(parsed(content).trades) == 4


def test_a_last_line_without_an_end_counts() -> None:
    assert len(parsed(csv_of(run_of(1, 5)).rstrip(b"\n"), chunk=37).trades) == 5


def test_a_file_of_other_lines_is_no_dump() -> None:
    with pytest.raises(DumpError, match="are no aggTrades"):
        parsed(b"<p>we are sorry</p>\n" * (MOST_MALFORMED + 2))


def test_a_file_without_line_ends_is_no_dump() -> None:
    with pytest.raises(DumpError, match="no line end"):
        parsed(bytes(LONGEST_LINE + 1))


def test_the_rows_are_those_of_the_day_to_the_millisecond() -> None:
    tape = run_of(1, 4, step_ms=1000)
    tape = replace(tape, time_ms=np.array([START_MS - 1, START_MS, START_MS + 999, START_MS + 1000]))
    read = parsed(csv_of(tape), end_ms=START_MS + 1000)
    assert read.trades.id.tolist() == [2, 3]
    assert len(read.malformed) == 2


RECORDED = Path(__file__).parents[3] / "shared" / "data" / "binance-spot-2024-08-08"


@pytest.mark.skipif(not RECORDED.exists(), reason="no recordings on this machine")
@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
def test_a_file_of_recorded_trades_is_read_as_a_plain_loop_reads_it(symbol: str) -> None:
    content = gzip.decompress((RECORDED / f"derived-{symbol}-aggTrades.csv.gz").read_bytes())
    chunks = [content[at : at + 10_007] for at in range(0, len(content), 10_007)]
    slices = list(parse_dump(chunks, 0, 2**53))
    plain = []
    for line in content.decode().splitlines():
        a, p, q, f, last, time, maker, _ = line.split(",")
        price, quantity = (int(Decimal(text).scaleb(8)) for text in (p, q))
        plain.append((int(a), int(time), price, quantity, int(f), int(last), maker == "True"))
    assert rows_of(TradeColumns.concat([slice_.trades for slice_ in slices])) == plain
    assert not any(slice_.malformed for slice_ in slices)
