"""Gaps that opened while a symbol was live, until they are closed: how long that took, and by whom.

Invariant: a gap is told of once when it opens and once when it is closed. No I/O and no clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from storage.held_ids import Run
from storage.trades import Gap, IntArray

# So many are followed at a time; a symbol that has more has worse to tell.
MOST_FOLLOWED = 100


@dataclass(slots=True)
class _Open:
    gap: Gap
    since_ms: int
    by_links: int = 0


@dataclass(frozen=True, slots=True)
class Healed:
    """A gap that is none any more."""

    first_id: int
    last_id: int
    missing: int
    after_ms: int
    by: Literal["link", "rest", "both"]


class OpenGaps:
    """Those of one symbol."""

    def __init__(self) -> None:
        self._open: list[_Open] = []

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, gap: Gap, now_ms: int) -> None:
        if len(self._open) < MOST_FOLLOWED:
            self._open.append(_Open(gap, now_ms))

    def brought(self, ids: IntArray) -> None:
        """Links brought these ids, late."""
        for each in self._open:
            inside = (ids >= each.gap.first_id) & (ids <= each.gap.last_id)
            each.by_links += int(np.count_nonzero(inside))

    def healed(self, runs: Sequence[Run], now_ms: int) -> list[Healed]:
        """Those that are closed, by the ids that are held now."""
        closed = [each for each in self._open if _is_held(runs, each.gap)]
        self._open = [each for each in self._open if each not in closed]
        return [_healed(each, now_ms) for each in closed]


def _is_held(runs: Sequence[Run], gap: Gap) -> bool:
    return any(run.first_id <= gap.first_id and gap.last_id <= run.last_id for run in runs)


def _healed(each: _Open, now_ms: int) -> Healed:
    by: Literal["link", "rest", "both"] = "both"
    if each.by_links == 0:
        by = "rest"
    elif each.by_links >= each.gap.missing:
        by = "link"
    gap = each.gap
    return Healed(gap.first_id, gap.last_id, gap.missing, now_ms - each.since_ms, by)
