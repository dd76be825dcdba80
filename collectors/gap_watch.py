"""What became of one symbol's gaps between two looks: opened, filled, certified, come after all.

Invariant: every id that was missing in an open gap is told of once when its gap is gone. No I/O, no clock.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from storage.trades import Gap

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


class GapWatch:
    """Looks at the gaps now and then."""

    def __init__(self) -> None:
        self._open: list[tuple[Gap, int]] = []
        self._certified: list[Gap] | None = None
        self._counts = dict.fromkeys(("opened", "filled", "certified", "recovered"), 0)

    @property
    def counts(self) -> GapCounts:
        return GapCounts(*self._counts.values())

    def look(self, gaps: Iterable[Gap], now_ms: int) -> list[Change]:
        """What has changed since the last look; certified gaps found by the first one are no news."""
        by_state: dict[str, list[Gap]] = {"open": [], "certified": []}
        for gap in gaps:
            by_state[gap.state].append(gap)
        open_now, certified_now = by_state["open"], by_state["certified"]
        changes = [
            *self._gone(open_now, certified_now, now_ms),
            *self._recovered(open_now, certified_now),
            *self._opened(open_now, now_ms),
        ]
        self._certified = certified_now
        for change in changes:
            self._counts[change.happened] += change.ids if change.happened == "recovered" else 1
        return changes

    def _gone(self, open_now: list[Gap], certified_now: list[Gap], now_ms: int) -> list[Change]:
        changes, still = [], []
        for gap, since_ms in self._open:
            if _common(gap, open_now):
                still.append((gap, since_ms))
                continue
            certified = _common(gap, certified_now)
            happened: Happened = "certified" if certified else "filled"
            ids = certified or gap.missing
            changes.append(Change(happened, gap.first_id, gap.last_id, ids, now_ms - since_ms))
        self._open = still
        return changes

    def _recovered(self, open_now: list[Gap], certified_now: list[Gap]) -> list[Change]:
        changes = []
        for gap in self._certified or []:
            came = gap.missing - _common(gap, certified_now) - _common(gap, open_now)
            if came:
                changes.append(Change("recovered", gap.first_id, gap.last_id, came))
        return changes

    def _opened(self, open_now: list[Gap], now_ms: int) -> list[Change]:
        known = [gap for gap, _ in self._open]
        new = [gap for gap in open_now if not _common(gap, known)]
        self._open += [(gap, now_ms) for gap in new]
        return [Change("opened", gap.first_id, gap.last_id, gap.missing) for gap in new]


def _common(gap: Gap, others: Sequence[Gap]) -> int:
    """How many ids a gap has in common with others, which have none with each other."""
    spans = ((max(gap.first_id, other.first_id), min(gap.last_id, other.last_id)) for other in others)
    return sum(max(0, last - first + 1) for first, last in spans)
