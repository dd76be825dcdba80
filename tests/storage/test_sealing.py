"""Finished hours become blocks, and nothing that one can ask changes by it."""

from decimal import Decimal
from pathlib import Path

import ormsgpack
import plyvel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import keys
from storage import sealer as sealer_module
from storage.errors import CorruptRecord, StoreUnavailable
from storage.histograms import PriceHistogram
from storage.ledger import TradeLedger
from storage.trades import TradeColumns
from storage.view import LedgerView
from tests.ledgers import signed
from tests.storage.soundness import records_of
from tests.tapes import START_MS, columns, on_disk, plain_sums, rows_of, run_of, sums_of, tapes

HOUR_MS = 3_600_000
FIRST_HOUR = START_MS - START_MS % HOUR_MS + HOUR_MS
LATER = FIRST_HOUR + 100 * HOUR_MS
WHOLE = (0, 2 * START_MS)


def families(path: Path) -> dict[str, int]:
    """How many records of each family a closed ledger holds."""
    db = plyvel.DB(str(path), compression=None)
    counts: dict[str, int] = {}
    for key in db.iterator(include_value=False):
        family = key.split(b":")[0].decode(errors="replace")
        counts[family] = counts.get(family, 0) + 1
    db.close()
    return counts


def hours_of_trades(hours: int = 4, *, first_id: int = 1, step_ms: int = 30_000) -> TradeColumns:
    return run_of(first_id, hours * HOUR_MS // step_ms, start_ms=FIRST_HOUR, step_ms=step_ms)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def test_a_finished_hour_becomes_a_block_and_its_seconds_go(path: Path) -> None:
    tape = hours_of_trades(4)
    with TradeLedger.open(path) as ledger:
        ledger.append("X", tape)
        sealed = ledger.seal(FIRST_HOUR + 4 * HOUR_MS)
        assert [(hour.hour_ms, hour.rows) for hour in sealed] == [
            (FIRST_HOUR + i * HOUR_MS, 120) for i in range(3)
        ]
        assert rows_of(ledger.trades("X", *WHOLE)) == rows_of(tape)
        assert ledger.seal(FIRST_HOUR + 4 * HOUR_MS) == []
    counts = families(path)
    assert (counts["blocks"], counts["rollup"], counts["trades"]) == (3, 3, 120)
    with TradeLedger.open(path) as ledger:
        assert rows_of(ledger.trades("X", *WHOLE)) == rows_of(tape)
        assert len(ledger.seal(LATER)) == 1
    assert "trades" not in families(path)


def test_an_hour_with_an_open_gap_is_sealed_when_it_has_been_quiet(path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        ledger.append("X", run_of(1, 10, start_ms=FIRST_HOUR))
        ledger.append("X", run_of(21, 10, start_ms=FIRST_HOUR + 60_000))
        assert ledger.seal(LATER) == []
        ledger.append("X", run_of(11, 1, start_ms=FIRST_HOUR + 1_000))
        assert ledger.seal(LATER) == []
        assert [hour.rows for hour in ledger.seal(LATER)] == [21]


def test_a_late_trade_reseals_its_hour(path: Path) -> None:
    tape = hours_of_trades(1)
    late = tape.take(slice(40, 41))
    with TradeLedger.open(path) as ledger:
        ledger.append("X", tape.take(tape.id != late.id[0]))
        ledger.seal(LATER)
        assert len(ledger.seal(LATER)) == 1
        ledger.append("X", late)
        assert rows_of(ledger.trades("X", *WHOLE)) == rows_of(tape)
        assert ledger.histogram("X", *WHOLE).volume.sum() == PriceHistogram.of(tape).volume.sum()
        assert [hour.rows for hour in ledger.seal(LATER)] == [len(tape)]
        assert rows_of(ledger.trades("X", *WHOLE)) == rows_of(tape)
    counts = families(path)
    assert (counts["blocks"], counts["rollup"], counts.get("trades", 0)) == (1, 1, 0)


def test_an_hour_of_very_many_trades_is_sealed_in_parts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealer_module, "MOST_IN_BLOCK", 50)
    tape = hours_of_trades(1)
    with TradeLedger.open(path) as ledger:
        for start in range(0, 120, 60):
            ledger.append("X", tape.take(slice(start, start + 60)))
            assert len(ledger.seal(FIRST_HOUR + 1)) == 1
        assert rows_of(ledger.trades("X", *WHOLE)) == rows_of(tape)
    assert families(path)["blocks"] == 2
    with TradeLedger.open(path) as ledger:
        assert rows_of(ledger.trades("X", *WHOLE)) == rows_of(tape)
        with ledger.view("X") as view:
            binned = view.histogram(FIRST_HOUR, FIRST_HOUR + HOUR_MS, exact=False)
            assert binned.trades.sum() == len(tape)


@given(tape=tapes(), late_ms=st.integers(0, 3_000))
@on_disk(30)
def test_the_coverage_of_all_that_is_held_counts_every_row(
    tmp_path_factory: pytest.TempPathFactory, tape: TradeColumns, late_ms: int
) -> None:
    with TradeLedger.open(tmp_path_factory.mktemp("all") / "ledger") as ledger:
        ledger.append("X", tape)
        for _ in range(2):
            ledger.seal(LATER)
        with ledger.view("X") as view:
            if not view.runs:
                assert view.coverage_of_all() is None
                return
            end_ms = view.runs[-1].last_ms + late_ms
            found = view.coverage_of_all(end_ms, end_ms)
            assert found is not None
            assert found.end_ms > max(run.last_ms for run in view.runs)
            assert (found.trades, found.certified) == (tape.valid.sum(), (~tape.valid).sum())
            assert (found.first_id, found.last_id) == (tape.id[0], tape.id[-1])
            assert found.missing == sum(gap.missing for gap in ledger.gaps("X"))
            same = view.coverage(found.start_ms, found.end_ms, end_ms)
            assert found.uncovered_ms == same.uncovered_ms


def test_sealed_hours_come_newest_first_and_by_the_window_that_they_touch(path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        ledger.append("X", hours_of_trades(4))
        ledger.seal(LATER)
        with ledger.view("X") as view:
            assert [hour for hour, _ in view.sealed_hours(*WHOLE)] == [
                FIRST_HOUR + i * HOUR_MS for i in (3, 2, 1, 0)
            ]
            window = FIRST_HOUR + HOUR_MS - 1, FIRST_HOUR + 2 * HOUR_MS
            assert [rollup.first_id for _, rollup in view.sealed_hours(*window)] == [121, 1]


@pytest.mark.parametrize("how", ["no MessagePack", "a bit of a column"])
def test_a_damaged_rollup_is_made_anew_from_its_block(
    path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(sealer_module, "MOST_IN_BLOCK", 50)
    tape = hours_of_trades(1)
    with TradeLedger.open(path) as ledger:
        for start in range(0, 120, 60):
            ledger.append("X", tape.take(slice(start, start + 60)))
            ledger.seal(FIRST_HOUR + 1)
    flipped = bytearray(records_of(path)["rollup"][f"X:{FIRST_HOUR}"])
    flipped[-40] ^= 1
    put(path, keys.rollup("X", FIRST_HOUR), b"\xc1" if how == "no MessagePack" else bytes(flipped))
    with TradeLedger.open(path) as ledger:
        assert ["made anew" in text for text in ledger.take_damage()] == [True]
        assert rows_of(ledger.trades("X", *WHOLE)) == rows_of(tape)
        assert sums_of(ledger.histogram("X", *WHOLE)) == sums_of(PriceHistogram.of(tape))
    with TradeLedger.open(path) as ledger:
        assert ledger.take_damage() == []
        assert ledger.coverage("X", *WHOLE).trades == len(tape)


def test_an_hour_whose_rollup_and_block_are_damaged_is_missing_and_fetched_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealer_module, "MOST_IN_BLOCK", 50)
    tape = hours_of_trades(1)
    with TradeLedger.open(path) as ledger:
        for start in range(0, 120, 60):
            ledger.append("X", tape.take(slice(start, start + 60)))
            ledger.seal(FIRST_HOUR + 1)
    put(path, keys.rollup("X", FIRST_HOUR), b"\xc1")
    put(path, keys.block("X", FIRST_HOUR), b"\xc1")
    with TradeLedger.open(path) as ledger:
        assert ["lost:" in text for text in ledger.take_damage()] == [True]
        assert ledger.append("X", tape).new == 60
        for _ in range(3):
            ledger.seal(LATER)
        assert rows_of(ledger.trades("X", *WHOLE)) == rows_of(tape)
    with TradeLedger.open(path) as ledger:
        assert rows_of(ledger.trades("X", *WHOLE)) == rows_of(tape)
        assert ledger.coverage("X", *WHOLE).trades == len(tape)


def test_an_hour_whose_block_is_damaged_holds_up_no_other(path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        ledger.append("X", hours_of_trades(3))
        assert len(ledger.seal(LATER)) == 3
    put(path, keys.block("X", FIRST_HOUR), b"\xc1")
    with TradeLedger.open(path) as ledger:
        ledger.append("X", run_of(361, 1, start_ms=FIRST_HOUR + 5))
        ledger.append("X", run_of(362, 119, start_ms=FIRST_HOUR + 3 * HOUR_MS, step_ms=30_000))
        assert [hour.hour_ms for hour in ledger.seal(LATER)] == [FIRST_HOUR + 3 * HOUR_MS]
        assert len(ledger.take_damage()) == 1
        assert ledger.seal(LATER) == []
        assert len(ledger.trades("X", FIRST_HOUR + HOUR_MS, LATER)) == 359
        with pytest.raises(CorruptRecord, match="blocks:X"):
            ledger.trades("X", *WHOLE)


def put(path: Path, key: bytes, value: bytes) -> None:
    """Overwrite a record of a closed ledger."""
    db = plyvel.DB(str(path), compression=None)
    db.put(key, value)
    db.close()


def test_a_crash_between_writing_and_forgetting_counts_nothing_twice(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seconds of a sealed hour stand again beside its block, as an interrupted copy might leave them."""
    tape = hours_of_trades(2)
    with TradeLedger.open(path) as ledger:
        ledger.append("X", tape)
        ledger.flush()
    db = plyvel.DB(str(path), compression=None)
    seconds = dict(db.iterator(start=b"trades:", stop=b"trades;"))
    db.close()
    with TradeLedger.open(path) as ledger:
        ledger.seal(LATER)
    db = plyvel.DB(str(path), compression=None)
    with db.write_batch() as batch:
        for key, value in seconds.items():
            batch.put(key, value)
    db.close()
    with TradeLedger.open(path) as ledger:
        assert rows_of(ledger.trades("X", *WHOLE)) == rows_of(tape)
        with ledger.view("X") as view:
            assert view.histogram(*WHOLE, exact=False).trades.sum() == len(tape)
        assert ledger.coverage("X", *WHOLE).trades == len(tape)


def test_a_seal_that_the_disk_refuses_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tape = hours_of_trades(2)
    with TradeLedger.open(path) as ledger:
        ledger.append("X", tape)
        ledger.flush()
        with monkeypatch.context() as broken:

            def refuse(*_: object) -> None:
                raise StoreUnavailable("no space")

            broken.setattr(ledger._writer, "write", refuse)
            with pytest.raises(StoreUnavailable):
                ledger.seal(LATER)
        assert rows_of(ledger.trades("X", *WHOLE)) == rows_of(tape)
        assert len(ledger.seal(LATER)) == 2
        assert rows_of(ledger.trades("X", *WHOLE)) == rows_of(tape)


@on_disk(30)
@given(tape=tapes(seconds=4 * 3600, max_size=40), data=st.data())
def test_flushes_seals_and_restarts_in_any_order_keep_the_tape(
    tmp_path_factory: pytest.TempPathFactory, tape: TradeColumns, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("any") / "ledger"
    rows = rows_of(tape)
    order = data.draw(st.permutations(range(len(rows))))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    ledger = TradeLedger.open(path)
    for start, stop in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        ledger.append("X", columns([rows[i] for i in sorted(order[start:stop])]))
        for _ in range(data.draw(st.integers(0, 2))):
            ledger.seal(START_MS + data.draw(st.integers(0, 5)) * HOUR_MS)
        if data.draw(st.booleans()):
            ledger.close()
            ledger = TradeLedger.open(path)
        assert_answers(ledger, [rows[i] for i in sorted(order[:stop])], data)
    ledger.close()


def assert_answers(ledger: TradeLedger, rows: list[tuple[int, ...]], data: st.DataObject) -> None:
    """Every question has the answer that a plain list of the rows gives."""
    start_ms = (
        START_MS + data.draw(st.integers(-1, 4)) * HOUR_MS + data.draw(st.sampled_from([0, 0, 1_234_567]))
    )
    end_ms = start_ms + data.draw(st.integers(1, 4)) * HOUR_MS - data.draw(st.sampled_from([0, 0, 777]))
    inside = [row for row in rows if start_ms <= row[1] < end_ms]
    with ledger.view("X") as view:
        assert rows_of(view.trades(start_ms, end_ms)) == inside
        exact, binned = (view.histogram(start_ms, end_ms, exact=exact) for exact in (True, False))
        plain = PriceHistogram.of(columns(inside))  # type: ignore[arg-type]
        exact, binned, plain = (part.at_exponents(8, 8) for part in (exact, binned, plain))
        assert exact.totals == plain.totals
        assert sums_of(exact) == plain_sums(inside)
        plain = plain if binned.bin_int is None else plain.in_bins(binned.bin_int)
        assert binned.price_int.tolist() == plain.price_int.tolist()
        assert binned.volume.tolist() == plain.volume.tolist()
        assert binned.trades.tolist() == plain.trades.tolist()
        assert binned.totals == plain.totals
        assert_in_rows(view, start_ms, end_ms, inside, data.draw(st.integers(1, 10**12)))
        coverage = view.coverage(start_ms, end_ms)
        assert coverage.trades == sum(row[3] > 0 for row in inside)
        assert coverage.certified == sum(row[3] == 0 for row in inside)
        ids = [row[0] for row in inside]
        assert (coverage.first_id, coverage.last_id) == (min(ids, default=None), max(ids, default=None))
        valid = [row for row in inside if row[3]]
        last = view.last_trade(start_ms, end_ms)
        assert rows_of(last) == ([max(valid)] if valid else [])


def test_a_rollup_of_which_a_column_is_none_is_named_by_the_question_that_needs_it(path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        ledger.append("X", hours_of_trades(2))
        ledger.seal(LATER)
    record = ormsgpack.unpackb(records_of(path)["rollup"][f"X:{FIRST_HOUR}"])
    put(path, keys.rollup("X", FIRST_HOUR), signed(record | {"b": b"\xff"}))
    with TradeLedger.open(path) as ledger:
        assert ledger.take_damage() == []
        with pytest.raises(CorruptRecord, match=f"rollup:X:{FIRST_HOUR}: .*verify --repair"):
            ledger.histogram("X", *WHOLE)
        later = ledger.histogram("X", FIRST_HOUR + HOUR_MS, FIRST_HOUR + 2 * HOUR_MS)
        assert later.trades.sum() == 120


def assert_in_rows(
    view: LedgerView, start_ms: int, end_ms: int, inside: list[tuple[int, ...]], size: int
) -> None:
    """In bins of `size` units of 1e-8 a histogram is the plain sum of each."""
    found = view.histogram(start_ms, end_ms, bin_size=Decimal(size).scaleb(-8)).at_exponents(8, 8)
    assert found.bin_int == size
    assert sums_of(found) == plain_sums([(i, t, p // size * size, *rest) for i, t, p, *rest in inside])


def test_a_block_that_is_gone_is_named_by_the_question_that_needs_it(path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        ledger.append("X", hours_of_trades(2))
        ledger.seal(LATER)
    db = plyvel.DB(str(path), compression=None)
    db.delete(keys.block("X", FIRST_HOUR))
    db.close()
    with (
        TradeLedger.open(path) as ledger,
        pytest.raises(CorruptRecord, match=f"blocks:X:{FIRST_HOUR} is gone"),
    ):
        ledger.histogram("X", *WHOLE)


def test_prices_too_far_apart_for_one_ladder_are_summed_all_the_same(path: Path) -> None:
    wick = columns([(121, FIRST_HOUR + HOUR_MS, 10**6, 10**3, 300, 300, False)])
    tape = TradeColumns.concat([hours_of_trades(1), wick])
    with TradeLedger.open(path) as ledger:
        ledger.append("X", tape)
        ledger.seal(LATER)
        assert sums_of(ledger.histogram("X", *WHOLE).at_exponents(8, 8)) == plain_sums(rows_of(tape))
