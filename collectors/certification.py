"""What a page of REST proves about ids that it leaves out, and when that is proof enough.

Invariant: only ids between two rows of one sound page count as lacking. An empty answer, the page that jumps
ahead to where history begins, a head that lags prove nothing. No I/O and no clock.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from storage.absences import Absence, Seen, span, unheld
from storage.trades import TradeColumns

FIRST_WAIT_MS = 1_000
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Rule:
    """Ids are certified missing once the exchange lacked them `tries` times over `over_ms` at least.

    Certified ones are asked for again every `again_ms`: some come late.
    """

    tries: int = 10
    over_ms: int = 30 * 60_000
    again_ms: int = DAY_MS

    def met_by(self, absence: Absence) -> bool:
        return absence.asked >= self.tries and absence.last_asked_ms - absence.first_asked_ms >= self.over_ms

    def due_ms(self, absence: Absence) -> int:
        """When to ask for it again: after a second, then ever later up to a sixth of the time of proof."""
        if absence.state == "certified":
            return absence.last_asked_ms + self.again_ms
        wait_ms: int = FIRST_WAIT_MS << min(absence.asked - 1, 30)
        return absence.last_asked_ms + min(wait_ms, self.over_ms // 6)


def lacking(rows: TradeColumns, now_ms: int) -> Iterator[Absence]:
    """The ids that a page, in id order, leaves out between its rows; asked for once, at `now_ms`."""
    for at in np.flatnonzero(np.diff(rows.id) > 1).tolist():
        below, above = (Seen(int(rows.id[i]), int(rows.time_ms[i])) for i in (at, at + 1))
        yield Absence(below.id + 1, above.id - 1, below, above, now_ms, now_ms, asked=1)


def after_asking(known: Sequence[Absence], found: Absence, rule: Rule) -> Iterator[Absence]:
    """What is known once the exchange lacked the ids of `found` (again); `known` is what was known before.

    Known absences that `found` does not hold as a whole were not asked for, and stay as they are.
    """
    confirmed = [each for each in known if found.first_id <= each.first_id and each.last_id <= found.last_id]
    for each in confirmed:
        asked = replace(
            each,
            below=found.below,
            above=found.above,
            last_asked_ms=found.last_asked_ms,
            asked=each.asked + 1,
        )
        yield replace(asked, state="certified") if rule.met_by(asked) else asked
    yield from (
        replace(each, below=found.below, above=found.above) for each in unheld(found, map(span, known))
    )
