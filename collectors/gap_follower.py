"""What became of one symbol's gaps: when each opened, when it was gone, and by whom its ids came.

Invariant: of every id that was missing in a gap it is told once who closed it. No I/O and no clock.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from storage.held_ids import HeldIds, Run
from storage.trades import Gap

Source = Literal["stream", "rest"]
# `archive`: rows that another process offered, of dumps as a rule; `certified`: the exchange has none;
# `expired`: not missing any more because what lay below is deleted.
Closer = Literal["stream", "rest", "archive", "certified", "expired"]
CLOSERS: tuple[Closer, ...] = ("stream", "rest", "archive", "certified", "expired")


@dataclass(frozen=True, slots=True)
class Opened:
    """A gap that was seen first now."""

    gap: Gap


@dataclass(frozen=True, slots=True)
class Closed:
    """A gap that is open no more, after `open_ms`; `by` says how many of its ids each one closed."""

    gap: Gap
    open_ms: int
    by: Mapping[Closer, int]


@dataclass(frozen=True, slots=True)
class Recovered:
    """`ids` of a certified gap came after all."""

    gap: Gap
    ids: int


Change = Opened | Closed | Recovered


@dataclass(frozen=True, slots=True)
class GapCounts:
    """Since the start: gaps that opened, were filled, or were certified at least in part; certified ids that
    came after all; ids of gaps by who closed them."""

    opened: int = 0
    filled: int = 0
    certified: int = 0
    recovered_ids: int = 0
    closed_ids: Mapping[Closer, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Followed:
    """A gap since it was seen, and its ids that nobody has brought yet; `history` was never lost: it had not
    been fetched yet."""

    gap: Gap
    since_ms: int
    history: bool
    left: HeldIds
    by: Counter[Closer] = field(default_factory=Counter)

    def brought(self, by: Closer, first_id: int, last_id: int) -> None:
        before = _ids(self.left.runs)
        self.left.remove(Run(first_id, last_id, 0, 0))
        self.by[by] += before - _ids(self.left.runs)


class GapFollower:
    """Told of what opens and what comes, it looks at the gaps now and then."""

    def __init__(self) -> None:
        self._open: list[_Followed] = []  # none overlaps another; in id order
        self._certified: Sequence[Gap] = ()
        self._history_to = -1
        self._happened = Counter[str]()
        self._closed_ids = Counter[Closer]()

    @property
    def counts(self) -> GapCounts:
        happened = self._happened
        return GapCounts(
            happened["opened"],
            happened["filled"],
            happened["certified"],
            happened["recovered"],
            {by: ids for by, ids in dict(self._closed_ids).items() if ids},
        )

    @property
    def is_following(self) -> bool:
        """Whether any gap is open."""
        return bool(self._open)

    def opened(self, gap: Gap, now_ms: int) -> bool:
        """Follow a gap from now on, unless it is followed or part of one that is; whether it is news."""
        at = bisect_left(self._open, gap.first_id, key=_last_id)
        if at < len(self._open) and self._open[at].gap.first_id <= gap.last_id:
            return False
        history = gap.last_id <= self._history_to
        left = HeldIds([Run(gap.first_id, gap.last_id, 0, 0)])
        insort(self._open, _Followed(gap, now_ms, history, left), key=_last_id)
        self._happened["opened"] += not history
        return not history

    def brought(self, by: Source, runs: Iterable[Run]) -> None:
        """The ledger has taken in these rows."""
        for run in runs:
            at = bisect_left(self._open, run.first_id, key=_last_id)
            while at < len(self._open) and self._open[at].gap.first_id <= run.last_id:
                self._open[at].brought(by, run.first_id, run.last_id)
                at += 1

    def look(
        self, gaps: Iterable[Gap], oldest_id: int, now_ms: int, history: Gap | None = None
    ) -> list[Change]:
        """What has changed since the last look; certified gaps found by the first one are no news.

        `gaps` in id order; `oldest_id` is the oldest one held. `history` is still to come below all that is
        held; gaps in it are pages that overtook others.
        """
        gaps = list(gaps)
        open_now = [gap for gap in gaps if gap.state == "open"]
        certified_now = [gap for gap in gaps if gap.state == "certified"]
        self._history_to = max(self._history_to, history.last_id if history is not None else -1)
        changes: list[Change] = [
            *self._gone(open_now, certified_now, oldest_id, now_ms),
            *self._recovered(open_now, certified_now, oldest_id),
            *(Opened(gap) for gap in open_now if self.opened(gap, now_ms)),
        ]
        self._certified = certified_now
        return changes

    def _gone(
        self, open_now: Sequence[Gap], certified_now: Sequence[Gap], oldest_id: int, now_ms: int
    ) -> Iterator[Closed]:
        followed, self._open = self._open, []
        for known in followed:
            open_ids = _common(known.gap, open_now)
            if open_ids < _ids(known.left.runs):
                _attribute(known, open_now, certified_now, oldest_id)
            if open_ids:
                self._open.append(known)
            elif known.by["certified"] or not known.history:
                self._closed_ids.update(known.by)
                self._happened["certified"] += known.by["certified"] > 0
                self._happened["filled"] += not known.by["certified"] and not known.by["expired"]
                yield Closed(known.gap, now_ms - known.since_ms, dict(+known.by))

    def _recovered(
        self, open_now: Sequence[Gap], certified_now: Sequence[Gap], oldest_id: int
    ) -> Iterator[Recovered]:
        """Of certified gaps what is neither missing any more nor deleted."""
        if certified_now == self._certified:
            return
        for gap in self._certified:
            if gap.last_id < oldest_id:
                continue
            kept = replace(gap, first_id=max(gap.first_id, oldest_id))
            came = kept.missing - _common(kept, certified_now) - _common(kept, open_now)
            if came:
                self._happened["recovered"] += came
                yield Recovered(gap, came)


def _attribute(known: _Followed, open_now: Sequence[Gap], certified: Sequence[Gap], oldest_id: int) -> None:
    """Of the ids that neither stream nor REST brought and that are not open: what became of them."""
    first_id, last_id = known.gap.first_id, known.gap.last_id
    for gap in _overlapping(first_id, last_id, certified):
        known.brought("certified", gap.first_id, gap.last_id)
    known.brought("expired", first_id, oldest_id - 1)
    came = HeldIds(known.left.runs)
    for gap in _overlapping(first_id, last_id, open_now):
        came.remove(Run(gap.first_id, gap.last_id, 0, 0))
    for run in came.runs:
        known.brought("archive", run.first_id, run.last_id)


def _last_id(known: _Followed) -> int:
    return known.gap.last_id


def _ids(runs: Iterable[Run]) -> int:
    return sum(run.last_id - run.first_id + 1 for run in runs)


def _overlapping(first_id: int, last_id: int, others: Sequence[Gap]) -> Iterator[Gap]:
    """Of gaps in id order those that share an id with first_id..last_id."""
    at = bisect_left(others, first_id, key=lambda gap: gap.last_id)
    while at < len(others) and others[at].first_id <= last_id:
        yield others[at]
        at += 1


def _common(gap: Gap, others: Sequence[Gap]) -> int:
    """How many ids a gap has in common with others, which are in id order and have none with each other."""
    return sum(
        min(gap.last_id, other.last_id) - max(gap.first_id, other.first_id) + 1
        for other in _overlapping(gap.first_id, gap.last_id, others)
    )
