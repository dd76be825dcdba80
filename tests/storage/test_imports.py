"""Rows handed to a ledger's owner by files: what it takes, what it refuses, and what the offerer hears."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from storage.errors import RowsRefused, StoreUnavailable
from storage.imports import OfferedIntake, take_offered
from storage.intake import MOST_AT_ONCE, OwnIntake, Taken, take_in
from storage.ledger import TradeLedger
from storage.trades import Instrument, TradeColumns
from tests.tapes import START_MS, rows_of, run_of

HOUR_MS = 3_600_000
NOW_MS = START_MS + 24 * HOUR_MS
BTC = Instrument("BTCUSDT", "simulated", "BTC", "USDT", Decimal("0.01"), Decimal("0.00001"))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[TradeLedger]:
    with TradeLedger.open(tmp_path / "l") as opened:
        opened.claim("simulated")
        opened.keep_instrument(BTC, START_MS)
        yield opened


@contextmanager
def owned(ledger: TradeLedger, path: Path, kept_from_ms: int | None = None) -> Iterator[list[Taken]]:
    """An owner that does its rounds in a thread; what it took."""
    taken: list[Taken] = []
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(0.01):
            taken.extend(part for _, part in take_offered(ledger, path, NOW_MS, kept_from_ms))

    owner = threading.Thread(target=run)
    owner.start()
    try:
        yield taken
    finally:
        ended.set()
        owner.join()


def held(ledger: TradeLedger) -> TradeColumns:
    return ledger.trades("BTCUSDT", 0, NOW_MS)


def test_offered_rows_are_taken_stored_and_sealed(ledger: TradeLedger, tmp_path: Path) -> None:
    tape = run_of(1, 3000)
    with owned(ledger, tmp_path / "l"):
        intake = OfferedIntake(tmp_path / "l", "simulated")
        for at in range(2000, -1, -1000):
            intake.put("BTCUSDT", tape.take(slice(at, at + 1000)))
        assert intake.finish() == Taken(new=3000)
        intake.put("BTCUSDT", tape.take(slice(0, 1000)))
        assert intake.finish() == Taken(held=1000)
    assert rows_of(held(ledger)) == rows_of(tape)
    assert ledger.flush() == 0
    assert ledger.seal(NOW_MS) == []
    assert list((tmp_path / "l" / "imports").iterdir()) == []


@pytest.mark.parametrize("offered", [True, False])
def test_rows_held_with_other_content_are_counted_and_stay_as_they_were(
    ledger: TradeLedger, tmp_path: Path, offered: bool
) -> None:
    tape = run_of(1, 500)
    ledger.append("BTCUSDT", tape)
    quantity, time_ms = tape.quantity_int.copy(), tape.time_ms.copy()
    quantity[17] += 1
    time_ms[499] += HOUR_MS
    other = replace(tape, quantity_int=quantity, time_ms=time_ms)
    with owned(ledger, tmp_path / "l"):
        intake = OfferedIntake(tmp_path / "l", "simulated") if offered else OwnIntake(ledger, NOW_MS)
        intake.put("BTCUSDT", other)
        assert intake.finish() == Taken(held=500, conflicts=2)
    assert rows_of(held(ledger)) == rows_of(tape)


@pytest.mark.parametrize(
    ("symbol", "venue", "rows", "why"),
    [
        ("ETHUSDT", "simulated", run_of(1, 5), "not recorded there; add it to TAPEDECK_SYMBOLS"),
        ("BTCUSDT", "binance spot", run_of(1, 5), "holds the tape of 'simulated'"),
        ("BTCUSDT", "simulated", run_of(1, 5, start_ms=START_MS - 3 * HOUR_MS), "TAPEDECK_RETENTION_HOURS"),
        ("BTCUSDT", "simulated", run_of(1, 5, start_ms=NOW_MS), "not of the past"),
        ("BTCUSDT", "simulated", run_of(1, MOST_AT_ONCE + 1), "at most 20000"),
        ("BTCUSDT", "simulated", replace(run_of(1, 5), price_int=-run_of(1, 5).price_int), "below 0"),
        ("BTCUSDT", "simulated", replace(run_of(1, 5), id=run_of(1, 5).id[::-1]), "do not ascend"),
    ],
)
def test_rows_that_no_archive_has_are_refused_and_named(
    ledger: TradeLedger, tmp_path: Path, symbol: str, venue: str, rows: TradeColumns, why: str
) -> None:
    with owned(ledger, tmp_path / "l", kept_from_ms=START_MS):
        intake = OfferedIntake(tmp_path / "l", venue)
        intake.put(symbol, rows)
        with pytest.raises(RowsRefused, match=why):
            intake.finish()
    assert len(held(ledger)) == 0


def test_a_file_that_is_no_offer_is_refused_and_removed(ledger: TradeLedger, tmp_path: Path) -> None:
    directory = tmp_path / "l" / "imports"
    directory.mkdir()
    (directory / "1.rows").write_bytes(b"nonsense")
    (directory / "2.rows.partial").write_bytes(b"half")
    assert take_offered(ledger, tmp_path / "l", NOW_MS, None) == []
    assert sorted(file.name for file in directory.iterdir()) == ["1.taken", "2.rows.partial"]


def test_an_owner_that_is_silent_is_named(tmp_path: Path) -> None:
    (tmp_path / "l").mkdir()
    intake = OfferedIntake(tmp_path / "l", "simulated", within_s=0.1)
    intake.put("BTCUSDT", run_of(1, 5))
    with pytest.raises(StoreUnavailable, match="took no rows within"):
        intake.finish()
    assert list((tmp_path / "l" / "imports").iterdir()) == []


def test_what_was_left_over_is_swept_away_when_the_ledger_opens(tmp_path: Path) -> None:
    TradeLedger.open(tmp_path / "l").close()
    (tmp_path / "l" / "imports").mkdir()
    (tmp_path / "l" / "imports" / "1.rows").write_bytes(b"")
    with TradeLedger.open(tmp_path / "l"):
        assert not (tmp_path / "l" / "imports").exists()


def test_offers_wait_while_too_much_awaits_the_disk(
    ledger: TradeLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake = OfferedIntake(tmp_path / "l", "simulated")
    intake.put("BTCUSDT", run_of(1, 5))
    monkeypatch.setattr(TradeLedger, "is_behind", True)
    assert take_offered(ledger, tmp_path / "l", NOW_MS, None) == []
    monkeypatch.undo()
    assert take_offered(ledger, tmp_path / "l", NOW_MS, None) == [("BTCUSDT", Taken(new=5))]


def test_expired_ids_come_back_when_their_rows_do(tmp_path: Path) -> None:
    tape = run_of(1, 100, start_ms=START_MS // HOUR_MS * HOUR_MS, step_ms=HOUR_MS // 10)
    with TradeLedger.open(tmp_path / "l") as ledger:
        ledger.append("BTCUSDT", tape)
        ledger.seal(NOW_MS)
        ledger.expire(int(tape.time_ms[50]))
        kept = held(ledger)
        assert int(kept.id[0]) == 51
        assert take_in(ledger, "BTCUSDT", tape.take(slice(20, 50))) == Taken(new=30)
        assert rows_of(held(ledger)) == rows_of(tape)[20:]
    with TradeLedger.open(tmp_path / "l") as ledger:
        assert [(run.first_id, run.last_id) for run in ledger.runs("BTCUSDT")] == [(21, 100)]
        assert rows_of(held(ledger)) == rows_of(tape)[20:]
