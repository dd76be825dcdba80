"""What the exchange lists: the filters of the recorded symbols, and whether it is the ledger's venue.

Invariant: a symbol that the exchange does not know is dropped with its name; whatever else REST says or
fails to say, recording goes on with the filters kept in the ledger.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import structlog

from collectors.clock import Clock
from collectors.rest import INVALID_SYMBOL, BinanceRest, RestAway, RestRefused
from storage.errors import VenueMismatch
from storage.ledger import TradeLedger
from storage.trades import Instrument

log = structlog.get_logger()

# Links are to be up within 5 s of the start.
PREPARE_S = 2.0
REST_AWAY_S = 2.0
# A halt should be named within the hour; filters change a few times a year.
EVERY_S = 3_600.0
DELISTED = "DELISTED"

# Symbols in one request: together they fit into a request line of 8 KiB.
ASKED_AT_ONCE = 200


class NoSymbols(Exception):
    """None of the symbols asked for exists at the exchange."""


class Instruments:
    """The symbols to record and what is known of them; `addresses` are those that trades will come from."""

    def __init__(
        self,
        ledger: TradeLedger,
        rest: BinanceRest,
        clock: Clock,
        *,
        symbols: Sequence[str],
        addresses: Sequence[str],
    ) -> None:
        self._ledger = ledger
        self._rest = rest
        self._clock = clock
        self._addresses = list(addresses)
        self._known = False
        self._unlisted: set[str] = set()
        self._configured = set(symbols)
        self.symbols = list(dict.fromkeys(symbols))

    async def prepare(self) -> None:
        """Learn the symbols' filters; with REST away, go by those kept in the ledger.

        Raises `NoSymbols` when the exchange says that none exists and the ledger holds none of them either,
        `VenueMismatch` when the ledger holds another exchange's tape.
        """
        try:
            async with asyncio.timeout(PREPARE_S):
                await self._learn()
        except (RestAway, TimeoutError) as error:
            known = sorted(self._ledger.instruments.keys() & set(self.symbols))
            log.warning("exchangeInfo away", error=str(error) or "no answer", filters_kept_for=known)
        if not self.symbols and not self._configured & set(self._ledger.symbols):
            raise NoSymbols(
                "no symbol left to record; set TAPEDECK_SYMBOLS to symbols that the exchange lists"
            )

    async def until_venue_is_sure(self) -> None:
        """A ledger of one exchange never takes in another's trades: at new addresses REST speaks first."""
        told = False
        while not (self._known or self._ledger.confirmed_at(self._addresses)):
            if not told:
                log.warning("waiting for the exchange to say what it is", venue=self._ledger.venue)
            told = True
            await self._learn_again()
            await self._clock.sleep(REST_AWAY_S)

    async def keep_learning(self) -> None:
        """Where REST was away at start, the filters are learned as soon as it is back."""
        while not self._known:
            await self._clock.sleep(REST_AWAY_S)
            await self._learn_again()

    async def look_again(self) -> None:
        """Learn what has changed; a symbol that the exchange does not know any more is dropped with its name,
        and its status kept."""
        await self._learn_again()

    async def _learn_again(self) -> None:
        try:
            await self._learn()
        except RestAway as error:
            log.debug("exchangeInfo away", error=str(error))
        except VenueMismatch as error:
            log.error("not recording", error=str(error))  # noqa: TRY400  one clear line for the operator

    async def _learn(self) -> None:
        asked, found = list(self.symbols), set[str]()
        for at in range(0, len(asked), ASKED_AT_ONCE):
            found |= await self._look_up(asked[at : at + ASKED_AT_ONCE])
        if self.symbols and not found:
            raise RestAway(f"the exchange tells nothing of {', '.join(self.symbols)}")
        if not self._known:
            log.info("symbols known", symbols=sorted(found))
        self._known = True
        unlisted = set(self.symbols) - found
        if unlisted - self._unlisted:
            log.warning("symbols not listed", symbols=sorted(unlisted), recorded="all the same")
        self._unlisted = unlisted

    async def _look_up(self, symbols: Sequence[str]) -> set[str]:
        """The symbols whose filters were learned; one that does not exist is dropped with its name."""
        try:
            info = await self._rest.exchange_info(symbols)
        except RestRefused as refusal:
            if len(symbols) > 1:
                # The refusal does not say which of them it is.
                half = len(symbols) // 2
                return await self._look_up(symbols[:half]) | await self._look_up(symbols[half:])
            self._refused(symbols[0], refusal)
            return set()
        self._ledger.claim(info.venue, self._addresses)
        found = info.instruments.keys() & set(symbols)
        for symbol in found:
            self._keep(info.instruments[symbol])
        return set(found)

    def _keep(self, now: Instrument) -> None:
        """What changes is told of, and holds from now on."""
        before = self._ledger.instruments.get(now.symbol)
        self._ledger.keep_instrument(now, self._clock())
        if before is not None and (before.tick, before.lot) != (now.tick, now.lot):
            steps = {"tick": str(now.tick), "lot": str(now.lot)}
            was = {"tick_was": str(before.tick), "lot_was": str(before.lot)}
            log.warning("filters changed", symbol=now.symbol, **steps, **was)
        if now.status != "TRADING" and (before is None or before.status != now.status or not self._known):
            log.warning("symbol does not trade", symbol=now.symbol, status=now.status)
        elif before is not None and now.status != before.status:
            log.info("symbol trades again", symbol=now.symbol, status_was=before.status)

    def _refused(self, symbol: str, refusal: RestRefused) -> None:
        if refusal.code != INVALID_SYMBOL:
            log.warning("symbol refused", symbol=symbol, reason=str(refusal), recorded="all the same")
            return
        self.symbols.remove(symbol)
        known = self._ledger.instruments.get(symbol)
        if known is not None:
            self._ledger.keep_instrument(replace(known, status=DELISTED), self._clock())
        log.error(
            "unknown symbol" if known is None else "symbol delisted",
            symbol=symbol,
            reason=str(refusal),
            kept=self.symbols,
            fix="TAPEDECK_SYMBOLS",
        )
