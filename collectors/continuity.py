"""Up to when each symbol's trades are known: which connections vouch for it without a break.

A connection vouches for the stretch of trade times from the first trade that it brought to the newest: no
trade of its symbols in there is unknown. A symbol is joined to it, and known as far as it vouches, once that
stretch touches what is known of the symbol: by a trade of the symbol in it, whose id says what was missed
before; by beginning before the symbol's known end; or because REST, asked later, has nothing newer. That
other symbols' trades come through proves nothing of a stream that is mute: once REST shows what no connection
brought, each is doubted until it brings a trade of the symbol; and a silence that is long for the symbol
counts only as long as REST is asked about it in time.

Invariant: nothing is known of a time for which nothing vouches. No I/O and no clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Voucher:
    """The stretch of trade times that a connection vouches for; it began at `since_ms` by our clock."""

    since_ms: int
    from_ms: int | None = None
    until_ms: int | None = None

    def extend(self, event_ms: int) -> None:
        """An event of that time has come through."""
        if self.from_ms is None or self.until_ms is None:
            self.from_ms = self.until_ms = event_ms
        else:
            self.until_ms = max(self.until_ms, event_ms)


@dataclass(slots=True)
class Known:
    """What is known of one symbol; nothing more while it is `waiting`: rows are held behind a jump of their
    ids, or nobody has looked into a long silence."""

    until_ms: int | None = None
    joined: set[Voucher] = field(default_factory=set)
    doubted: set[Voucher] = field(default_factory=set)
    waiting: bool = False

    def settle(self, vouchers: Iterable[Voucher]) -> None:
        """Take what these vouch for into account."""
        for voucher in vouchers:
            if voucher in self.doubted:
                continue
            # What else happened in its first millisecond may have come before it did.
            from_ms = voucher.from_ms
            if self.until_ms is not None and from_ms is not None and self.until_ms > from_ms:
                self.joined.add(voucher)
        if not self.waiting:
            self._extend(self.joined)

    def join(self, voucher: Voucher) -> None:
        """A trade of the symbol came through: its id says what is missing before."""
        self.doubted.discard(voucher)
        self.joined.add(voucher)

    def shown(self, vouchers: Iterable[Voucher], until_ms: int, event_ms: int) -> None:
        """REST has nothing that we lack of what was traded before `until_ms` of our clock, which is
        `event_ms` of the exchange's."""
        if not self.waiting:
            self.until_ms = max(self.until_ms or 0, event_ms)
        trusted = (voucher for voucher in vouchers if voucher not in self.doubted)
        self.joined.update(voucher for voucher in trusted if voucher.since_ms <= until_ms)

    def doubt(self, vouchers: Iterable[Voucher], until_ms: int) -> None:
        """REST has shown a trade of `until_ms` that none of these brought: they may be mute."""
        self.joined.clear()
        self.doubted = set(vouchers)
        if self.until_ms is not None:
            self.until_ms = min(self.until_ms, until_ms)

    def leave(self, voucher: Voucher) -> None:
        """The connection vouches no longer, or not for what came before."""
        self.joined.discard(voucher)
        self.doubted.discard(voucher)

    def _extend(self, vouchers: Iterable[Voucher]) -> None:
        newest = [voucher.until_ms for voucher in vouchers if voucher.until_ms is not None]
        if newest:
            self.until_ms = max(self.until_ms or 0, *newest)
