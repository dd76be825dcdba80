"""Other contents under ids that are held: kept beside them, never instead of them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import conflicts as conflicts_module
from storage import keys
from storage import notes as notes_module
from storage.conflicts import Conflict, pack_conflict, unpack_conflict
from storage.database import Database
from storage.errors import CorruptRecord
from storage.ledger import TradeLedger
from storage.verify import verify
from tests.tapes import START_MS, Row, columns, rows_of, run_of

HOUR_MS = keys.HOUR_MS


def conflict(identity: int = 5, time_ms: int = START_MS) -> Conflict:
    kept = (identity, time_ms, 6_200_000_000_000, 100_000, 7, 8, True)
    other = (identity, time_ms + 3, 1, 2, 9, 9, False)
    return Conflict(columns([kept]), columns([other]))


def both(found: Conflict) -> tuple[list[Row], list[Row]]:
    return rows_of(found.kept), rows_of(found.other)


numbers = st.integers(0, 2**62)
contents = st.tuples(st.just(7), numbers, numbers, numbers, numbers, numbers, st.booleans())


@given(contents, contents)
def test_both_contents_come_back_exactly(kept: Row, other: Row) -> None:
    packed = Conflict(columns([kept]), columns([other]))
    assert both(unpack_conflict(pack_conflict(packed))) == ([kept], [other])


@given(st.binary(max_size=200))
def test_bytes_that_are_no_conflict_are_a_damaged_record(value: bytes) -> None:
    with pytest.raises(CorruptRecord):
        unpack_conflict(value)


def test_a_conflict_is_kept_over_a_restart_and_changes_no_trade(tmp_path: Path) -> None:
    with TradeLedger.open(tmp_path / "l") as ledger:
        ledger.append("X", run_of(1, 10))
        before = rows_of(ledger.trades("X", 0, 2 * START_MS))
        assert ledger.keep_conflict("X", conflict())
        assert [both(found) for found in ledger.conflicts("X")] == [both(conflict())]
    with TradeLedger.open(tmp_path / "l") as ledger:
        assert [both(found) for found in ledger.conflicts("X")] == [both(conflict())]
        assert rows_of(ledger.trades("X", 0, 2 * START_MS)) == before
        assert ledger.conflicts("Y") == []


def test_the_first_other_content_of_an_id_is_kept_and_so_many_of_a_symbol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notes_module, "MOST_KEPT", 3)
    assert conflicts_module.MOST_KEPT > 3
    with TradeLedger.open(tmp_path / "l") as ledger:
        again = Conflict(conflict(1).kept, conflict(1).kept)
        assert [ledger.keep_conflict("X", each) for each in (conflict(1), again)] == [True, True]
        assert [ledger.keep_conflict("X", conflict(each)) for each in (2, 3, 4)] == [True, True, False]
        assert ledger.keep_conflict("Y", conflict(4))
        found = ledger.conflicts("X")
        assert [each.id for each in found] == [1, 2, 3]
        assert rows_of(found[0].other) == rows_of(conflict(1).other)


def test_a_conflict_goes_with_the_hour_of_the_trade_that_is_held(tmp_path: Path) -> None:
    hour_ms = keys.hour_of(START_MS)
    with TradeLedger.open(tmp_path / "l") as ledger:
        ledger.append("X", run_of(1, 3, start_ms=hour_ms))
        ledger.append("X", run_of(4, 3, start_ms=hour_ms + HOUR_MS))
        ledger.keep_conflict("X", conflict(1, hour_ms))
        ledger.keep_conflict("X", conflict(4, hour_ms + HOUR_MS))
        ledger.flush()
        ledger.expire(hour_ms + HOUR_MS)
        assert [found.id for found in ledger.conflicts("X")] == [4]
        assert ledger.keep_conflict("X", conflict(1, hour_ms))


def test_verifying_knows_conflicts_and_finds_a_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "l"
    with TradeLedger.open(path) as ledger:
        ledger.claim("simulated")
        ledger.append("X", run_of(1, 10))
        ledger.keep_conflict("X", conflict())
    assert verify(path)[0] == []
    database = Database.open(path)
    database.write({keys.conflict("X", keys.hour_of(START_MS), 6): b"\x81"})
    database.close()
    (found,) = verify(path)[0]
    assert (found.is_damage, found.symbol) == (True, "X")
    with TradeLedger.open(path) as ledger:
        assert len(ledger.take_damage()) == 1
        assert [each.id for each in ledger.conflicts("X")] == [5]
