"""A disk that refuses for a while: nothing is lost, questions are answered, and writing resumes by itself."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from storage import leveldb as leveldb_module
from storage import tapes as tapes_module
from storage.errors import LedgerError, StoreUnavailable
from storage.ledger import TradeLedger
from storage.ledger_files import RESERVE
from storage.trades import TradeColumns
from tests.disks import full, read_only, refuse_to_sync, small_disk
from tests.storage.soundness import assert_sound
from tests.tapes import START_MS, rows_of, run_of

WHOLE = (0, 2 * START_MS)
BATCH = 50
FLUSH_S = 0.05
DEADLINE_S = 30


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as mounted:
        yield mounted


def until(condition: Callable[[], bool], within_s: float = DEADLINE_S) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def many(first_id: int, count: int) -> TradeColumns:
    """Trades made fast, a thousand a second, some 14 bytes each in their second-batches."""
    ids = np.arange(first_id, first_id + count)
    return TradeColumns(
        id=ids,
        time_ms=START_MS + ids,
        price_int=9_000_000 + ids * 7919 % 20_000,
        quantity_int=1 + ids * 104_729 % 100_000,
        first_id=2 * ids,
        last_id=2 * ids + 1,
        buyer_is_maker=ids % 3 == 0,
        price_exp=2,
        quantity_exp=5,
    )


class Feed:
    """Appends trades to a ledger and flushes; counts the flushes that failed."""

    def __init__(self, ledger: TradeLedger) -> None:
        self._ledger = ledger
        self.offered = 0
        self.failures = 0

    def step(self, count: int = BATCH) -> bool:
        """Whether everything that was offered so far is on disk now."""
        assert self._ledger.append("X", many(self.offered + 1, count)).new == count
        self.offered += count
        try:
            self._ledger.flush()
        except StoreUnavailable:
            self.failures += 1
            return False
        return True

    def run(self, for_s: float) -> None:
        until_s = time.monotonic() + for_s
        while time.monotonic() < until_s:
            self.step()
            time.sleep(FLUSH_S)


@contextmanager
def asking(ledger: TradeLedger) -> Iterator[list[int]]:
    """Asks all the while what the ledger holds; every answer is whole, and none shorter than one before."""
    counts: list[int] = []
    failed: list[Exception] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                with ledger.view("X") as view:
                    found = view.trades(*WHOLE)
                    assert found.id.tolist() == list(range(1, len(found) + 1))
                    assert view.coverage(*WHOLE).trades == len(found) >= (counts[-1] if counts else 0)
                counts.append(len(found))
            except Exception as error:
                failed.append(error)
                return
            stop.wait(0.01)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield counts
    finally:
        stop.set()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    assert failed == []


def assert_all_there(path: Path, count: int) -> None:
    """After a restart every row is there, once."""
    assert_sound(path)
    with TradeLedger.open(path) as ledger:
        assert rows_of(ledger.trades("X", *WHOLE)) == rows_of(many(1, count))
        assert ledger.gaps("X") == ()


@pytest.mark.parametrize("reserve", [False, True])
@pytest.mark.parametrize("full_s", [2, pytest.param(60, marks=pytest.mark.long)])
def test_a_full_disk_loses_nothing_and_needs_no_restart(disk: Path, reserve: bool, full_s: float) -> None:
    path = disk / "ledger"
    with TradeLedger.open(path) as ledger:
        assert not reserve or ledger.keep_reserve()
        feed = Feed(ledger)
        feed.run(0.3)
        assert feed.failures == 0
        with asking(ledger) as answers:
            with full(disk):
                before = len(answers)
                until(lambda: not feed.step())
                feed.run(full_s)
                assert not (path / RESERVE).exists()
                if reserve and full_s < 10:
                    assert feed.failures < 5  # the reserve took the rest
                    assert ledger.condition.error is None
                elif not reserve:
                    assert ledger.condition.error is not None
                    assert "No space left" in ledger.condition.error
                    assert ledger.condition.unwritten >= BATCH * feed.failures
                until(lambda: len(answers) > before)
            until(feed.step)
            assert ledger.condition.unwritten == 0
            assert ledger.condition.error is None
            feed.run(0.2)
    assert_all_there(path, feed.offered)


def test_a_table_that_found_no_room_breaks_nothing_for_good(disk: Path) -> None:
    """LevelDB's handle goes on refusing by itself once it could not make a table of its memory."""
    path = disk / "ledger"
    with TradeLedger.open(path) as ledger:
        feed = Feed(ledger)
        while sum(log.stat().st_size for log in path.glob("*.log")) < 7 << 20:
            assert feed.step(20_000)
        with asking(ledger) as answers:
            with full(disk, spare=3 << 20):
                until(lambda: not feed.step(20_000))
                before = len(answers)
                for _ in range(5):
                    assert not feed.step(1_000)
                until(lambda: len(answers) > before + 2)
                assert not plain_write(ledger)  # the same handle, without mending
            until(feed.step)
    assert_all_there(path, feed.offered)


