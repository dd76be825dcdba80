"""What is held of one symbol at one instant, and which of its hours a window touches; reads nothing.

Invariant: it stands for its instant. What is appended, sealed or deleted later is not in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from storage import keys
from storage.absences import Absence, by_state
from storage.held_ids import Run, gaps_between
from storage.rollups import Rollup
from storage.trades import Gap, TradeColumns


@dataclass(frozen=True, slots=True)
class Held:
    """What a symbol's tape holds at one instant, the sealed rows themselves left on disk.

    `sealed` has the rollups of an hour's blocks by part and `open` the rows of an hour that are in no block,
    both by the hour's start in UTC milliseconds. `certified` are ids that the exchange has none for.
    """

    runs: tuple[Run, ...]
    sealed: Mapping[int, Mapping[int, Rollup]]
    open: Mapping[int, Sequence[TradeColumns]]
    certified: tuple[Absence, ...] = ()

    def gaps(self) -> Iterator[Gap]:
        """The ids missing between the oldest and the newest one held, those certified apart."""
        return by_state(gaps_between(self.runs), self.certified)

    def hours(self, start_ms: int, end_ms: int) -> list[int]:
        """The hours that hold rows and touch the window, in order."""
        touching = range(keys.hour_of(start_ms), end_ms)
        return sorted(hour for hour in self.sealed.keys() | self.open.keys() if hour in touching)

    def is_whole(self, hour_ms: int, start_ms: int, end_ms: int) -> bool:
        """Whether all rows of an hour lie in the window: of one in memory the rows themselves tell."""
        if start_ms > hour_ms or hour_ms in self.sealed:
            return start_ms <= hour_ms and hour_ms + keys.HOUR_MS <= end_ms
        return all(int(part.time_ms.max()) < end_ms for part in self.open_rows(hour_ms))

    def rollups(self, hour_ms: int) -> list[Rollup]:
        return list(self.sealed.get(hour_ms, {}).values())

    def open_rows(self, hour_ms: int) -> Sequence[TradeColumns]:
        """The rows of an hour that are in memory, in parts, ids ascending within each."""
        return self.open.get(hour_ms, ())

    def oldest_id(self, hour_ms: int) -> int:
        sealed = [rollup.first_id for rollup in self.rollups(hour_ms)]
        return min(sealed + [int(part.id.min()) for part in self.open_rows(hour_ms)])

    def newest_id(self, hour_ms: int) -> int:
        sealed = [rollup.last_id for rollup in self.rollups(hour_ms)]
        return max(sealed + [int(part.id.max()) for part in self.open_rows(hour_ms)])
