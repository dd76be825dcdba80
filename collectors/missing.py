"""What one symbol lacks, and which page of it may be asked for now.

Invariant: what is under way, was asked for in vain a moment ago, lies before REST's history or would be
deleted at once is not asked for; ids that REST lacked before have their own times.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from collectors.backfill import (
    Page,
    common_ids,
    is_overlap_alone,
    newest_page,
    not_answered,
    overlaps_next,
)
from collectors.certification import Rule
from collectors.clock import Clock
from collectors.put_off import PutOff
from storage.absences import Absence, span
from storage.held_ids import HeldIds, Run
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
        now_ms = self._clock.steady_ms()
        absences = self._ledger.absences(self._symbol)
        flying, in_vain = [page.run for page in self.flying], self.put_off.pages(now_ms)
        busy = [*flying, *in_vain, *self.put_off.beyond_end(now_ms, flying)]
        spoken_for = [*busy, *map(span, absences), *self._below_floor()]
        kept_from_ms = self._kept_from_ms()
        page = newest_page(self._symbol, self.gaps(), spoken_for, kept_from_ms, in_vain=in_vain)
        return replace(page, overlaps=self.overlaps) if page else self._due(absences, busy)

    def answered(self, page: Page, ids: IntArray, *, sound: bool) -> list[tuple[Run, int]]:
        """Note an answer with rows, whose ids ascend: what it leaves open, and for how long that is left
        alone.

        What came as the overlap alone is asked for without it, at once.
        """
        end_id = self.put_off.end_id
        if end_id is not None and page.last_id >= end_id:  # below it the head would be chased page by page
            self.put_off.shows(int(ids[-1]))
        if not page.known_absent:
            self.overlaps = overlaps_next(page, ids)
            if is_overlap_alone(page, ids):
                return []
        return self._put_off(page, not_answered(page, ids, sound=sound))

    def answered_empty(self, page: Page, newest_id: int | None) -> list[tuple[Run, int]]:
        """Note an answer without any row: REST shows nothing from the page on, nor beyond `newest_id` where
        that was asked. What is left alone, and for how long."""
        end_id = page.first_id if newest_id is None else newest_id + 1
        if end_id > page.last_id:  # it has come on meanwhile, or contradicts itself
            return self._put_off(page, [page.run])
        delay_ms = self.put_off.ends_at(end_id, self._clock.steady_ms())
        return [(replace(page.run, first_id=min(end_id, page.first_id)), delay_ms)]

    def _put_off(self, page: Page, left: Sequence[Run]) -> list[tuple[Run, int]]:
        delays_ms = self.put_off.answered(page.run, left, self._clock.steady_ms())
        return list(zip(left, delays_ms, strict=True))

    def wanted(self) -> int:
        """How many ids are being fetched: those missing that REST has not just failed to serve."""
        absences = map(span, self._ledger.absences(self._symbol))
        given_up = HeldIds([*self.put_off.runs, *absences, *self._below_floor()]).runs
        kept_from_ms = self._kept_from_ms()
        gaps = [gap for gap in self.gaps() if gap.state == "open" and gap.before_ms >= kept_from_ms]
        return sum(gap.missing - common_ids(gap, given_up) for gap in gaps)

    def out_of_reach(self) -> int:
        """How many ids between those held nobody can fetch: before REST's history, or too old to be kept."""
        kept_from_ms, below = self._kept_from_ms(), self._below_floor()
        return sum(
            gap.missing if gap.before_ms < kept_from_ms else common_ids(gap, below)
            for gap in self._ledger.gaps(self._symbol)
            if gap.state == "open"
        )

    def floor_is_fresh(self) -> bool:
        """Whether it was asked a short while ago where history begins."""
        return self.floor is not None and self._clock.steady_ms() - self.floor.asked_ms < FLOOR_MS

    def _due(self, absences: Sequence[Absence], busy: Sequence[Run]) -> Page | None:
        now_ms, busy = self._clock(), HeldIds(busy).runs
        for absence in absences:
            ids = Gap(absence.first_id, absence.last_id, 0, 0)
            if self._rule.due_ms(absence) <= now_ms and not common_ids(ids, busy):
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
