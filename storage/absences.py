"""Ids that the exchange was asked for and lacks between rows that it has, and those certified missing.

Invariant: no id of an absence is held; where a row and an absence contradict each other the row counts, and
what is left of the absence keeps its proof.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from storage.held_ids import HeldIds, Run
from storage.trades import Gap, GapState


@dataclass(frozen=True, slots=True)
class Seen:
    """A row that the exchange showed: its id, and its trade time (UTC ms)."""

    id: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class Absence:
    """The ids first_id..last_id, which the exchange lacked each of `asked` times between the first and the
    last one (UTC ms), while it showed the rows `below` and `above`, the nearest ones then.

    `open` until it was asked often enough, then `certified`.
    """

    first_id: int
    last_id: int
    below: Seen
    above: Seen
    first_asked_ms: int
    last_asked_ms: int
    asked: int
    state: GapState = "open"

    @property
    def missing(self) -> int:
        return self.last_id - self.first_id + 1

    def without(self, run: Run) -> Iterator["Absence"]:
        """What is left of it once the rows of a run have come."""
        if run.last_id < self.first_id or run.first_id > self.last_id:
            yield self
            return
        if run.first_id > self.first_id:
            yield replace(self, last_id=run.first_id - 1)
        if run.last_id < self.last_id:
            yield replace(self, first_id=run.last_id + 1)


def unheld(absence: Absence, runs: Iterable[Run]) -> list[Absence]:
    """The parts of an absence of which no row is held."""
    parts = [absence]
    for run in runs:
        parts = [left for part in parts for left in part.without(run)]
    return parts


class Absences:
    """The absences of one symbol, none overlapping another, and which of them await a write."""

    def __init__(self, known: Iterable[Absence] = ()) -> None:
        self._known = {absence.first_id: absence for absence in known}
        self.changed: set[int] = set()

    def __iter__(self) -> Iterator[Absence]:
        """In id order."""
        return iter(sorted(self._known.values(), key=lambda absence: absence.first_id))

    def __len__(self) -> int:
        return len(self._known)

    def get(self, first_id: int) -> Absence | None:
        return self._known.get(first_id)

    def put(self, absence: Absence, runs: Sequence[Run], oldest_id: int) -> None:
        """Keep an absence in place of those that it overlaps, as far as it lies between `oldest_id` and the
        newest id held, and in none of the runs held."""
        self._replace(span(absence), _within(absence, runs, oldest_id))

    def came(self, run: Run) -> None:
        """The rows of a run are held now."""
        for absence in self._touching(run):
            self._replace(span(absence), list(absence.without(run)))

    def forget_through(self, last_id: int) -> list[int]:
        """Drop those that end at or before an id; the names of their records."""
        gone = [absence.first_id for absence in self if absence.last_id <= last_id]
        for first_id in gone:
            del self._known[first_id]
        self.changed -= set(gone)
        return gone

    def hold(self, runs: Sequence[Run], oldest_id: int) -> None:
        """Of each absence keep what `put` would."""
        for absence in self:
            parts = _within(absence, runs, oldest_id)
            if parts != [absence]:
                self._replace(span(absence), parts)

    def _touching(self, run: Run) -> list[Absence]:
        return [
            absence
            for absence in self._known.values()
            if absence.first_id <= run.last_id and absence.last_id >= run.first_id
        ]

    def _replace(self, gone: Run, parts: Iterable[Absence]) -> None:
        for absence in self._touching(gone):
            del self._known[absence.first_id]
            self.changed.add(absence.first_id)
        for part in parts:
            self._known[part.first_id] = part
            self.changed.add(part.first_id)


def _within(absence: Absence, runs: Sequence[Run], oldest_id: int) -> list[Absence]:
    return [
        part
        for part in unheld(absence, runs)
        if runs and oldest_id <= part.first_id and part.last_id < runs[-1].last_id
    ]


def span(absence: Absence) -> Run:
    """Its ids; the times are those of the rows on either side."""
    return Run(absence.first_id, absence.last_id, absence.below.time_ms, absence.above.time_ms)


def by_state(gaps: Iterable[Gap], absences: Sequence[Absence]) -> Iterator[Gap]:
    """The gaps, each one's certified parts apart, in id order within a gap.

    `absences` are the certified ones, in id order.
    """
    if not absences:
        yield from gaps
        return
    lasts = [absence.last_id for absence in absences]
    for gap in gaps:
        at = bisect_left(lasts, gap.first_id)
        next_id = gap.first_id
        while at < len(absences) and absences[at].first_id <= gap.last_id:
            first_id, last_id = absences[at].first_id, absences[at].last_id
            while at + 1 < len(absences) and absences[at + 1].first_id == last_id + 1:
                at += 1
                last_id = absences[at].last_id
            if next_id < first_id:
                yield replace(gap, first_id=next_id, last_id=first_id - 1)
            yield replace(gap, first_id=first_id, last_id=last_id, state="certified")
            next_id, at = last_id + 1, at + 1
        if next_id <= gap.last_id:
            yield replace(gap, first_id=next_id)


def known_runs(runs: tuple[Run, ...], gaps: Iterable[Gap]) -> tuple[Run, ...]:
    """The runs with certified gaps counted to them: in their time no trade is unknown.

    A certified part beside an open one adds no time: which of the two the time belongs to, nobody knows.
    """
    certified = [gap for gap in gaps if gap.state == "certified"]
    if not certified:
        return runs
    known = HeldIds(runs)
    starts = {run.first_id for run in runs}
    for gap in certified:
        first_ms = gap.before_ms if gap.last_id + 1 in starts else gap.after_ms
        known.add(Run(gap.first_id, gap.last_id, first_ms, gap.after_ms))
    return known.runs
