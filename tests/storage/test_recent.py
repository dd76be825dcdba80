"""What is kept of what was worked out: the latest, within a number of rows, never a stale one."""

from pathlib import Path

from storage import keys
from storage.ledger import TradeLedger
from storage.recent import Recent
from tests.tapes import START_MS, rows_of, run_of

HOUR = keys.hour_of(START_MS)


def test_a_value_is_made_once_and_kept() -> None:
    recent = Recent[str](100)
    assert [recent.of("a", lambda made=made: made) for made in ("x", "y")] == ["x", "x"]  # type: ignore[misc]


def test_the_least_recently_used_go_when_there_are_too_many_rows() -> None:
    recent = Recent[str](10)
    for key in ("a", "b"):
        recent.of(key, lambda: "12345")
    recent.of("a", lambda: "made again")
    recent.of("c", lambda: "12345")
    assert recent.of("a", lambda: "made again") == "12345"
    assert recent.of("b", lambda: "new") == "new"


def test_a_value_larger_than_all_that_may_be_kept_is_not_kept() -> None:
    recent = Recent[str](3)
    recent.of("a", lambda: "1234")
    assert recent.of("a", lambda: "x") == "x"


def test_rows_that_join_a_sealed_hour_are_seen_although_the_hour_was_kept(tmp_path: Path) -> None:
    tape = run_of(1, 6_000)
    cut = (START_MS + 1, START_MS + 500_000)
    with TradeLedger.open(tmp_path / "ledger") as ledger:
        for part in (tape.take(tape.id % 7 != 0), tape):
            ledger.append("X", part)
            for _ in range(2):
                ledger.seal(START_MS + 10 * keys.HOUR_MS)
                assert rows_of(ledger.trades("X", *cut)) == rows_of(part.within(*cut))
                plain = int(part.within(*cut).quantity_int.sum())
                assert int(ledger.histogram("X", *cut).at_exponents(8, 8).volume.sum()) == plain


def test_rows_that_come_to_an_open_hour_are_counted_although_its_histogram_was_kept(tmp_path: Path) -> None:
    tape = run_of(1, 9_000)
    with TradeLedger.open(tmp_path / "ledger") as ledger:
        for start in range(0, 9_000, 4_500):
            ledger.append("X", tape.take(slice(start, start + 4_500)))
            for _ in range(2):
                held = tape.take(slice(0, start + 4_500))
                volume = ledger.histogram("X", HOUR, START_MS + 10**9).at_exponents(8, 8).volume
                assert int(volume.sum()) == int(held.quantity_int.sum())
