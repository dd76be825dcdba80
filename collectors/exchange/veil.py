"""What REST does not show at a moment, and what it says of the listings: lag, hidden ids, holes, a floor.

Invariant: no I/O; what it hides is there in the truth, holes for good aside.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np

from collectors.exchange.faults import Hole, Listing, RestFloor, RestHide, RestLag
from collectors.exchange.script import FaultScript, Placed, newest
from storage.trades import BoolArray, Instrument, IntArray

LAST_ID = 2**62


@dataclass(frozen=True, slots=True)
class Veil:
    """The script as REST sees it at `now_ms`."""

    script: FaultScript
    now_ms: int

    def floor_id(self, symbol: str) -> int:
        floor = newest(self.script.lasting(RestFloor, self.now_ms, symbol=symbol))
        if floor is None:
            return 0
        floor.hit()
        return floor.fault.floor_id

    def lag_ms(self, symbol: str) -> int:
        lag = self._lag(symbol)
        if lag is None:
            return 0
        if not lag.fault.head_first:
            lag.hit()
        return lag.fault.ms

    def shows_head(self, symbol: str) -> bool:
        lag = self._lag(symbol)
        return lag is not None and lag.fault.head_first

    def note_head(self, symbol: str) -> None:
        """The newest row was shown above some that were not, which is what `head_first` is about."""
        lag = self._lag(symbol)
        if lag is not None:
            lag.hit()

    def shows(self, symbol: str, ids: IntArray) -> BoolArray:
        """(n,) whether each id is shown."""
        shown = np.ones(len(ids), np.bool_)
        hiding: list[Placed[Any]] = [*self._hidden(symbol), *self._holes(symbol)]
        for placed in hiding:
            first, last = placed.fault.first_id or 0, placed.fault.last_id
            hidden = (ids >= first) & (ids <= (LAST_ID if last is None else last))
            if hidden.any():
                placed.hit()
                shown &= ~hidden
        return shown

    def instruments(self, listed: Mapping[str, Instrument]) -> Mapping[str, Instrument]:
        """The listings as they are told."""
        changes = self.script.lasting(Listing, self.now_ms)
        if not changes:
            return listed
        told = dict(listed)
        for placed in changes:
            for symbol in [symbol for symbol in told if placed.of_symbol(symbol)]:
                placed.hit()
                if placed.fault.delisted:
                    del told[symbol]
                else:
                    told[symbol] = _changed(told[symbol], placed.fault)
        return told

    def _lag(self, symbol: str) -> Placed[RestLag] | None:
        return newest(self.script.lasting(RestLag, self.now_ms, symbol=symbol))

    def _hidden(self, symbol: str) -> list[Placed[RestHide]]:
        return self.script.lasting(RestHide, self.now_ms, symbol=symbol)

    def _holes(self, symbol: str) -> list[Placed[Hole]]:
        """Those that are not recovered yet, and those that never will be."""
        return [
            placed
            for placed in self.script.of(Hole)
            if placed.of_symbol(symbol) and self.now_ms < placed.until_ms
        ]


def _changed(instrument: Instrument, change: Listing) -> Instrument:
    return replace(
        instrument,
        status=change.status or instrument.status,
        tick=Decimal(change.tick) if change.tick else instrument.tick,
        lot=Decimal(change.lot) if change.lot else instrument.lot,
    )


NO_VEIL = Veil(FaultScript(), 0)
