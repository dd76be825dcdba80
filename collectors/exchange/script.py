"""Which faults are in, whom they touch at a moment, and how often they did.

Invariant: what a fault touches follows from the fault, the moment when it was put in and what happens; not
from when the exchange looks. No I/O and no clock.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar
from zlib import crc32

from collectors.exchange.faults import (
    AnyFault,
    Burst,
    Fault,
    Halt,
    Hole,
    Invalid,
    LinkFault,
    Refuse,
    RestFault,
    Shutdown,
    TruthFault,
    UnknownFault,
)

F = TypeVar("F", bound=Fault)


class Placed(Generic[F]):
    """A fault that was put in, its times as UTC ms of the exchange's clock."""

    def __init__(self, number: int, fault: F, now_ms: int) -> None:
        self.number = number
        self.fault = fault
        self.from_ms = now_ms + round(fault.from_s * 1000)
        self.until_ms = math.inf if fault.until_s is None else now_ms + round(fault.until_s * 1000)
        self.hits = 0
        self._links_hit: set[int] = set()

    def lasts(self, now_ms: float) -> bool:
        return self.from_ms <= now_ms < self.until_ms and not self._spent

    def on_link(self, link: int) -> bool:
        return not self.fault.links or link in self.fault.links

    def of_symbol(self, symbol: str) -> bool:
        return not self.fault.symbols or symbol in self.fault.symbols

    def takes(self, symbol: str, trade_id: int, time_ms: int) -> bool:
        """Whether the trade is in the scope and in the share, before the count is up."""
        return (
            self.lasts(time_ms)
            and self.of_symbol(symbol)
            and (self.fault.first_id is None or trade_id >= self.fault.first_id)
            and (self.fault.last_id is None or trade_id <= self.fault.last_id)
            and self.is_in_share(trade_id)
        )

    def is_in_share(self, what: int) -> bool:
        share = self.fault.share
        return share == 1 or crc32(b"%d:%d" % (self.number, what)) < share * 2**32

    def hit(self) -> None:
        self.hits += 1

    def hit_link(self, link: int) -> None:
        """Counts each link once."""
        if link not in self._links_hit:
            self._links_hit.add(link)
            self.hits += 1

    @property
    def _spent(self) -> bool:
        return self.fault.count is not None and self.hits >= self.fault.count


class FaultScript:
    """The faults that are in, in the order in which they were put in."""

    def __init__(self) -> None:
        self._placed: list[Placed[Any]] = []
        self._numbers = 0
        self._hits_before: Counter[str] = Counter()

    def add(self, fault: AnyFault, now_ms: int) -> Placed[Any]:
        """Puts a fault in; raises `UnknownFault` for a scope that its kind cannot have."""
        check(fault)
        self._numbers += 1
        placed = Placed(self._numbers, fault, now_ms)
        self._placed.append(placed)
        return placed

    def remove(self, number: int) -> bool:
        """Takes a fault out; whether it was in."""
        found = [placed for placed in self._placed if placed.number == number]
        for placed in found:
            self._hits_before[name_of(placed.fault)] += placed.hits
            self._placed.remove(placed)
        return bool(found)

    def __iter__(self) -> Iterator[Placed[Any]]:
        return iter(list(self._placed))

    def of(self, kind: type[F], *, link: int | None = None) -> list[Placed[F]]:
        """The faults of a kind, whenever they last."""
        return [
            placed
            for placed in self._placed
            if isinstance(placed.fault, kind) and (link is None or placed.on_link(link))
        ]

    def lasting(
        self, kind: type[F], now_ms: float, *, link: int | None = None, symbol: str | None = None
    ) -> list[Placed[F]]:
        """The faults of a kind that last at the moment."""
        return [
            placed
            for placed in self.of(kind, link=link)
            if placed.lasts(now_ms) and (symbol is None or placed.of_symbol(symbol))
        ]

    def next_edge(self, after_ms: float) -> float:
        """The first moment after that one at which a fault begins or ends; infinity where none does."""
        edges = (edge for placed in self._placed for edge in (placed.from_ms, placed.until_ms))
        return min((edge for edge in edges if edge > after_ms), default=math.inf)

    def hits(self) -> dict[str, int]:
        """How often each kind of fault touched something."""
        hits = Counter(self._hits_before)
        for placed in self._placed:
            hits[name_of(placed.fault)] += placed.hits
        return dict(hits)


def newest(placed: Sequence[Placed[F]]) -> Placed[F] | None:
    """The one that was put in last: it overrides the others."""
    return placed[-1] if placed else None


def name_of(fault: Fault) -> str:
    """As in the fault's JSON."""
    return str(type(fault).__struct_config__.tag)


def check(fault: AnyFault) -> None:
    """Raises `UnknownFault` for a scope that the fault's kind cannot have."""
    has_ids = fault.first_id is not None or fault.last_id is not None
    if isinstance(fault, LinkFault) and (fault.symbols or has_ids or fault.share != 1 or fault.count):
        raise UnknownFault(f"{name_of(fault)} is about a whole link: it takes links and times alone")
    if isinstance(fault, Refuse | RestFault | TruthFault) and fault.links:
        raise UnknownFault(f"{name_of(fault)} is about the whole exchange: it takes no links")
    if isinstance(fault, Refuse | Shutdown) and (fault.symbols or has_ids):
        raise UnknownFault(f"{name_of(fault)} takes no symbols and no ids")
    if isinstance(fault, Hole | Invalid) and not (
        fault.symbols and fault.first_id is not None and fault.last_id is not None
    ):
        raise UnknownFault(f"{name_of(fault)} needs symbols, first_id and last_id")
    if isinstance(fault, Halt | Burst) and fault.until_s is None:
        raise UnknownFault(f"{name_of(fault)} needs an end, until_s")
