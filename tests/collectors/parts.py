"""The recorder's parts between a link's texts and the ledger, without links, REST or tasks."""

from collections.abc import Sequence
from dataclasses import dataclass

from collectors.clock import Clock
from collectors.gap_reports import GapReports
from collectors.oddities import Oddities
from collectors.posting import Posting
from collectors.recordings import Recordings
from collectors.timing import REAL
from collectors.watch import Watch
from storage.ledger import TradeLedger


@dataclass(frozen=True)
class Parts:
    watch: Watch
    oddities: Oddities
    recordings: Recordings
    reports: GapReports
    posting: Posting


def parts_of(symbols: Sequence[str], ledger: TradeLedger, clock: Clock) -> Parts:
    """Those of a recorder of these symbols."""
    watch, oddities = Watch(symbols, REAL, clock.steady_ms()), Oddities()
    recordings = Recordings(symbols, ledger, watch, clock)
    reports = GapReports(ledger, clock)
    return Parts(watch, oddities, recordings, reports, Posting(ledger, recordings, reports, oddities))
