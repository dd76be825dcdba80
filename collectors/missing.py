"""What one symbol lacks, and which page of it may be asked for now.

Invariant: what is under way, was asked for in vain a moment ago, lies before REST's history or would be
deleted at once is not asked for; ids that REST lacked before have their own times.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from collectors.backfill import (
    Page,
    PutOff,
    is_overlap_alone,
    newest_page,
    not_answered,
    overlaps_next,
)
from collectors.certification import Rule
from collectors.clock import Clock
from storage.absences import Absence, span
from storage.held_ids import Run
from storage.keys import hour_of
from storage.ledger import TradeLedger
from storage.trades import Gap, IntArray

# Where history begins at REST is asked again after so long at the earliest, and believed for a day.
FLOOR_MS = 3_600_000
FLOOR_BELIEVED_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Floor:
    """The first id of a symbol that REST has, 0 where that says nothing, and when that was asked, steady."""

    first_id: int
    asked_ms: int


class Missing:
    """The missing ids of one symbol; `flying` are the pages of them under way."""

    def __init__(
        self, symbol: str, ledger: TradeLedger, clock: Clock, retention_ms: int | None, rule: Rule
    ) -> None:
        self.flying: list[Page] = []
        self.put_off = PutOff()
        self.floor: Floor | None = None
        self.overlaps = True
        self._symbol = symbol
        self._ledger = ledger
        self._clock = clock
        self._retention_ms = retention_ms
        self._rule = rule

    def gaps(self) -> list[Gap]:
        """What is missing, newest first: between the ids held, then below them."""
        history = self._ledger.history_wanted(self._symbol)
        return [*reversed(self._ledger.gaps(self._symbol)), *([history] if history is not None else [])]

    def page(self) -> Page | None:
        """The newest page to ask for, else ids that the exchange lacked and is to be asked for again."""
        now_ms = self._clock()
        absences = self._ledger.absences(self._symbol)
        busy = [page.run for page in self.flying] + self.put_off.until_later(self._clock.steady_ms())
        spoken_for = [*busy, *map(span, absences), *self._below_floor()]
        page = newest_page(self._symbol, self.gaps(), spoken_for, self._kept_from_ms())
        return replace(page, overlaps=self.overlaps) if page else self._due(absences, busy, now_ms)

    def answered(self, page: Page, ids: IntArray, now_ms: int, *, sound: bool) -> list[tuple[Run, int]]:
        """Note an answer, whose ids ascend: what it leaves open, and for how long that is left alone.

        What came as the overlap alone is asked for without it, at once.
        """
        if not page.known_absent:
            self.overlaps = overlaps_next(page, ids)
            if is_overlap_alone(page, ids):
                return []
        left = not_answered(page, ids, sound=sound)
        return list(zip(left, self.put_off.answered(page, left, now_ms), strict=True))

    def wanted(self) -> int:
        """How many ids are being fetched: those missing that REST has not just failed to serve."""
        given_up = [*self.put_off.runs, *map(span, self._ledger.absences(self._symbol))]
        given_up += self._below_floor()
        kept_from_ms = self._kept_from_ms()
        gaps = [gap for gap in self.gaps() if gap.state == "open" and gap.before_ms >= kept_from_ms]
        return sum(gap.missing - _common(gap, given_up) for gap in gaps)

    def out_of_reach(self) -> int:
        """How many ids between those held nobody can fetch: before REST's history, or too old to be kept."""
        kept_from_ms, below = self._kept_from_ms(), self._below_floor()
        return sum(
            gap.missing if gap.before_ms < kept_from_ms else _common(gap, below)
            for gap in self._ledger.gaps(self._symbol)
            if gap.state == "open"
        )

    def floor_is_fresh(self) -> bool:
        """Whether it was asked a short while ago where history begins."""
        return self.floor is not None and self._clock.steady_ms() - self.floor.asked_ms < FLOOR_MS

    def _due(self, absences: Sequence[Absence], busy: Sequence[Run], now_ms: int) -> Page | None:
        for absence in absences:
            ids = Gap(absence.first_id, absence.last_id, 0, 0)
            if self._rule.due_ms(absence) <= now_ms and not _common(ids, busy):
                last_ms = absence.above.time_ms
                return Page(self._symbol, absence.first_id, absence.last_id, last_ms, known_absent=True)
        return None

    def _below_floor(self) -> list[Run]:
        floor = self.floor
        if (
            floor is None
            or not floor.first_id
            or self._clock.steady_ms() - floor.asked_ms > FLOOR_BELIEVED_MS
        ):
            return []
        return [Run(0, floor.first_id - 1, 0, 0)]

    def _kept_from_ms(self) -> int:
        """From when on trades are not deleted at once: whole hours go."""
        return 0 if self._retention_ms is None else hour_of(self._clock() - self._retention_ms)


def _common(gap: Gap, runs: Sequence[Run]) -> int:
    """How many ids of a gap are in these runs, counted once where the runs overlap."""
    covered, until = 0, gap.first_id - 1
    for run in sorted(runs, key=lambda each: each.first_id):
        first_id, last_id = max(run.first_id, until + 1), min(run.last_id, gap.last_id)
        if last_id >= first_id:
            covered += last_id - first_id + 1
            until = last_id
    return covered
