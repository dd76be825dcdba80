"""Twenty symbols for a day, 4 M trades in all: what each costs when most of them are small.

Invariant: all in one ledger, as one recorder would have left it.
"""

from pathlib import Path

from bench.asking import profile_of
from bench.filling import fill, sealed_bytes
from bench.measure import Figures, Spent, median_ms
from bench.synthetic import day_of_many
from bench.windows import DAY_H, window_of
from storage.ledger import TradeLedger


def many(path: Path) -> Figures:
    filled = fill(path, day_of_many())
    size = sum(sealed_bytes(path, symbol) for symbol in filled.sealed)
    opening, asking = Spent(), Spent()
    with opening.counting():
        ledger = TradeLedger.open(path, create=False)
    with ledger:
        with asking.counting():
            _ask_all(ledger)
        warm_ms = median_ms(lambda: _ask_all(ledger), rounds=5)
    return {
        "many_trades": filled.trades,
        "many_seal_ms_an_hour": filled.seal_ms_an_hour,
        "many_bytes_per_trade": size / sum(filled.sealed.values()),
        "many_open_ms": opening.wall_s * 1000,
        "many_profile_24h_first_ms": asking.wall_s * 1000,
        "many_profile_24h_ms": warm_ms,
    }


def _ask_all(ledger: TradeLedger) -> None:
    for symbol in ledger.symbols:
        profile_of(ledger, symbol, *window_of(DAY_H))
