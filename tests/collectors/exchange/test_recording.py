"""Recordings as a market: joined as the exchange joins, moved in time, read from real and from cut files."""

import gzip
import json
import os
from decimal import Decimal
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from collectors.exchange.recording import Recording
from storage.trades import TradeColumns

SHARED = Path(os.environ.get("TAPEDECK_SHARED", Path(__file__).parents[3].parent / "shared"))
AUGUST = SHARED / "data" / "binance-spot-2024-08-08"
START_MS = 1_700_000_000_000
YEAR_MS = 365 * 24 * 3_600_000


def trade(
    t: int, time_ms: int, price: str, quantity: str, maker: bool = True, symbol: str = "BTCUSDT"
) -> str:
    payload = {"e": "trade", "E": time_ms, "s": symbol, "t": t, "p": price, "q": quantity, "T": time_ms,
               "m": maker, "M": True}  # fmt: skip
    return json.dumps({"stream": f"{symbol.lower()}@trade", "data": payload}, separators=(",", ":"))


def write(path: Path, *texts: str) -> Path:
    path.write_bytes(gzip.compress("".join(f"{1000 + i} {text}\n" for i, text in enumerate(texts)).encode()))
    return path


@pytest.fixture
def written(tmp_path: Path) -> list[Path]:
    """Two files, the later first, with what is skipped and what is broken between the trades."""
    later = write(
        tmp_path / "b.gz",
        trade(14, 1030, "62000.02000000", "0.00003000", maker=False),
        trade(13, 1009, "62000.01000000", "0.00001000", maker=False),
        '{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}}',
    )
    earlier = write(
        tmp_path / "a.gz",
        trade(10, 1000, "62000.00000000", "0.00001000"),
        trade(11, 1000, "62000.00000000", "0.00002000"),
        trade(12, 1000, "62000.01000000", "0.00001000"),
        trade(12, 1000, "62000.01000000", "0.00001000"),
        '{"stream":"btcusdt@trade","data":{"e":"trade","E":1,"s":"BTC',
        trade(9, 900, "1e5", "0.00002000"),
        '{"lastUpdateId":160,"bids":[],"asks":[]}',
    )
    return [later, earlier]


def everything(recording: Recording, symbol: str) -> TradeColumns:
    return recording.trades(symbol, 0, START_MS + YEAR_MS)


def test_consecutive_trades_of_equal_time_price_and_side_are_one(written: list[Path]) -> None:
    rows = everything(Recording(written, start_ms=START_MS), "BTCUSDT")
    assert rows.id.tolist() == [1, 2, 3, 4]
    assert rows.first_id.tolist() == [10, 12, 13, 14]
    assert rows.last_id.tolist() == [11, 12, 13, 14]
    assert rows.quantity_int.tolist() == [3000, 1000, 1000, 3000]
    assert rows.buyer_is_maker.tolist() == [True, True, False, False]


def test_the_first_trade_is_at_the_start_and_broken_lines_are_counted(written: list[Path]) -> None:
    recording = Recording(written, start_ms=START_MS)
    assert (everything(recording, "BTCUSDT").time_ms - START_MS).tolist() == [0, 0, 9, 30]
    assert recording.broken_lines == 2


def test_a_faster_recording_keeps_order_and_milliseconds_together(written: list[Path]) -> None:
    rows = everything(Recording(written, start_ms=START_MS, speed=10), "BTCUSDT")
    assert (rows.time_ms - START_MS).tolist() == [0, 0, 0, 3]
    assert rows.id.tolist() == [1, 2, 3, 4]


def test_symbols_keep_their_distance_in_time(written: list[Path], tmp_path: Path) -> None:
    other = write(tmp_path / "c.gz", trade(7, 1005, "2.50", "10.50", symbol="FOOUSDT"),
                  trade(8, 1005, "2.75", "7", symbol="FOOUSDT"))  # fmt: skip
    recording = Recording([*written, other], start_ms=START_MS)
    assert recording.symbols == ("BTCUSDT", "FOOUSDT")
    assert everything(recording, "FOOUSDT").time_ms[0] == START_MS + 5


