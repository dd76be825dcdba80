"""Ids that the exchange lacks: kept with their proof, in coverage, and gone once a row of them comes."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import keys
from storage.absences import Absence, Seen, by_state, known_runs, unheld
from storage.errors import StoreUnavailable
from storage.held_ids import HeldIds, Run, gaps_between, uncovered_ms
from storage.ledger import TradeLedger
from storage.records import pack_absence, unpack_absence
from storage.repair import repair_ledger
from storage.trades import Gap, TradeColumns
from storage.verify import verify
from tests.ledgers import put, records
from tests.storage.soundness import assert_sound
from tests.tapes import START_MS, on_disk, run_of

STEP_MS = 1_000
HOUR_MS = keys.HOUR_MS
HOUR = START_MS - START_MS % HOUR_MS + HOUR_MS

spans = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 6)), min_size=1, max_size=12)


def ms_of(identity: int) -> int:
    return HOUR + identity * STEP_MS


def absence(first_id: int, last_id: int, state: str = "certified", *, asked: int = 10) -> Absence:
    below, above = (Seen(i, ms_of(i)) for i in (first_id - 1, last_id + 1))
    return Absence(first_id, last_id, below, above, HOUR, HOUR + 1_800_000, asked, state)  # type: ignore[arg-type]


def rows(first_id: int, last_id: int) -> TradeColumns:
    return run_of(first_id, last_id - first_id + 1, start_ms=ms_of(first_id), step_ms=STEP_MS)


def run(first_id: int, last_id: int) -> Run:
    return Run(first_id, last_id, ms_of(first_id), ms_of(last_id))


def ids(parts: list[Gap] | list[Absence] | list[Run]) -> list[int]:
    return [i for part in parts for i in range(part.first_id, part.last_id + 1)]


# Arithmetic against plain sets


@given(st.integers(1, 60), st.integers(0, 20), spans)
def test_what_rows_leave_of_an_absence_is_what_a_set_would_leave(
    first_id: int, more: int, came: list[tuple[int, int]]
) -> None:
    runs = [run(first, first + length) for first, length in came]
    left = unheld(absence(first_id, first_id + more), runs)
    assert sorted(ids(left)) == sorted({*range(first_id, first_id + more + 1)} - {*ids(runs)})
    assert all(part.below.id < part.first_id <= part.last_id < part.above.id for part in left)
    assert all(unpack_absence(pack_absence(part)) == part for part in left)


@given(spans, spans, st.booleans())
def test_gaps_by_state_part_the_missing_ids_into_certified_and_open(
    held: list[tuple[int, int]], lacking: list[tuple[int, int]], newest_first: bool
) -> None:
    runs = HeldIds(run(first, first + length) for first, length in held).runs
    certified: list[Absence] = []
    for first, length in lacking:
        known = [*runs, *(run(each.first_id, each.last_id) for each in certified)]
        certified += unheld(absence(first, first + length), known)
    certified.sort(key=lambda each: each.first_id)
    parts = list(by_state(gaps_between(runs, newest_first=newest_first), certified))
    missing = {*ids(list(gaps_between(runs)))}
    assert sorted(ids(parts)) == sorted(missing)
    assert {*ids([part for part in parts if part.state == "certified"])} == missing & {*ids(certified)}
    assert all(
        (part.after_ms, part.before_ms) == (gap.after_ms, gap.before_ms)
        for part in parts
        for gap in gaps_between(runs)
        if gap.first_id <= part.first_id <= gap.last_id
    )


@given(spans, spans)
def test_time_is_unknown_only_beside_open_gaps(
    held: list[tuple[int, int]], lacking: list[tuple[int, int]]
) -> None:
    runs = HeldIds(run(first, first + length) for first, length in held).runs
    certified: list[Absence] = []
    for first, length in lacking:
        known = [*runs, *(run(each.first_id, each.last_id) for each in certified)]
        certified += unheld(absence(first, first + length), known)
    gaps = list(by_state(gaps_between(runs), sorted(certified, key=lambda each: each.first_id)))
    open_spans = {(gap.after_ms, gap.before_ms) for gap in gaps if gap.state == "open"}
    unknown = {ms for after, before in open_spans for ms in range(after + 1, before, STEP_MS)}
    start_ms, end_ms = runs[0].first_ms, runs[-1].last_ms + 1
    assert uncovered_ms(known_runs(runs, gaps), start_ms, end_ms) == sum(
        before - after - 1 for after, before in open_spans
    )
    assert bool(unknown) == bool(open_spans)


# In a ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def with_a_hole(path: Path, *, state: str = "certified") -> None:
    """Ids 1 to 10 and 21 to 30; of 11 to 20 the exchange has none."""
    with TradeLedger.open(path) as ledger:
        ledger.append("X", rows(1, 10))
        ledger.append("X", rows(21, 30))
        ledger.keep_absence("X", absence(11, 20, state))


def test_a_certified_hole_is_neither_missing_nor_uncovered_and_survives_a_restart(path: Path) -> None:
    with_a_hole(path)
    with TradeLedger.open(path) as ledger:
        assert ledger.absences("X") == (absence(11, 20),)
        assert [(gap.first_id, gap.last_id, gap.state) for gap in ledger.gaps("X")] == [(11, 20, "certified")]
        coverage = ledger.coverage("X", ms_of(1), ms_of(30) + 1)
        assert (coverage.trades, coverage.rows, coverage.missing, coverage.certified) == (20, 20, 0, 10)
        assert (coverage.complete, coverage.covered_pct, ledger.missing("X")) == (True, 100.0, 0)
        assert [gap.state for gap in coverage.gaps] == ["certified"]


def test_a_hole_under_suspicion_is_missing_and_its_tries_survive_a_restart(path: Path) -> None:
    with_a_hole(path, state="open")
    with TradeLedger.open(path) as ledger:
        assert ledger.absences("X") == (absence(11, 20, "open"),)
        coverage = ledger.coverage("X", ms_of(1), ms_of(30) + 1)
        assert (coverage.missing, coverage.certified, coverage.complete) == (10, 0, False)
        assert ledger.missing("X") == 10


def test_a_late_row_splits_a_certified_hole(path: Path) -> None:
    with_a_hole(path)
    with TradeLedger.open(path) as ledger:
        ledger.append("X", rows(14, 15))
        left, right = ledger.absences("X")
        assert left == replace(absence(11, 20), last_id=13)
        assert right == replace(absence(11, 20), first_id=16)
        ledger.append("X", rows(16, 20))
    with TradeLedger.open(path) as ledger:
        assert ledger.absences("X") == (left,)
    assert [key for key in records(path) if key.startswith(b"gaps:")] == [keys.absence("X", 11)]
    assert_sound(path)


def test_ids_that_are_held_cannot_be_certified_missing(path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        ledger.append("X", rows(1, 12))
        ledger.append("X", rows(20, 30))
        ledger.keep_absence("X", absence(11, 20))
        assert [(each.first_id, each.last_id) for each in ledger.absences("X")] == [(13, 19)]
        ledger.keep_absence("X", absence(13, 19, "open", asked=2))
        assert [each.state for each in ledger.absences("X")] == ["open"]


def test_a_flush_that_fails_keeps_absences_pending(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_a_hole(path)
    with TradeLedger.open(path) as ledger:
        ledger.append("X", rows(11, 12))
        with monkeypatch.context() as patch:
            patch.setattr(ledger._database, "write", _refuse)
            with pytest.raises(StoreUnavailable):
                ledger.flush()
        ledger.flush()
    assert [key for key in records(path) if key.startswith(b"gaps:")] == [keys.absence("X", 13)]


def _refuse(*_: object) -> None:
    raise StoreUnavailable("No space left on device")


def test_where_a_record_and_the_rows_contradict_each_other_the_rows_count(path: Path) -> None:
    with_a_hole(path)
    put(path, keys.absence("X", 11), None)
    put(path, keys.absence("X", 9), pack_absence(absence(9, 22)))
    found, _ = verify(path)
    assert [each.kind for each in found if each.key == keys.absence("X", 9)] == ["mismatch"]
    with TradeLedger.open(path) as ledger:
        assert [(each.first_id, each.last_id) for each in ledger.absences("X")] == [(11, 20)]
        assert ledger.gaps("X")[0].state == "certified"
    assert keys.absence("X", 9) not in records(path)


def test_verify_names_certified_holes_and_repair_cuts_a_record_to_what_is_not_held(path: Path) -> None:
    with_a_hole(path)
    put(path, keys.absence("X", 11), None)
    put(path, keys.absence("X", 9), pack_absence(absence(9, 22)))
    repair_ledger(path)
    found, _ = verify(path)
    assert [(each.kind, each.what) for each in found if each.kind in ("gap", "certified")] == [
        ("certified", "ids 11 to 20 are missing, 10 trades: the exchange has none, certified")
    ]
    assert not [each for each in found if each.key.startswith(b"gaps:")]
    with TradeLedger.open(path) as ledger:
        assert [(each.first_id, each.last_id) for each in ledger.absences("X")] == [(11, 20)]


@pytest.mark.parametrize("value", [b"", b"\x80", pack_absence(absence(12, 20)), b"\xc1" * 30])
def test_a_record_that_says_nothing_sound_leaves_an_open_gap(path: Path, value: bytes) -> None:
    with_a_hole(path)
    put(path, keys.absence("X", 11), value)
    assert keys.absence("X", 11) in [each.key for each in verify(path)[0] if each.is_damage]
    with TradeLedger.open(path) as ledger:
        assert [gap.state for gap in ledger.gaps("X")] == ["open"]
        assert any("gaps:X" in damage for damage in ledger.take_damage())
    assert keys.lost(keys.absence("X", 11)) in records(path)


def test_absences_go_with_the_hours_before_which_nothing_is_kept(path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        for first_id in (1, 3_601, 7_201):
            ledger.append("X", rows(first_id, first_id + 1_000))
            ledger.append("X", rows(first_id + 1_011, first_id + 3_000))
            ledger.append("X", rows(first_id + 3_001, first_id + 3_599))
            ledger.keep_absence("X", absence(first_id + 1_001, first_id + 1_010))
        for _ in range(2):
            ledger.seal(ms_of(20_000))
        ledger.expire(HOUR + HOUR_MS)
        assert [each.first_id for each in ledger.absences("X")] == [4_602, 8_202]
    assert sorted(key for key in records(path) if key.startswith(b"gaps:")) == [
        keys.absence("X", 4_602),
        keys.absence("X", 8_202),
    ]
    with TradeLedger.open(path) as ledger:
        assert [each.first_id for each in ledger.absences("X")] == [4_602, 8_202]
        ledger.expire(HOUR + 100 * HOUR_MS)
        assert ledger.absences("X") == ()


@on_disk(25)
@given(
    spans,
    st.lists(st.tuples(st.sampled_from(["came", "lacks", "again"]), st.integers(1, 60), st.integers(0, 6))),
)
def test_every_id_is_held_open_or_certified_whatever_comes_in_which_order(
    tmp_path_factory: pytest.TempPathFactory,
    first: list[tuple[int, int]],
    steps: list[tuple[str, int, int]],
) -> None:
    path = tmp_path_factory.mktemp("l") / "ledger"
    held: set[int] = set()
    certified: set[int] = set()
    ledger = TradeLedger.open(path)
    try:
        for what, first_id, more in [("came", *span) for span in first] + steps:
            span = set(range(first_id, first_id + more + 1))
            if what == "came":
                ledger.append("X", rows(first_id, first_id + more))
                held |= span
                certified -= span
            elif what == "lacks":
                if any(each & span and not each <= span for each in _spans_of(ledger)):
                    continue  # a page proves whole spans between rows: it never cuts one
                ledger.keep_absence("X", absence(first_id, first_id + more))
                # Of ids beyond the rows held nothing is proven that would be kept.
                certified |= {i for i in span - held if held and min(held) < i < max(held)}
            else:
                ledger.close()
                ledger = TradeLedger.open(path)
                certified = {i for i in certified if held and min(held) < i < max(held)}
        missing = set(range(min(held), max(held) + 1)) - held
        assert {i for gap in ledger.gaps("X") for i in range(gap.first_id, gap.last_id + 1)} == missing
        assert {
            i
            for gap in ledger.gaps("X")
            if gap.state == "certified"
            for i in range(gap.first_id, gap.last_id + 1)
        } == missing & certified
    finally:
        ledger.close()


def _spans_of(ledger: TradeLedger) -> list[set[int]]:
    return [set(range(each.first_id, each.last_id + 1)) for each in ledger.absences("X")]
