"""What the log says of gaps: once when they open, once when they are gone, and how grave that is."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from collectors.exchange import VirtualClock
from collectors.gap_reports import GapReports
from collectors.posting import Posting
from collectors.recordings import Recordings
from storage.absences import Absence, Seen
from storage.ledger import TradeLedger
from tests.tapes import START_MS, run_of

from .parts import parts_of

HOUR_MS = 3_600_000
# The ledger's hours are whole ones.
AT_MS = START_MS // HOUR_MS * HOUR_MS


@dataclass
class Told:
    """A symbol X of which the ledger held the ids 1 to 10, and what is said of its gaps."""

    ledger: TradeLedger
    clock: VirtualClock
    reports: GapReports
    posting: Posting
    recordings: Recordings
    lines: list[Any]

    def links_bring(self, first_id: int, count: int, hours: float = 0) -> None:
        """And nothing before it, for as long as is waited for that."""
        recording = self.recordings.of("X")
        self.posting.accept(recording, run_of(first_id, count, start_ms=AT_MS + round(hours * HOUR_MS)))
        for _ in range(2):
            self.posting.settle(recording)

    def rest_brings(self, first_id: int, count: int) -> None:
        rows = run_of(first_id, count, start_ms=AT_MS)
        self.ledger.append("X", rows)
        self.reports.brought("X", "rest", rows)

    def look(self) -> list[tuple[Any, ...]]:
        """What has been said since the last call."""
        self.clock.advance(1_000)
        self.reports.look_at("X")
        names = ("log_level", "event", "first_id", "last_id")
        said = [tuple(line[name] for name in names) for line in self.lines if line["log_level"] != "debug"]
        self.lines.clear()
        return said


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    clock = VirtualClock(AT_MS, speed=0)
    with TradeLedger.open(tmp_path / "l") as ledger, capture_logs() as lines:
        ledger.append("X", run_of(1, 10, start_ms=AT_MS))
        it = parts_of(["X"], ledger, clock)
        yield Told(ledger, clock, it.reports, it.posting, it.recordings, lines)


def test_what_was_missed_before_the_start_is_no_warning_and_what_is_lost_after_it_is(told: Told) -> None:
    told.links_bring(21, 10)
    assert told.look() == [("info", "gap opened", 11, 20)]
    told.links_bring(41, 10)
    assert told.look() == [("warning", "gap opened", 31, 40)]
    assert told.look() == []


def test_who_filled_a_gap_is_told_once(told: Told) -> None:
    told.links_bring(21, 10)
    told.look()
    told.rest_brings(11, 6)
    told.links_bring(17, 4)
    told.clock.advance(500)
    told.reports.look_at("X")
    (line,) = told.lines
    assert (line["event"], line["ids"], line["open_s"]) == ("gap filled", 10, 1.5)
    assert line["by"] == {"rest": 6, "stream": 4}
    told.lines.clear()
    assert told.look() == []
    assert told.reports.counts("X").filled == 1


def test_ids_that_the_exchange_lacks_are_a_warning_and_so_are_those_that_come_after_all(told: Told) -> None:
    told.links_bring(21, 10)
    told.look()
    seen = Seen(10, AT_MS), Seen(21, AT_MS)
    told.ledger.keep_absence("X", Absence(11, 20, *seen, AT_MS, AT_MS, 10, "certified"))
    assert told.look() == [("warning", "gap certified", 11, 20)]
    told.rest_brings(11, 2)
    assert told.look() == [("warning", "certified ids came", 11, 20)]


def test_a_gap_whose_time_is_deleted_has_expired_and_is_not_called_filled(told: Told) -> None:
    told.links_bring(21, 10)
    told.links_bring(31, 10, hours=1.5)
    told.look()
    for _ in range(2):
        told.ledger.seal(AT_MS + 10 * HOUR_MS)
    told.ledger.expire(AT_MS + HOUR_MS)
    assert told.look() == [("info", "gap expired", 11, 20)]
    assert told.reports.counts("X").filled == 0


def test_what_is_waited_for_at_the_end_is_waited_for_no_more(told: Told) -> None:
    told.posting.accept(told.recordings.of("X"), run_of(21, 10))
    assert told.ledger.rows("X") == 10
    told.posting.drain()
    assert told.ledger.rows("X") == 20