def test_an_unlisted_symbol_is_on_the_coarsest_grid_of_its_trades(tmp_path: Path) -> None:
    foo = write(tmp_path / "c.gz", trade(7, 1005, "2.50", "10.50", symbol="FOOUSDT"),
                trade(8, 1005, "2.75", "7", symbol="FOOUSDT"))  # fmt: skip
    instrument = Recording([foo], start_ms=START_MS).instruments["FOOUSDT"]
    assert (instrument.base, instrument.quote, instrument.venue) == ("FOO", "USDT", "simulated")
    assert (instrument.tick, instrument.lot) == (Decimal("0.25"), Decimal("3.5"))


def test_paging_by_id_and_by_time_agree(written: list[Path]) -> None:
    recording = Recording(written, start_ms=START_MS)
    assert recording.from_id("BTCUSDT", 0, 2).id.tolist() == [1, 2]
    assert recording.from_id("BTCUSDT", 3, 9).id.tolist() == [3, 4]
    assert recording.first_id_from("BTCUSDT", START_MS + 1) == 3
    assert recording.first_id_from("BTCUSDT", START_MS + 31) == 5
    assert recording.trades("BTCUSDT", START_MS, START_MS + 9).id.tolist() == [1, 2]


def test_a_table_of_agg_trades_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "BTCUSDT-aggTrades-2024-08-08.csv.gz"
    rows = (
        "5,62000.01,0.00002,10,11,1000,True,True\n4,62000,0.00001,9,9,999,False,True\nx,y\n6,1,1,1,1,1,yes\n"
    )
    path.write_bytes(gzip.compress(rows.encode()))
    recording = Recording([path], start_ms=START_MS)
    trades = everything(recording, "BTCUSDT")
    assert (trades.id.tolist(), trades.buyer_is_maker.tolist()) == ([4, 5], [False, True])
    assert recording.broken_lines == 2


def test_a_table_must_name_its_symbol(tmp_path: Path) -> None:
    path = write(tmp_path / "trades.csv.gz")
    with pytest.raises(ValueError, match="names no symbol"):
        Recording([path], start_ms=START_MS)


def test_files_without_trades_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no trades in"):
        Recording([write(tmp_path / "empty.gz", '{"result":null,"id":1}')], start_ms=START_MS)


def test_a_real_recording_joins_to_the_derived_table() -> None:
    if not AUGUST.exists():
        pytest.skip(f"{AUGUST} is not here")
    raw = Recording(sorted(AUGUST.glob("spot_*.gz"), reverse=True), start_ms=START_MS)
    derived = Recording(sorted(AUGUST.glob("derived-*.csv.gz")), start_ms=START_MS)
    assert raw.broken_lines == derived.broken_lines == 0
    for symbol in ("BTCUSDT", "ETHUSDT"):
        left, right = everything(raw, symbol), everything(derived, symbol)
        for name in ("id", "time_ms", "price_int", "quantity_int", "first_id", "last_id", "buyer_is_maker"):
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)
        assert (np.diff(left.time_ms) >= 0).all()
        assert left.first_id[1:].tolist() == (left.last_id[:-1] + 1).tolist()


def test_a_real_recording_keeps_its_groups_of_a_millisecond_at_any_speed() -> None:
    if not AUGUST.exists():
        pytest.skip(f"{AUGUST} is not here")
    files = sorted(AUGUST.glob("derived-*.csv.gz"))
    slow, fast = (everything(Recording(files, start_ms=0, speed=s), "BTCUSDT") for s in (1, 7))
    groups = [
        [at for at, _ in group] for _, group in groupby(enumerate(slow.time_ms.tolist()), lambda x: x[1])
    ]
    assert all(len(set(fast.time_ms[rows].tolist())) == 1 for rows in groups)
    assert fast.id.tolist() == slow.id.tolist()
