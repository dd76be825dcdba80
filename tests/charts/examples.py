"""Pictures of generated tapes, for tests, goldens and docs, and of recordings for docs.

`python -m tests.charts.examples`, or `make pictures`, draws the goldens and the pictures of the docs anew;
those of recordings where these are, see `tests/recordings.py`. What is generated follows from a seed.
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from collectors.exchange import GeneratedMarket
from collectors.trade_files import read_trades
from server.chart_command import answer_at_rest
from server.charts.drawing import png_of
from server.charts.picture import Picture
from storage.ledger import TradeLedger
from storage.trades import Instrument, TradeColumns
from tests.recordings import RECORDINGS

GOLDEN = Path(__file__).parent / "golden"
DOCS = Path(__file__).parents[2] / "docs" / "charts"
HOUR_MS = 3_600_000
# An evening, so that sessions and midnight are in sight.
END_MS = 1_764_111_600_000
# Of the usual number of trades: what a test can wait for.
RATE = 0.04
KINDS = ("profile", "vacuums", "levels", "flow")
# [from, to) in hours before the end, of which the partial tape has nothing.
HOLES = ((9.0, 7.0), (3.0, 2.98))


def tape(hours: float, *, rate: float = RATE, symbol: str = "BTCUSDT") -> TradeColumns:
    market = GeneratedMarket(1, symbols=[symbol], rate=rate)
    return market.trades(symbol, END_MS - int(hours * HOUR_MS), END_MS)


def with_holes(trades: TradeColumns) -> TradeColumns:
    for first, last in HOLES:
        before, after = END_MS - int(first * HOUR_MS), END_MS - int(last * HOUR_MS)
        trades = trades.take((trades.time_ms < before) | (trades.time_ms >= after))
    return trades


@contextmanager
def ledger_of(
    trades: TradeColumns, *, symbol: str = "BTCUSDT", venue: str = "simulated"
) -> Iterator[TradeLedger]:
    lot = Decimal("0.00001") if symbol == "BTCUSDT" else Decimal("0.0001")
    with tempfile.TemporaryDirectory() as path, TradeLedger.open(Path(path) / "ledger") as ledger:
        ledger.claim(venue)
        instrument = Instrument(symbol, venue, symbol.removesuffix("USDT"), "USDT", Decimal("0.01"), lot)
        ledger.keep_instrument(instrument, since_ms=0)
        ledger.append(symbol, trades)
        ledger.flush()
        yield ledger


def picture_of(ledger: TradeLedger, kind: str, hours: float) -> Picture:
    """As `tapedeck chart` makes it."""
    (symbol,) = ledger.symbols
    picture = answer_at_rest(ledger, symbol, kind, hours=f"{hours:.4f}").picture
    assert picture is not None
    return picture


def goldens() -> dict[str, Picture]:
    """A picture of each kind, one of them with gaps."""
    with ledger_of(tape(26)) as whole, ledger_of(with_holes(tape(20))) as partial:
        return {
            "profile-partial": picture_of(partial, "profile", 24),
            "vacuums": picture_of(whole, "vacuums", 24),
            "levels": picture_of(whole, "levels", 26),
            "flow": picture_of(whole, "flow", 24),
        }


def of_docs() -> dict[str, Picture]:
    """Those of the docs that need no recordings."""
    with (
        ledger_of(with_holes(tape(20, rate=1.0))) as partial,
        ledger_of(tape(0.5, rate=0.01)) as few,
    ):
        return {
            "partial-profile": picture_of(partial, "profile", 24),
            "partial-flow": picture_of(partial, "flow", 24),
            "low-sample": picture_of(few, "profile", 0.5),
        }


def of_recordings() -> Iterator[tuple[str, Picture]]:
    """BTC and ETH around midnight of 2024-08-09, where the recordings are."""
    for symbol in ("BTCUSDT", "ETHUSDT"):
        path = RECORDINGS / "binance-spot-2024-08-08" / f"derived-{symbol}-aggTrades.csv.gz"
        if path.exists():
            with ledger_of(read_trades(path), symbol=symbol, venue="binance spot") as ledger:
                for kind in KINDS:
                    yield f"{symbol[:3].lower()}-{kind}", picture_of(ledger, kind, 0.18)


def draw(directory: Path, pictures: Mapping[str, Picture]) -> None:
    directory.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        path = directory / f"{name}.png"
        path.write_bytes(png_of(picture))
        sys.stdout.write(f"{path} {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    draw(GOLDEN, goldens())
    draw(DOCS, of_docs())
    draw(DOCS, dict(of_recordings()))
