"""Which trades of a window are held, which are missing, and of which time nobody knows.

Invariant: what is said follows from the runs of ids held, the certified absences and counts of rows alone.
Source: definitions.md section 6.

`live_until_ms` is everywhere the time up to which a live link vouches that no trade is unknown; None where
there is no such link.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from storage.absences import known_runs
from storage.held import Held
from storage.held_ids import Run, latest, uncovered_ms
from storage.rollups import Rollup
from storage.trades import Coverage, Gap, GapState, TradeColumns


@dataclass(frozen=True, slots=True)
class Count:
    """How many rows a part of a window holds, and its ends by id, each with its trade time."""

    rows: int
    valid: int
    first: tuple[int, int]
    last: tuple[int, int]

    @classmethod
    def of_block(cls, rollup: Rollup) -> Self:
        first, last = (rollup.first_id, rollup.first_ms), (rollup.last_id, rollup.last_ms)
        return cls(rollup.rows, rollup.valid, first, last)

    @classmethod
    def of_rows(cls, rows: TradeColumns) -> Self:
        """Of rows with ids ascending, at least one."""
        first, last = ((int(rows.id[at]), int(rows.time_ms[at])) for at in (0, -1))
        return cls(len(rows), int(rows.valid.sum()), first, last)


def coverage_of(
    held: Held, counts: Iterable[Count], start_ms: int, end_ms: int, live_until_ms: int | None
) -> Coverage:
    """Coverage of [start_ms, end_ms), of which `counts` count all rows."""
    counts = list(counts)
    rows, valid = sum(count.rows for count in counts), sum(count.valid for count in counts)
    first_id, first_ms = min((count.first for count in counts), default=(None, None))
    last_id, last_ms = max((count.last for count in counts), default=(None, None))
    gaps = tuple(
        gap
        for gap in held.gaps()
        if _touches(gap, start_ms, end_ms)
        # T steps back at times: what lies among the ids is missing there all the same.
        or (first_id is not None and last_id is not None and first_id < gap.first_id < last_id)
    )
    return Coverage(
        start_ms,
        end_ms,
        trades=valid,
        missing=_missing(gaps, "open", first_id, last_id),
        certified=rows - valid + _missing(gaps, "certified", first_id, last_id),
        invalid=rows - valid,
        gaps=gaps,
        first_ms=first_ms,
        last_ms=last_ms,
        first_id=first_id,
        last_id=last_id,
        uncovered_ms=uncovered_ms(runs_known(held, live_until_ms), start_ms, end_ms),
    )


def runs_known(held: Held, live_until_ms: int | None) -> tuple[Run, ...]:
    """The runs of which no trade is unknown, the newest one up to where a live link vouches for it."""
    runs = known_runs(held.runs, held.gaps())
    newest = latest(runs)
    if newest is None or live_until_ms is None:
        return runs
    reaching = replace(newest, last_ms=max(newest.last_ms, live_until_ms - 1))
    return tuple(reaching if run is newest else run for run in runs)


def is_covered(held: Held, start_ms: int, end_ms: int) -> bool:
    """Whether nothing of [start_ms, end_ms) is missing, as the runs tell it."""
    missing = (_touches(gap, start_ms, end_ms) for gap in held.gaps() if gap.state == "open")
    return not any(missing) and uncovered_ms(runs_known(held, None), start_ms, end_ms) == 0


def _touches(gap: Gap, start_ms: int, end_ms: int) -> bool:
    return gap.after_ms < end_ms and gap.before_ms >= start_ms


def _missing(gaps: Sequence[Gap], state: GapState, first_id: int | None, last_id: int | None) -> int:
    """How many ids of the gaps in this state lie within first_id..last_id."""
    if first_id is None or last_id is None:
        return 0
    spans = [(max(gap.first_id, first_id), min(gap.last_id, last_id)) for gap in gaps if gap.state == state]
    return sum(max(0, last - first + 1) for first, last in spans)