def plain_write(ledger: TradeLedger) -> bool:
    try:
        ledger._database._handle.write({b"meta:TRIAL": b""})
    except StoreUnavailable:
        return False
    return True


def test_a_directory_that_cannot_be_written_is_waited_for(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(leveldb_module.OPTIONS, "write_buffer_size", 1 << 16)
    path = disk / "ledger"
    with TradeLedger.open(path) as ledger:
        assert ledger.keep_reserve()
        feed = Feed(ledger)
        assert feed.step()
        with asking(ledger) as answers, read_only(path):
            until(lambda: not feed.step(2_000))
            before = len(answers)
            for _ in range(5):
                assert not feed.step()
            assert "Read-only" in (ledger.condition.error or "")
            assert (path / RESERVE).exists()  # room is not what is lacking
            until(lambda: len(answers) > before + 2)
        until(feed.step)
    assert_all_there(path, feed.offered)


def test_a_write_that_cannot_be_synced_counts_as_none_and_is_made_again(tmp_path: Path) -> None:
    """The log has the rows, and nobody knows whether the disk does: LevelDB's handle takes no more, and a
    new one finds them or not."""
    path = tmp_path / "ledger"
    with TradeLedger.open(path) as ledger:
        feed = Feed(ledger)
        assert feed.step()
        outcome: list[object] = []

        def step_twice() -> list[bool]:
            refuse_to_sync()
            return [feed.step(), feed.step()]

        with asking(ledger) as answers:
            in_thread(step_twice, outcome).join(DEADLINE_S)
            if isinstance(outcome[0], pytest.skip.Exception):
                raise outcome[0]
            assert outcome == [[False, False]]
            assert "Input/output error" in (ledger.condition.error or "")
            assert ledger.condition.unwritten == 2 * BATCH
            before = len(answers)
            until(lambda: len(answers) > before + 2)
            assert answers[-1] == 3 * BATCH
            until(feed.step)
        assert ledger.condition.error is None
        assert ledger.condition.unwritten == 0
    assert_all_there(path, feed.offered)


def test_a_ledger_opens_on_a_full_disk_with_its_reserve(disk: Path) -> None:
    path = disk / "ledger"
    with TradeLedger.open(path) as ledger:
        assert ledger.keep_reserve()
        feed = Feed(ledger)
        assert feed.step()
    with full(disk), TradeLedger.open(path) as ledger:
        assert not (path / RESERVE).exists()
        assert len(ledger.trades("X", *WHOLE)) == BATCH
        feed = Feed(ledger)
        feed.offered = BATCH
        assert feed.step()
    assert_all_there(path, 2 * BATCH)


def test_the_reserve_is_made_given_up_and_made_again(disk: Path) -> None:
    path = disk / "ledger"
    with TradeLedger.open(path) as ledger:
        assert ledger.keep_reserve()
        size = (path / RESERVE).stat().st_size
        assert 2 << 20 < size <= (48 << 20) // 16
        assert ledger.keep_reserve()
        assert (path / RESERVE).stat().st_size == size
        assert ledger.bytes_on_disk < size
        feed = Feed(ledger)
        with full(disk):
            assert not feed.step(5_000)
            assert feed.step()
            assert not (path / RESERVE).exists()
            ledger.keep_reserve()  # as much as there is room for: next to nothing
            assert (path / RESERVE).stat().st_size < size // 4
        assert ledger.keep_reserve()
        assert (path / RESERVE).stat().st_size > size // 2


def test_a_ledger_closed_on_a_full_disk_says_so_and_lets_go(disk: Path) -> None:
    path = disk / "ledger"
    ledger = TradeLedger.open(path)
    feed = Feed(ledger)
    assert feed.step()
    with full(disk):
        ledger.append("X", many(BATCH + 1, 5_000))
        with pytest.raises(StoreUnavailable, match="No space left"):
            ledger.close()
        assert ledger.condition.unwritten == 5_000
    assert_all_there(path, BATCH)


def test_nothing_reopens_a_closed_ledger(tmp_path: Path) -> None:
    ledger = TradeLedger.open(tmp_path / "ledger")
    ledger.append("X", run_of(1, 10))
    ledger.close()
    ledger.append("X", run_of(11, 10))
    attempts: list[Callable[[], object]] = [
        ledger.flush,
        ledger.flush,
        ledger.compact,
        ledger.compact_seconds,
        lambda: ledger.seal(2 * START_MS),
        lambda: ledger.expire(2 * START_MS),
        lambda: ledger.shrink(0),
        lambda: ledger.checkpoint("x"),
        lambda: ledger.trades("X", *WHOLE),
    ]
    for attempt in attempts:
        with pytest.raises(LedgerError):
            attempt()
    with TradeLedger.open(tmp_path / "ledger") as again:
        assert len(again.trades("X", *WHOLE)) == 10


def in_thread(work: Callable[[], object], into: list[object]) -> threading.Thread:
    def run() -> None:
        try:
            into.append(work())
        except (Exception, pytest.skip.Exception) as error:
            into.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_reader_under_way_is_waited_for_when_the_handle_is_opened_anew(disk: Path) -> None:
    hour_ms = 3_600_000
    with TradeLedger.open(disk / "ledger") as ledger:
        ledger.append("Y", run_of(1, 200, step_ms=60_000))
        ledger.seal(2 * START_MS)
        feed = Feed(ledger)
        with full(disk):
            until(lambda: not feed.step())
        flushed: list[object] = []
        asked: list[object] = []
        with ledger.view("Y") as view:
            chunks = view.chunks(START_MS - hour_ms, START_MS + 10 * hour_ms)
            found = len(next(chunks))
            flushing = in_thread(ledger.flush, flushed)
            until(lambda: ledger._database._held_up)
            late = in_thread(lambda: len(ledger.trades("Y", *WHOLE)), asked)
            assert ledger.append("Y", run_of(201, 1, start_ms=START_MS)).new == 1  # nothing else waits
            found += sum(map(len, chunks))
            assert found == 200
            assert flushed == asked == []
        flushing.join(DEADLINE_S)
        late.join(DEADLINE_S)
        assert flushed == [feed.offered]
        assert asked == [201]


def test_closing_while_the_handle_waits_for_a_reader_ends_them_all(disk: Path) -> None:
    path = disk / "ledger"
    ledger = TradeLedger.open(path)
    ledger.append("Y", run_of(1, 200, step_ms=60_000))
    ledger.seal(2 * START_MS)
    feed = Feed(ledger)
    with full(disk):
        until(lambda: not feed.step())
    outcomes: list[list[object]] = [[], [], []]
    begun = threading.Event()

    def read_on() -> None:
        with ledger.view("Y") as view:
            begun.set()
            while True:
                view.trades(*WHOLE)

    threads = [in_thread(read_on, outcomes[0])]
    assert begun.wait(DEADLINE_S)
    threads.append(in_thread(ledger.flush, outcomes[1]))
    until(lambda: ledger._database._held_up)
    threads.append(in_thread(lambda: ledger.trades("Y", *WHOLE), outcomes[2]))
    ledger.close()
    for thread in threads:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    assert isinstance(outcomes[0][0], StoreUnavailable)
    assert outcomes[1] == [feed.offered]
    assert isinstance(outcomes[2][0], StoreUnavailable)
    assert_all_there_of(path, feed.offered)


def assert_all_there_of(path: Path, count: int) -> None:
    with TradeLedger.open(path) as ledger:
        assert len(ledger.trades("X", *WHOLE)) == count
        assert len(ledger.trades("Y", *WHOLE)) == 200


def test_rows_beyond_the_bound_are_refused_and_counted(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tapes_module, "MOST_UNWRITTEN", 1_000)
    with TradeLedger.open(disk / "ledger") as ledger:
        feed = Feed(ledger)
        assert feed.step()
        with full(disk):
            until(lambda: not feed.step() and ledger.condition.unwritten == 1_000)
            assert ledger.is_behind
            appended = ledger.append("X", many(feed.offered + 1, 30))
            assert (appended.new, appended.refused) == (0, 30)
            assert ledger.condition.refused == 30
        until(lambda: ledger.flush() >= 0)
        assert not ledger.is_behind
        assert ledger.append("X", many(feed.offered + 31, 1)).opened[0].missing == 30
        assert ledger.append("X", many(feed.offered + 1, 30)).new == 30
        assert ledger.gaps("X") == ()
