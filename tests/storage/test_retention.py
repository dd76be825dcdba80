"""What is too old or too much goes, whole hours of it, and nothing else changes by it."""

import threading
from pathlib import Path
from typing import Any

import plyvel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import keys
from storage import sealer as sealer_module
from storage.errors import StoreUnavailable
from storage.held_ids import Run, gaps_between, runs_of, uncovered_ms
from storage.ledger import TradeLedger
from storage.trades import TradeColumns
from tests.storage.soundness import assert_sound, records_of
from tests.tapes import START_MS, Row, columns, on_disk, rows_of, run_of, tapes

HOUR_MS = keys.HOUR_MS
FIRST_HOUR = START_MS - START_MS % HOUR_MS + HOUR_MS
LATER = FIRST_HOUR + 1_000 * HOUR_MS
WHOLE = (0, 2 * START_MS)
HOURS = 5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


class Kept:
    """The plain oracle: every row that was ever taken in, and up to where its hours have expired."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.gone: set[int] = set()
        self.floor_ms = 0

    def append(self, rows: list[Row]) -> None:
        for row in rows:
            self.rows.setdefault(row[0], row)

    def expire(self, before_ms: int) -> None:
        self.gone |= {i for i, row in self.rows.items() if keys.hour_of(row[1]) + HOUR_MS <= before_ms}
        self.floor_ms = max(self.floor_ms, keys.hour_of(before_ms))

    @property
    def kept(self) -> list[Row]:
        return [row for i, row in sorted(self.rows.items()) if i not in self.gone]

    @property
    def runs(self) -> tuple[Run, ...]:
        """Of all ids that are held or were."""
        return tuple(runs_of(columns([row for _, row in sorted(self.rows.items())])))


def assert_kept(ledger: TradeLedger, oracle: Kept, start_ms: int, end_ms: int) -> None:
    """Rows, gaps and the coverage of a window are those of the oracle."""
    assert rows_of(ledger.trades("X", *WHOLE)) == oracle.kept
    missing = {i for gap in ledger.gaps("X") for i in range(gap.first_id, gap.last_id + 1)}
    assert not missing & oracle.rows.keys()
    if oracle.kept:
        first_id, last_id = oracle.kept[0][0], oracle.kept[-1][0]
        assert missing >= set(range(first_id, last_id)) - oracle.rows.keys()
    inside = [row for row in oracle.kept if start_ms <= row[1] < end_ms]
    with ledger.view("X") as view:
        coverage = view.coverage(start_ms, end_ms)
        assert rows_of(view.trades(start_ms, end_ms)) == inside
        assert view.histogram(start_ms, end_ms, exact=False).trades.sum() == coverage.trades
        assert view.candles(start_ms, end_ms).trades.sum() == coverage.trades
    assert coverage.trades == sum(row[3] > 0 for row in inside)
    assert coverage.certified == sum(row[3] == 0 for row in inside)
    ids = [row[0] for row in inside]
    assert (coverage.first_id, coverage.last_id) == (min(ids, default=None), max(ids, default=None))
    assert coverage.missing == len(set(range(min(ids), max(ids))) & missing if ids else ())
    assert coverage.uncovered_ms == uncovered_ms(oracle.runs, start_ms, end_ms)
    plain = [
        gap
        for gap in gaps_between(oracle.runs)
        if (gap.after_ms < end_ms and gap.before_ms >= start_ms)
        or (ids and min(ids) < gap.first_id < max(ids))
    ]
    assert [(g.first_id, g.last_id) for g in coverage.gaps] == [(g.first_id, g.last_id) for g in plain]


@st.composite
def ordered_tapes(draw: st.DrawFn) -> TradeColumns:
    """Ids whose times mostly ascend over some hours, but repeat and step back, across borders too."""
    tape = draw(tapes(seconds=HOURS * 3600, max_size=16))
    order = sorted(range(len(tape)), key=lambda i: int(tape.time_ms[i]))
    for at in draw(st.lists(st.integers(0, max(0, len(order) - 2)), max_size=6)) if len(order) > 1 else []:
        order[at], order[at + 1] = order[at + 1], order[at]
    rows = rows_of(tape)
    return columns([(row[0], rows[at][1], *row[2:]) for row, at in zip(rows, order, strict=True)])


@on_disk(40)
@given(tape=st.one_of(ordered_tapes(), tapes(seconds=HOURS * 3600, max_size=16)), data=st.data())
def test_what_is_kept_is_what_has_not_expired_in_any_order_of_events(
    tmp_path_factory: pytest.TempPathFactory, tape: TradeColumns, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("any") / "ledger"
    rows, oracle = rows_of(tape), Kept()
    waiting = list(range(len(rows)))
    ledger = TradeLedger.open(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealer_module, "MOST_IN_BLOCK", data.draw(st.sampled_from([3, 1_000_000])))
        for _ in range(data.draw(st.integers(1, 8))):
            event = data.draw(
                st.sampled_from(["append", "append", "again", "flush", "seal", "expire", "open"])
            )
            if event == "append":
                left_out = data.draw(st.sets(st.sampled_from(waiting), max_size=5)) if waiting else set()
                picked = [at for at in waiting if at not in left_out]
                ledger.append("X", columns([rows[at] for at in picked]))
                # What is below all that is kept, and came too late to be held, is not wanted any more.
                held = {i for run in ledger.runs("X") for i in range(run.first_id, run.last_id + 1)}
                oracle.append([rows[at] for at in picked if rows[at][0] in held])
                waiting = [at for at in waiting if at not in picked]
            elif event == "again":
                assert ledger.append("X", columns(list(oracle.rows.values())).by_id()).new == 0
            elif event == "flush":
                ledger.flush()
            elif event == "seal":
                ledger.seal(START_MS + data.draw(st.integers(0, HOURS + 2)) * HOUR_MS)
            elif event == "expire":
                before_ms = START_MS + data.draw(st.integers(0, HOURS)) * HOUR_MS
                went = ledger.expire(before_ms)
                held_before = len(oracle.kept)
                oracle.expire(before_ms)
                assert sum(what.rows for what in went) == held_before - len(oracle.kept)
            else:
                ledger.close()
                assert_sound(path)
                ledger = TradeLedger.open(path)
            start_ms = max(oracle.floor_ms, START_MS) + data.draw(st.integers(0, HOURS)) * HOUR_MS // 2
            assert_kept(ledger, oracle, start_ms, start_ms + data.draw(st.integers(1, 3 * HOUR_MS)))
    ledger.close()
    assert_sound(path)


def hours_of_trades(hours: int, *, first_id: int = 1, step_ms: int = 30_000, hour: int = 0) -> TradeColumns:
    count = hours * HOUR_MS // step_ms
    return run_of(first_id, count, start_ms=FIRST_HOUR + hour * HOUR_MS, step_ms=step_ms)


def test_an_expired_id_with_none_before_it_is_no_gap(
    path: Path,
) -> None:
    """The first id lies in the later hour, so that no expired id lies before all that are kept."""
    tape = columns(
        [
            (1, FIRST_HOUR + HOUR_MS, 100, 1, 1, 1, False),
            (2, FIRST_HOUR + HOUR_MS - 1, 100, 1, 2, 2, False),
            (3, FIRST_HOUR + HOUR_MS + 1, 100, 1, 3, 3, False),
        ]
    )
    with TradeLedger.open(path) as ledger:
        ledger.append("X", tape)
        ledger.seal(LATER)
        assert [what.rows for what in ledger.expire(FIRST_HOUR + HOUR_MS)] == [1]
    for _ in range(2):
        with TradeLedger.open(path) as ledger:
            assert ledger.trades("X", *WHOLE).id.tolist() == [1, 3]
            assert ledger.gaps("X") == ()
            assert ledger.append("X", tape).new == 0


def test_expired_trades_that_are_offered_again_open_no_gap(path: Path) -> None:
    tape = hours_of_trades(3)
    with TradeLedger.open(path) as ledger:
        ledger.append("X", tape)
        ledger.seal(LATER)
        ledger.expire(FIRST_HOUR + 2 * HOUR_MS)
        appended = ledger.append("X", tape.take(slice(50, 60)))
        assert (appended.new, appended.duplicates, appended.opened) == (0, 10, ())
        assert ledger.gaps("X") == ()
    with TradeLedger.open(path) as ledger:
        assert ledger.append("X", tape).new == 0
        assert len(ledger.trades("X", *WHOLE)) == 120


def test_time_inside_the_first_kept_hour_is_covered_from_its_beginning(path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        ledger.append("X", hours_of_trades(3))
        ledger.expire(FIRST_HOUR + HOUR_MS + HOUR_MS // 2)
        assert ledger.coverage("X", FIRST_HOUR + HOUR_MS, FIRST_HOUR + 2 * HOUR_MS).complete
        before = ledger.coverage("X", FIRST_HOUR, FIRST_HOUR + 2 * HOUR_MS)
        assert before.uncovered_ms == HOUR_MS - 1  # the newest expired id is known


def test_all_that_belongs_to_expired_hours_goes_and_the_disk_is_given_back(path: Path) -> None:
    tape = hours_of_trades(48, step_ms=4_000)
    with TradeLedger.open(path) as ledger:
        ledger.append("X", tape)
        ledger.append("OLDUSDT", hours_of_trades(3, step_ms=4_000))
        ledger.flush()
        ledger.compact()
        ledger.seal(LATER)
        ledger.compact()
        before = ledger.bytes_on_disk
        went = ledger.expire(FIRST_HOUR + 40 * HOUR_MS)
        assert {what.symbol: (what.hours, what.first_hour_ms, what.end_ms) for what in went} == {
            "X": (40, FIRST_HOUR, FIRST_HOUR + 40 * HOUR_MS),
            "OLDUSDT": (3, FIRST_HOUR, FIRST_HOUR + 3 * HOUR_MS),
        }
        assert ledger.bytes_on_disk < before / 4
        assert ledger.symbols == ["X"]
        assert ledger.gaps("OLDUSDT") == ()
        assert ledger.expire(FIRST_HOUR + 40 * HOUR_MS) == []
    records = records_of(path)
    assert len(records["blocks"]) == len(records["rollup"]) == len(records["candles"]) == 8
    with TradeLedger.open(path) as ledger:
        assert ledger.symbols == ["X"]
        assert ledger.runs("OLDUSDT")[-1].last_id == 2_700  # where recording it again would begin


def test_everything_may_expire_and_recording_goes_on_behind_it(path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        ledger.append("X", hours_of_trades(2))
        ledger.seal(LATER)
        assert len(ledger.expire(LATER)) == 1
        assert ledger.symbols == []
        assert len(ledger.trades("X", *WHOLE)) == 0
    with TradeLedger.open(path) as ledger:
        opened = ledger.append("X", hours_of_trades(1, first_id=251, hour=2)).opened
        assert [(gap.first_id, gap.last_id) for gap in opened] == [(241, 250)]


def test_damaged_records_of_expired_hours_go_too(path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        ledger.append("X", hours_of_trades(3))
        ledger.seal(FIRST_HOUR + 2 * HOUR_MS)
        ledger.flush()
    put(path, keys.lost(keys.trades("X", FIRST_HOUR)), b"old")
    put(path, keys.lost(keys.rollup("X", FIRST_HOUR + HOUR_MS)), b"new")
    with TradeLedger.open(path) as ledger:
        ledger.expire(FIRST_HOUR + HOUR_MS)
    assert list(records_of(path)["lost"]) == [keys.rollup("X", FIRST_HOUR + HOUR_MS).decode()]


def put(path: Path, key: bytes, value: bytes) -> None:
    db = plyvel.DB(str(path), compression=None)
    db.put(key, value)
    db.close()


def test_a_view_keeps_its_answers_while_hours_expire_and_space_comes_back(path: Path) -> None:
    tape = hours_of_trades(5)
    with TradeLedger.open(path) as ledger:
        ledger.append("X", tape)
        ledger.seal(FIRST_HOUR + 4 * HOUR_MS)
        with ledger.view("X") as view:
            ledger.expire(FIRST_HOUR + 5 * HOUR_MS)
            ledger.compact()
            assert len(ledger.trades("X", *WHOLE)) == 0
            assert rows_of(view.trades(*WHOLE)) == rows_of(tape)
            assert view.histogram(*WHOLE, exact=False).trades.sum() == len(tape)
            assert view.candles(*WHOLE).trades.sum() == len(tape)
            assert view.coverage(*WHOLE).trades == len(tape)


@pytest.mark.parametrize("late", [False, True])
def test_a_view_made_between_the_write_and_the_memory_sees_all_as_before(
    path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """Whatever is asked in the middle of a sealing, a sealing again or an expiry is answered whole."""
    tape = hours_of_trades(3)
    with TradeLedger.open(path) as ledger:
        ledger.append("X", tape.take(slice(1 if late else 0, None)))
        for _ in range(2):
            ledger.seal(LATER)
        ledger.append("X", tape)
        expected, asked = [len(tape)], 0
        written = ledger._writer.write

        def write_and_ask(*records: Any) -> None:
            nonlocal asked
            written(*records)
            with ledger.view("X") as view:
                assert len(view.trades(*WHOLE)) == expected[0]
                assert view.candles(*WHOLE).trades.sum() == expected[0]
                assert view.histogram(*WHOLE, exact=False).trades.sum() == expected[0]
                assert view.coverage(*WHOLE).trades == expected[0]
            asked += 1

        monkeypatch.setattr(ledger._writer, "write", write_and_ask)
        for _ in range(2):
            ledger.seal(LATER)
        ledger.expire(FIRST_HOUR + 2 * HOUR_MS)
        assert asked >= (2 if late else 1)
        assert len(ledger.trades("X", *WHOLE)) == 120


def test_readers_never_fail_and_never_see_half_while_hours_are_sealed_deleted_and_compacted(
    path: Path,
) -> None:
    """Whole hours come and go: each answer begins at an hour and has every trade from there to its end."""
    a_hour = 120
    failed: list[BaseException] = []
    answers = [0, 0]
    stop = threading.Event()

    def ask(number: int) -> None:
        try:
            while not stop.is_set():
                with ledger.view("X") as view:
                    rows = view.trades(*WHOLE)
                    ids = rows.id.tolist()
                    assert ids == list(range(ids[0], ids[-1] + 1)) if ids else True
                    assert not ids or ids[0] % a_hour == 1
                    assert view.histogram(*WHOLE, exact=False).trades.sum() == len(ids)
                    assert view.candles(*WHOLE).trades.sum() == len(ids)
                    assert view.coverage(*WHOLE).trades == len(ids)
                answers[number] += 1
        except BaseException as error:
            failed.append(error)

    with TradeLedger.open(path) as ledger:
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        hour = 0
        while (min(answers) < 60 or hour < 40) and not failed:
            tape = hours_of_trades(1, first_id=1 + hour * a_hour, hour=hour)
            ledger.append("X", tape.take(slice(0, 60)))
            ledger.seal(FIRST_HOUR + hour * HOUR_MS + 61_000)
            ledger.append("X", tape.take(slice(60, None)))
            hour += 1
            if hour % 2:
                ledger.expire(FIRST_HOUR + (hour - 6) * HOUR_MS)
                ledger.compact()
        stop.set()
        for thread in threads:
            thread.join(30)
    assert failed == []


def test_a_refused_expiry_changes_nothing_and_is_done_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = hours_of_trades(3)
    with TradeLedger.open(path) as ledger:
        ledger.append("X", tape)
        ledger.seal(LATER)

        def refuse(*_: object) -> None:
            raise StoreUnavailable("no space")

        with monkeypatch.context() as broken:
            broken.setattr(ledger._writer, "write", refuse)
            with pytest.raises(StoreUnavailable):
                ledger.expire(FIRST_HOUR + 2 * HOUR_MS)
        assert rows_of(ledger.trades("X", *WHOLE)) == rows_of(tape)
        assert ledger.coverage("X", FIRST_HOUR, FIRST_HOUR + 3 * HOUR_MS - 30_000).complete
        assert [what.rows for what in ledger.expire(FIRST_HOUR + 2 * HOUR_MS)] == [240]


def test_rows_that_come_while_their_hour_expires_go_with_the_next_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = hours_of_trades(3)
    late = tape.take(tape.id == 200)
    with TradeLedger.open(path) as ledger:
        ledger.append("X", tape.take((tape.id != 200) & (tape.id != 120)))
        ledger.append("X", columns([(361, FIRST_HOUR + HOUR_MS - 1, 100, 1, 1, 1, False)]))
        ledger.flush()
        written = ledger._writer.write

        def append_meanwhile(*records: Any) -> None:
            written(*records)
            monkeypatch.undo()
            ledger.append("X", columns([(362, FIRST_HOUR + HOUR_MS - 1, 100, 1, 1, 1, False)]))
            ledger.append("X", late)

        monkeypatch.setattr(ledger._writer, "write", append_meanwhile)
        ledger.expire(FIRST_HOUR + HOUR_MS)
        assert ledger.trades("X", *WHOLE).id.tolist() == [*range(121, 361), 362]
    with TradeLedger.open(path) as ledger:
        assert [(gap.first_id, gap.last_id) for gap in ledger.gaps("X")] == [(120, 120)]
        assert ledger.trades("X", *WHOLE).id.tolist() == [*range(121, 361), 362]
        assert [what.rows for what in ledger.expire(FIRST_HOUR + HOUR_MS)] == [1]
        assert [(gap.first_id, gap.last_id) for gap in ledger.gaps("X")] == [(120, 120)]


# The size limit


def test_a_ledger_above_its_limit_loses_its_oldest_hours_over_all_symbols(path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        ledger.append("X", hours_of_trades(20, step_ms=2_000))
        ledger.append("Y", hours_of_trades(10, step_ms=2_000, hour=10))
        ledger.flush()
        ledger.compact()  # the seconds are in tables now, and sealing leaves them dead there
        ledger.seal(LATER)
        ledger.compact()
        whole = ledger.bytes_on_disk
        assert ledger.shrink(whole) == []
        limit = whole * 2 // 3
        went = {what.symbol: what.end_ms for what in ledger.shrink(limit)}
        assert ledger.bytes_on_disk <= limit
        # 10 hours are X's alone, and about as much as the excess; then both lose the same hours.
        first = {symbol: ledger.trades(symbol, *WHOLE).time_ms[0] for symbol in "XY"}
        assert first["X"] == went["X"]
        assert first["Y"] == max(went["X"], FIRST_HOUR + 10 * HOUR_MS)
        assert ledger.shrink(limit) == []
        assert ledger.gaps("X") == ledger.gaps("Y") == ()


def test_space_that_is_dead_goes_before_trades_do(path: Path) -> None:
    tape = hours_of_trades(6, step_ms=2_000)
    with TradeLedger.open(path) as ledger:
        ledger.append("X", tape)
        ledger.flush()
        ledger.compact()
        ledger.seal(LATER)
        bloated = ledger.bytes_on_disk
        assert ledger.shrink(bloated // 2) == []
        assert ledger.bytes_on_disk <= bloated // 2
        assert len(ledger.trades("X", *WHOLE)) == len(tape)


def test_a_limit_that_cannot_be_met_leaves_the_newest_hour(path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        ledger.append("X", hours_of_trades(5, step_ms=2_000))
        ledger.seal(LATER)
        assert [what.hours for what in ledger.shrink(1)] == [4]
        assert len(ledger.trades("X", *WHOLE)) == 1_800
        assert ledger.shrink(1) == []
        assert ledger.bytes_on_disk > 1


@pytest.mark.parametrize("back", [slice(0, 240), slice(0, 100), slice(239, 240)])
def test_hours_that_are_restored_are_held_again_and_what_they_lack_is_missing(
    path: Path, back: slice
) -> None:
    """With a longer retention: the newest expired id counts as held no more either."""
    tape = hours_of_trades(3)
    with TradeLedger.open(path) as ledger:
        ledger.append("X", tape)
        ledger.seal(LATER)
        ledger.expire(FIRST_HOUR + 2 * HOUR_MS)
        restored = tape.take(back)
        assert ledger.append("X", restored, restoring=True).new == len(restored)
    for _ in range(2):
        with TradeLedger.open(path) as ledger:
            ids = [*restored.id.tolist(), *range(241, 361)]
            assert ledger.trades("X", *WHOLE).id.tolist() == ids
            missing = [(gap.first_id, gap.last_id) for gap in ledger.gaps("X")]
            assert missing == ([(101, 240)] if len(restored) == 100 else [])
    with TradeLedger.open(path) as ledger:
        assert ledger.append("X", tape).new == 240 - len(restored)
