"""The ledger on a real disk: what goes in comes out, once, whatever happens in between."""

import shutil
import subprocess
import sys
import threading
from collections import Counter
from decimal import Decimal
from pathlib import Path

import ormsgpack
import plyvel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import keys
from storage.errors import CorruptRecord, NewerFormat, StoreLocked, StoreUnavailable, VenueMismatch
from storage.ledger import TradeLedger
from storage.trades import Gap, Instrument, TradeColumns
from tests.tapes import START_MS, columns, on_disk, rows_of, run_of, tapes

WHOLE = (0, 2 * START_MS)
BTCUSDT = Instrument("BTCUSDT", "binance spot", "BTC", "USDT", Decimal("0.01"), Decimal("0.00001"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def test_trades_come_back_before_and_after_a_flush_and_after_a_restart(path: Path) -> None:
    tape = run_of(1, 5_000)
    with TradeLedger.open(path) as ledger:
        ledger.append("BTCUSDT", tape)
        assert rows_of(ledger.trades("BTCUSDT", *WHOLE)) == rows_of(tape)
        assert ledger.flush() == 5_000
        assert rows_of(ledger.trades("BTCUSDT", *WHOLE)) == rows_of(tape)
    with TradeLedger.open(path) as ledger:
        assert rows_of(ledger.trades("BTCUSDT", *WHOLE)) == rows_of(tape)
        assert ledger.symbols == ["BTCUSDT"]


@on_disk(30)
@given(tape=tapes(seconds=9), data=st.data())
def test_any_order_any_repetition_and_any_flushes_give_the_same_tape(
    tmp_path_factory: pytest.TempPathFactory, tape: TradeColumns, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("any") / "ledger"
    pieces = data.draw(st.lists(st.lists(st.integers(0, max(0, len(tape) - 1))), max_size=6))
    ledger = TradeLedger.open(path)
    for piece in [*pieces, list(range(len(tape)))]:
        rows = [rows_of(tape)[i] for i in piece if len(tape)]
        ledger.append("X", columns(rows))
        if data.draw(st.booleans()):
            ledger.flush()
        if data.draw(st.booleans()):
            ledger.close()
            ledger = TradeLedger.open(path)
    assert rows_of(ledger.trades("X", *WHOLE)) == rows_of(tape)
    ids = set(tape.id.tolist())
    missing = {i for gap in ledger.gaps("X") for i in (gap.first_id, gap.last_id)}
    assert not missing & ids
    assert sum(gap.missing for gap in ledger.gaps("X")) == (max(ids) - min(ids) + 1 - len(ids) if ids else 0)
    ledger.close()


@on_disk(30)
@given(tape=tapes(), window=st.tuples(st.integers(-500, 6_000), st.integers(0, 6_000)))
def test_a_histogram_is_the_plain_sum_over_the_window(
    tmp_path_factory: pytest.TempPathFactory, tape: TradeColumns, window: tuple[int, int]
) -> None:
    start_ms = START_MS + window[0]
    end_ms = start_ms + window[1]
    with TradeLedger.open(tmp_path_factory.mktemp("sum") / "ledger") as ledger:
        ledger.append("X", tape)
        ledger.flush()
        histogram = ledger.histogram("X", start_ms, end_ms).at_exponents(8, 8)
    bought, sold, trades = Counter[int](), Counter[int](), Counter[int]()
    for _, time_ms, price, quantity, _, _, maker in rows_of(tape):
        if start_ms <= time_ms < end_ms and quantity:
            (sold if maker else bought)[price] += quantity
            trades[price] += 1
    assert histogram.price_int.tolist() == sorted(trades)
    assert dict(zip(histogram.price_int.tolist(), histogram.buy.tolist(), strict=True)) == {
        price: bought[price] for price in trades
    }
    assert dict(zip(histogram.price_int.tolist(), histogram.sell.tolist(), strict=True)) == {
        price: sold[price] for price in trades
    }
    assert histogram.trades.tolist() == [trades[price] for price in sorted(trades)]


def test_the_first_row_of_an_id_stays(path: Path) -> None:
    first = columns([(7, START_MS, 100, 100, 1, 1, False)])
    other = columns([(7, START_MS, 200, 100, 1, 1, False)])
    with TradeLedger.open(path) as ledger:
        assert ledger.append("X", first).new == 1
        appended = ledger.append("X", other)
        assert (appended.new, appended.duplicates) == (0, 1)
        ledger.flush()
        assert rows_of(ledger.trades("X", *WHOLE)) == rows_of(first)


def test_symbols_that_share_a_prefix_never_mix(path: Path) -> None:
    tapes_by_symbol = {
        symbol: run_of(first, 100) for symbol, first in [("BTC", 1), ("BTCUSDT", 500), ("BTCUSDC", 900)]
    }
    with TradeLedger.open(path) as ledger:
        for symbol, tape in tapes_by_symbol.items():
            ledger.append(symbol, tape)
        ledger.append("BTCUSDT", run_of(700, 5))
        ledger.flush()
    with TradeLedger.open(path) as ledger:
        assert rows_of(ledger.trades("BTC", *WHOLE)) == rows_of(tapes_by_symbol["BTC"])
        assert rows_of(ledger.trades("BTCUSDC", *WHOLE)) == rows_of(tapes_by_symbol["BTCUSDC"])
        assert len(ledger.trades("BTCUSDT", *WHOLE)) == 105
        assert [gap.missing for gap in ledger.gaps("BTCUSDT")] == [100]
        assert ledger.gaps("BTC") == ledger.gaps("BTCUSDC") == ()


def test_a_second_written_in_several_flushes_is_whole(path: Path) -> None:
    tape = run_of(1, 10, step_ms=50)
    with TradeLedger.open(path) as ledger:
        for i in range(10):
            ledger.append("X", tape.take(slice(i, i + 1)))
            ledger.flush()
        assert rows_of(ledger.trades("X", *WHOLE)) == rows_of(tape)


def test_a_gap_is_kept_over_a_restart_and_closes_when_it_is_filled(path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        ledger.append("X", run_of(1, 10))
        opened = ledger.append("X", run_of(21, 10, start_ms=START_MS + 5_000)).opened
        gap = Gap(11, 20, after_ms=START_MS + 900, before_ms=START_MS + 5_000)
        assert opened == (gap,)
    with TradeLedger.open(path) as ledger:
        assert ledger.gaps("X") == (gap,)
        ledger.append("X", run_of(11, 4, start_ms=START_MS + 1_000))
        ledger.flush()
    with TradeLedger.open(path) as ledger:
        assert [(g.first_id, g.last_id) for g in ledger.gaps("X")] == [(15, 20)]
        ledger.append("X", run_of(15, 6, start_ms=START_MS + 1_400))
    with TradeLedger.open(path) as ledger:
        assert ledger.gaps("X") == ()


def test_coverage_names_what_is_missing_in_a_window(path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        ledger.append("X", run_of(1, 10))
        ledger.append("X", run_of(21, 10, start_ms=START_MS + 5_000))
        coverage = ledger.coverage("X", START_MS, START_MS + 10_000)
        assert (coverage.trades, coverage.missing, coverage.certified) == (20, 10, 0)
        assert (coverage.first_id, coverage.last_id) == (1, 30)
        # between the rows on either side of the gap, and behind the last row (900 ms + 1 ms covered twice)
        assert coverage.uncovered_ms == 10_000 - 901 - 901
        assert coverage.covered_pct == 18.02
        assert not coverage.complete


def test_a_window_that_begins_inside_a_run_is_covered_from_its_start(path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        ledger.append("X", run_of(1, 100, step_ms=1_000))
        inside = ledger.coverage("X", START_MS + 10_500, START_MS + 20_500)
        assert inside.complete
        assert inside.covered_pct == 100.0
        before = ledger.coverage("X", START_MS - 1_000, START_MS + 1_000)
        assert before.uncovered_ms == 1_000
        between = ledger.coverage("X", START_MS + 100, START_MS + 900)
        assert (between.trades, between.first_id, between.missing, between.complete) == (0, None, 0, True)


def test_a_live_link_vouches_for_the_time_up_to_its_last_event(path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        ledger.append("X", run_of(1, 10))
        live_until_ms = START_MS + 60_000
        assert ledger.coverage("X", START_MS, live_until_ms, live_until_ms).complete
        assert ledger.coverage("X", START_MS, live_until_ms + 7, live_until_ms).uncovered_ms == 7


def test_a_link_vouches_for_what_came_last_whatever_its_ids(tmp_path: Path) -> None:
    """Where the exchange has counted anew the greatest id held is an old one."""
    with TradeLedger.open(tmp_path / "l") as ledger:
        ledger.append("X", run_of(1_000_000, 10))
        ledger.append("X", run_of(1, 10, start_ms=START_MS + 60_000))
        live_until_ms = START_MS + 70_000
        coverage = ledger.coverage("X", START_MS, live_until_ms, live_until_ms)
        assert coverage.uncovered_ms == 60_000 - 901
        assert ledger.coverage("X", START_MS + 60_000, live_until_ms, live_until_ms).complete


def test_rows_that_the_exchange_marked_invalid_keep_their_id_and_have_no_volume(path: Path) -> None:
    tape = columns(
        [
            (1, START_MS, 100, 10, 1, 1, False),
            (2, START_MS + 1, 0, 0, -1, -1, False),
            (3, START_MS + 2, 100, 10, 2, 2, True),
        ]
    )
    with TradeLedger.open(path) as ledger:
        ledger.append("X", tape)
        ledger.flush()
        coverage = ledger.coverage("X", START_MS, START_MS + 3)
        assert (coverage.trades, coverage.certified, coverage.missing, coverage.complete) == (2, 1, 0, True)
        assert ledger.histogram("X", *WHOLE).at_exponents(8, 8).volume.tolist() == [20]


def test_a_view_sees_one_instant_whatever_is_written_meanwhile(path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        ledger.append("X", run_of(1, 10))
        with ledger.view("X") as view:
            ledger.append("X", run_of(11, 10, start_ms=START_MS + 1_000))
            ledger.flush()
            assert len(view.trades(*WHOLE)) == 10
            assert view.runs[-1].last_id == 10
        assert len(ledger.trades("X", *WHOLE)) == 20


def test_what_cannot_be_written_stays_in_memory_and_is_written_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TradeLedger.open(path) as ledger:
        ledger.append("X", run_of(1, 10))
        with monkeypatch.context() as broken:

            def refuse(*_: object) -> None:
                raise StoreUnavailable("no space")

            broken.setattr(ledger._writer, "write", refuse)
            with pytest.raises(StoreUnavailable):
                ledger.flush()
            ledger.append("X", run_of(21, 10, start_ms=START_MS + 1_000))
            assert len(ledger.trades("X", *WHOLE)) == 20
        assert ledger.flush() == 20
    with TradeLedger.open(path) as ledger:
        assert len(ledger.trades("X", *WHOLE)) == 20
        assert [gap.missing for gap in ledger.gaps("X")] == [10]


def test_another_process_is_told_that_the_ledger_is_open(path: Path) -> None:
    with TradeLedger.open(path):
        code = "import sys; from pathlib import Path; from storage.ledger import TradeLedger\n"
        code += "from storage.errors import StoreLocked\n"
        code += "try: TradeLedger.open(Path(sys.argv[1]))\nexcept StoreLocked as error: print(error)"
        said = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
        ).stdout
        assert "open in another process" in said
        with pytest.raises(StoreLocked):
            TradeLedger.open(path)


def test_a_ledger_of_another_venue_is_refused(path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        assert ledger.venue is None
        assert ledger.confirmed_at(["a", "b"])
        ledger.claim("simulated", ["a", "b"])
        ledger.claim("simulated", ["a", "b"])
    with TradeLedger.open(path) as ledger:
        assert ledger.venue == "simulated"
        assert ledger.confirmed_at(["a", "b"])
        assert not ledger.confirmed_at(["c"])
        with pytest.raises(VenueMismatch, match="TAPEDECK_DATA_DIR"):
            ledger.claim("binance spot", ["c"])


def test_filters_are_kept_with_the_time_of_their_change(path: Path) -> None:
    finer = Instrument("BTCUSDT", "binance spot", "BTC", "USDT", Decimal("0.001"), Decimal("0.00001"))
    with TradeLedger.open(path) as ledger:
        ledger.keep_instrument(BTCUSDT, since_ms=1)
        ledger.keep_instrument(BTCUSDT, since_ms=2)
        ledger.keep_instrument(finer, since_ms=3)
    with TradeLedger.open(path) as ledger:
        assert ledger.instruments == {"BTCUSDT": finer}
        ledger.set_warmup("BTCUSDT", 42)
    with TradeLedger.open(path) as ledger:
        assert ledger.warmup_from_ms("BTCUSDT") == 42
        assert ledger.symbols == []


def test_a_newer_format_is_refused_with_both_versions(path: Path) -> None:
    TradeLedger.open(path).close()
    db = plyvel.DB(str(path), compression=None)
    db.put(keys.SCHEMA, ormsgpack.packb({"format": 9}))
    db.close()
    with pytest.raises(NewerFormat, match=r"format 9.* up to 1"):
        TradeLedger.open(path)


def test_a_directory_that_lost_its_current_file_is_left_alone(path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        ledger.append("X", run_of(1, 10))
    (path / "CURRENT").rename(path / "CURRENT.away")
    before = sorted(entry.name for entry in path.iterdir())
    with pytest.raises(StoreUnavailable, match="no CURRENT"):
        TradeLedger.open(path)
    assert sorted(entry.name for entry in path.iterdir()) == before
    (path / "CURRENT.away").rename(path / "CURRENT")
    with TradeLedger.open(path) as ledger:
        assert len(ledger.trades("X", *WHOLE)) == 10


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreUnavailable, match="TAPEDECK_DATA_DIR"):
        TradeLedger.open(tmp_path / "file")


def test_a_range_that_ends_before_the_end_sentinel_is_damage_and_no_short_answer(path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        ledger.append("X", run_of(1, 10))
    db = plyvel.DB(str(path), compression=None)
    db.delete(keys.END)
    db.close()
    with pytest.raises(CorruptRecord, match="end sentinel"):
        TradeLedger.open(path)


def test_a_flipped_byte_in_a_table_file_is_named_and_never_a_wrong_answer(path: Path) -> None:
    tape = run_of(1, 20_000)
    with TradeLedger.open(path) as ledger:
        ledger.append("X", tape)
        ledger.flush()
    db = plyvel.DB(str(path), compression=None)
    db.compact_range()
    db.close()
    table = max(path.glob("*.ldb"), key=lambda entry: entry.stat().st_size)
    damaged = bytearray(table.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    table.write_bytes(damaged)
    with pytest.raises(CorruptRecord):
        TradeLedger.open(path)


def test_a_damaged_second_is_set_aside_and_its_ids_are_missing_until_they_are_fetched_again(
    path: Path,
) -> None:
    tape = run_of(1, 50)
    second = tape.take((tape.time_ms >= START_MS + 1_000) & (tape.time_ms < START_MS + 2_000))
    with TradeLedger.open(path) as ledger:
        ledger.append("X", tape)
    db = plyvel.DB(str(path), compression=None)
    db.put(keys.trades("X", START_MS + 1_000), b"\xc1 no second-batch")
    db.close()
    with TradeLedger.open(path) as ledger:
        assert ["trades:X" in text for text in ledger.take_damage()] == [True]
        assert [(gap.first_id, gap.last_id) for gap in ledger.gaps("X")] == [(11, 20)]
        assert not ledger.coverage("X", START_MS, START_MS + 5_000).complete
        assert ledger.append("X", tape).new == len(second) == 10
    with TradeLedger.open(path) as ledger:
        assert ledger.take_damage() == []
        assert rows_of(ledger.trades("X", *WHOLE)) == rows_of(tape)
        assert ledger.gaps("X") == ()


def test_what_a_damaged_log_lost_is_missing_and_is_taken_in_again(path: Path) -> None:
    """What is sound of the log is kept, and what was damaged is named."""
    tape = run_of(1, 30_000, step_ms=2)
    with TradeLedger.open(path) as ledger:
        for start in range(0, 30_000, 500):
            ledger.append("X", tape.take(slice(start, start + 500)))
            ledger.flush()
        shutil.copytree(path, path.with_name("crashed"))
    path = path.with_name("crashed")
    log = next(path.glob("*.log"))
    damaged = bytearray(log.read_bytes())
    for at in range(100_000, 100_008):
        damaged[at] ^= 0xFF
    log.write_bytes(damaged)
    with TradeLedger.open(path) as ledger:
        assert [log.name in text for text in ledger.take_damage()] == [True]
        assert (next(path.glob("damaged-*")) / log.name).read_bytes() == damaged
        held = ledger.trades("X", *WHOLE)
        assert 0 < len(held) < 30_000
        coverage = ledger.coverage("X", START_MS, START_MS + 60_000)
        assert coverage.missing == 30_000 - len(held)
        assert not coverage.complete
        assert ledger.append("X", tape).new == 30_000 - len(held)
        assert rows_of(ledger.trades("X", *WHOLE)) == rows_of(tape)


def test_closing_ends_questions_under_way(path: Path) -> None:
    hour_ms = 3_600_000
    ledger = TradeLedger.open(path)
    ledger.append("X", run_of(1, 2_000, step_ms=60_000))
    ledger.seal(2 * START_MS)
    ended: list[str] = []

    def ask() -> None:
        try:
            while True:
                ledger.trades("X", START_MS - hour_ms, START_MS + 1_000 * hour_ms)
        except StoreUnavailable as error:
            ended.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    ledger.close()
    for thread in threads:
        thread.join(60)
    assert len(ended) == 4


def test_a_directory_with_a_lock_file_alone_is_new(path: Path) -> None:
    path.mkdir()
    (path / "LOCK").touch()
    (path / "lost+found").mkdir()
    with TradeLedger.open(path) as ledger:
        assert ledger.symbols == []
