"""Up to when each symbol's trades are known: which connections vouch for it without a break.

A connection vouches for the stretch of trade times from the first trade that it brought to the newest: no
trade of its symbols in there is unknown. A symbol is joined to it, and known as far as it vouches, once that
stretch touches what is known of the symbol: by a trade of the symbol in it, whose id says what was missed
before; by beginning before the symbol's known end; or because REST, asked later, has nothing newer. That
other symbols' trades come through proves nothing of a stream that is mute: once REST shows what no connection
brought, the symbol is doubted, and a connection joins by a trade of the symbol alone, until all have; and a
silence that is long for the symbol counts only as long as REST is asked about it in time.

Invariant: nothing is known of a time for which nothing vouches. No I/O and no clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(slots=True, eq=False)
class Voucher:
    """The stretch of trade times that a connection vouches for; it began at `since_ms`, steady."""

    since_ms: int
    from_ms: int | None = None
    until_ms: int | None = None

    def extend(self, event_ms: int) -> None:
        """An event of that time has come through."""
        if self.from_ms is None or self.until_ms is None:
            self.from_ms = self.until_ms = event_ms
        else:
            self.until_ms = max(self.until_ms, event_ms)

    def began_before(self, event_ms: int) -> bool:
        """Whether it vouches from before that time; what else happened in its first millisecond may have come
        before it did."""
        return self.from_ms is not None and self.from_ms < event_ms


# A value, replaced as a whole: whoever asks from another thread sees one state, without a lock that the event
# loop could wait for.
@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one symbol, and by whom. While it is `doubted`, its stream may be mute everywhere."""

    until_ms: int | None = None
    joined: frozenset[Voucher] = frozenset()
    doubted: bool = False

    def settled(self, vouchers: Sequence[Voucher], *, waiting: bool = False) -> "Known":
        """With what these, all that there are, vouch for; no further while it is `waiting`: rows are held
        behind a jump of their ids, or nobody has looked into a long silence."""
        joined = self.joined.union(filter(self._touches, vouchers))
        # Of a doubted symbol only those have joined that brought a trade of it.
        doubted = self.doubted and not (vouchers and joined.issuperset(vouchers))
        known_ms = [voucher.until_ms for voucher in joined if voucher.until_ms is not None]
        until_ms = self.until_ms if waiting or not known_ms else max(self.until_ms or 0, *known_ms)
        return Known(until_ms, joined, doubted)

    def _touches(self, voucher: Voucher) -> bool:
        return not self.doubted and self.until_ms is not None and voucher.began_before(self.until_ms)

    def joined_by(self, voucher: Voucher) -> "Known":
        """A trade of the symbol came through: its id says what is missing before."""
        return self if voucher in self.joined else replace(self, joined=self.joined | {voucher})

    def reached(self, event_ms: int) -> "Known":
        """All up to that time is held or in a gap: a row of then is held, or REST has said so."""
        return replace(self, until_ms=max(self.until_ms or 0, event_ms))

    def shown(self, vouchers: Sequence[Voucher], until_ms: int) -> "Known":
        """REST has nothing that we lack of what was traded before `until_ms` of our steady clock."""
        if self.doubted:
            return self
        return replace(self, joined=self.joined.union(v for v in vouchers if v.since_ms <= until_ms))

    def in_doubt(self, until_ms: int) -> "Known":
        """REST has shown a trade of `until_ms` that no connection brought: they may be mute."""
        return Known(None if self.until_ms is None else min(self.until_ms, until_ms), doubted=True)

    def without(self, voucher: Voucher) -> "Known":
        """The connection vouches no longer, or not for what came before."""
        return replace(self, joined=self.joined - {voucher}) if voucher in self.joined else self
