"""What the connections brought that was not kept as it came: counted, and told of at most so often.

Invariant: every one is counted; of each kind at most so many are logged until `tell_more` says how many there
were.
"""

from collections import Counter
from dataclasses import dataclass

import structlog

from collectors.stream_frames import Parsed
from storage.conflicts import Conflict
from storage.trades import TradeColumns

log = structlog.get_logger()

# So many of a kind are logged between two calls of `tell_more`; a full disk says the same of each batch.
MOST_TOLD = 20
MOST_REFUSALS_TOLD = 1


@dataclass(slots=True)
class Counts:
    """Since the start."""

    malformed: int = 0
    dropped: int = 0
    refused: int = 0
    errors: int = 0
    implausible: int = 0
    shut_out: int = 0


class Oddities:
    def __init__(self) -> None:
        self.counts = Counts()
        self._told = Counter[str]()

    def note_dropped(self, link: int, dropped: int) -> None:
        """So many texts were given up by a full ring."""
        self.counts.dropped += dropped
        if dropped and self._may_tell("dropped"):
            log.warning("messages given up", link=link, dropped=dropped, healed_by="their ids")

    def note_unread(self, link: int, parsed: Parsed) -> None:
        """Texts that are none, and what the exchange refused."""
        self.counts.malformed += len(parsed.malformed)
        self.counts.errors += len(parsed.errors)
        for malformed in parsed.malformed:
            if self._may_tell("malformed"):
                log.warning("message skipped", link=link, reason=malformed.reason, text=malformed.text)
        for error in parsed.errors:
            if self._may_tell("errors"):
                log.error("exchange refused", link=link, code=error.code, reason=error.msg)

    def note_implausible(
        self, symbol: str, rows: TradeColumns, head: int | None, link: int | None = None
    ) -> None:
        """Ids that cannot be, beside the newest one known; by no one link where several may have brought
        them."""
        self.counts.implausible += len(rows)
        if self._may_tell("implausible"):
            log.warning(
                "trades left out",
                link=link,
                symbol=symbol,
                first_id=int(rows.id.min()),
                last_id=int(rows.id.max()),
                left_out=len(rows),
                head=head,
                reason="no market counts so far in the time between",
            )

    def note_shut_out(self, symbol: str, rows: TradeColumns) -> None:
        """Newer trades than all that is held, under ids that are held or have expired: nothing can be kept of
        them."""
        self.counts.shut_out += len(rows)
        if self._may_tell("shut_out"):
            log.error(
                "trades not kept",
                symbol=symbol,
                first_id=int(rows.id[0]),
                last_id=int(rows.id[-1]),
                reason="older trades are held under their ids: the exchange counts anew",
                fix="begin an empty TAPEDECK_DATA_DIR; the old one stays readable",
            )

    def note_conflict(self, symbol: str, conflict: Conflict, *, kept: bool) -> None:
        """Another content came under a held id."""
        if self._may_tell("conflicts"):
            log.warning("conflict", symbol=symbol, id=conflict.id, first_stays=True, other_kept=kept)

    def note_refused(self, symbol: str, rows: TradeColumns, refused: int, awaiting_disk: int) -> None:
        """Too much awaits the disk: these ids are missing until it writes again and REST brings them."""
        self.counts.refused += refused
        if self._may_tell("refused"):
            log.error(
                "trades refused",
                symbol=symbol,
                first_id=int(rows.id[0]),
                last_id=int(rows.id[-1]),
                refused=refused,
                awaiting_disk=awaiting_disk,
                fix="make room on the disk; REST brings them then",
            )

    def tell_more(self) -> None:
        """What was not logged since the last call."""
        untold = {kind: count for kind, count in self._told.items() if count > _most_told(kind)}
        if untold:
            log.warning("more of the same", **untold)
        self._told.clear()

    def _may_tell(self, kind: str) -> bool:
        self._told[kind] += 1
        return self._told[kind] <= _most_told(kind)


def _most_told(kind: str) -> int:
    return MOST_REFUSALS_TOLD if kind in ("refused", "shut_out") else MOST_TOLD
