"""What the stand-in lists, and how each symbol trades there."""

from dataclasses import dataclass
from decimal import Decimal

from storage.trades import Instrument

VENUE = "simulated"
QUOTES = ("USDT", "USDC", "FDUSD", "BTC", "ETH", "BNB", "EUR", "TRY")


@dataclass(frozen=True, slots=True)
class Listing:
    """An instrument with the habits of its market.

    `price` is where the long-run path is centred, `daily_range` the usual high-to-low of a day as a share of
    it, `notional` the median size of an aggTrade in the quote asset, and `book_gap` the mean number of empty
    ticks between two levels that a sweep takes.
    """

    instrument: Instrument
    price: float
    trades_a_day: int
    daily_range: float
    notional: float
    book_gap: float

    @property
    def symbol(self) -> str:
        return self.instrument.symbol


def split_symbol(symbol: str) -> tuple[str, str]:
    """(base, quote) by the quote assets known here; the quote is empty where none fits."""
    quote = next((quote for quote in QUOTES if symbol.endswith(quote) and symbol != quote), "")
    return symbol.removesuffix(quote), quote


def instrument(symbol: str, tick: Decimal, lot: Decimal) -> Instrument:
    base, quote = split_symbol(symbol)
    return Instrument(symbol, VENUE, base, quote, tick, lot)


def _listing(
    symbol: str,
    tick: str,
    lot: str,
    price: float,
    per_second: float,
    *,
    daily_range: float,
    notional: float,
    book_gap: float,
) -> Listing:
    return Listing(
        instrument(symbol, Decimal(tick), Decimal(lot)),
        price, round(per_second * 86_400), daily_range, notional, book_gap,
    )  # fmt: skip


# Rates: BTCUSDT printed 17.7 aggTrades a second over the year to March 2025, by its ids.
LISTINGS = {
    listing.symbol: listing
    for listing in (
        _listing("BTCUSDT", "0.01", "0.00001", 62_000, 18, daily_range=0.030, notional=130, book_gap=25),
        _listing("ETHUSDT", "0.01", "0.0001", 2_600, 12, daily_range=0.036, notional=110, book_gap=1),
        _listing("BTCUSDC", "0.01", "0.00001", 62_010, 4, daily_range=0.030, notional=90, book_gap=60),
        _listing("SOLUSDT", "0.01", "0.001", 145, 6, daily_range=0.045, notional=80, book_gap=0),
        _listing("XRPUSDT", "0.0001", "0.1", 0.58, 3, daily_range=0.040, notional=60, book_gap=0),
        _listing("SHIBUSDT", "0.00000001", "1", 0.0000172, 1.2, daily_range=0.050, notional=50, book_gap=0),
    )
}
