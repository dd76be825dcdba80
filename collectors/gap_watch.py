"""What became of one symbol's gaps between two looks: opened, filled, certified, come after all.

Invariant: every id that was missing in an open gap is told of once when its gap is gone. No I/O, no clock.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from storage.trades import Gap, GapState

Happened = Literal["opened", "filled", "certified", "recovered"]


@dataclass(frozen=True, slots=True)
class Change:
    """Something happened to the gap first_id..last_id: `ids` of it were concerned; an open gap that is gone
    was open for `open_ms`."""

    happened: Happened
    first_id: int
    last_id: int
    ids: int
    open_ms: int = 0


@dataclass(frozen=True, slots=True)
class GapCounts:
    """Since the start: gaps that opened, were filled, or were certified at least in part; certified ids that
    came after all."""

    opened: int = 0
    filled: int = 0
    certified: int = 0
    recovered_ids: int = 0


@dataclass(frozen=True, slots=True)
class _Known:
    """An open gap since it was seen; `history` was never lost: it had not been fetched yet."""

    gap: Gap
    since_ms: int
    history: bool


class GapWatch:
    """Looks at the gaps now and then."""

    def __init__(self) -> None:
        self._open: list[_Known] = []
        self._certified: list[Gap] = []
        self._history_to = -1
        self._counts = dict.fromkeys(("opened", "filled", "certified", "recovered"), 0)

    @property
    def counts(self) -> GapCounts:
        return GapCounts(*self._counts.values())

    def look(self, gaps: Iterable[Gap], now_ms: int, history: Gap | None = None) -> list[Change]:
        """What has changed since the last look; certified gaps found by the first one are no news.

        `history` is still to come below all that is held; gaps in it are pages that overtook others.
        """
        by_state: dict[GapState, list[Gap]] = {"open": [], "certified": []}
        for gap in gaps:
            by_state[gap.state].append(gap)
        open_now, certified_now = by_state["open"], by_state["certified"]
        self._history_to = max(self._history_to, history.last_id if history is not None else -1)
        changes = [
            *self._gone(open_now, certified_now, now_ms),
            *self._recovered(open_now, certified_now),
            *self._opened(open_now, now_ms),
        ]
        self._certified = certified_now
        for change in changes:
            self._counts[change.happened] += change.ids if change.happened == "recovered" else 1
        return changes

    def _gone(self, open_now: list[Gap], certified_now: list[Gap], now_ms: int) -> Iterator[Change]:
        gone = [known for known in self._open if not _common(known.gap, open_now)]
        self._open = [known for known in self._open if known not in gone]
        for known in gone:
            gap, open_ms = known.gap, now_ms - known.since_ms
            if certified := _common(gap, certified_now):
                yield Change("certified", gap.first_id, gap.last_id, certified, open_ms)
            elif not known.history:
                yield Change("filled", gap.first_id, gap.last_id, gap.missing, open_ms)

    def _recovered(self, open_now: list[Gap], certified_now: list[Gap]) -> Iterator[Change]:
        for gap in self._certified:
            came = gap.missing - _common(gap, certified_now) - _common(gap, open_now)
            if came:
                yield Change("recovered", gap.first_id, gap.last_id, came)

    def _opened(self, open_now: list[Gap], now_ms: int) -> Iterator[Change]:
        seen = [known.gap for known in self._open]
        for gap in open_now:
            if _common(gap, seen):
                continue
            history = gap.last_id <= self._history_to
            self._open.append(_Known(gap, now_ms, history))
            if not history:
                yield Change("opened", gap.first_id, gap.last_id, gap.missing)


def _common(gap: Gap, others: Sequence[Gap]) -> int:
    """How many ids a gap has in common with others, which have none with each other."""
    spans = ((max(gap.first_id, other.first_id), min(gap.last_id, other.last_id)) for other in others)
    return sum(max(0, last - first + 1) for first, last in spans)
