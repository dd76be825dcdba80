"""From the exchange's texts to a synced and sealed ledger, in a process of its own: in bulk, and at leisure.

Invariant: every trade that goes in is found sealed at the end.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.measure import Figures, Spent
from bench.synthetic import SEED, wire_texts
from bench.windows import NOW_MS, SYMBOL, WEEK_SYMBOLS
from collectors.exchange import GeneratedMarket
from collectors.sequencer import Sequencer
from collectors.stream_frames import parse_messages
from storage import keys
from storage.keys import HOUR_MS, SECOND_MS
from storage.ledger import TradeLedger
from storage.sealing import SEAL_GRACE_MS
from storage.trades import TradeColumns

START_MS = keys.hour_of(NOW_MS) - 4 * HOUR_MS
# As the recorder takes them: parsed a thousand at a time. It writes once a second; a link that catches up
# brings more than ten thousand in one.
SLICE = 1_000
BULK_A_WRITE = 10_000
BULK_HOURS = 4
# Of each of two symbols.
STEADY_A_SECOND = 20
SEAL_EVERY_S = 5


class Intake:
    """What the recorder does with texts, without its sockets."""

    def __init__(self, ledger: TradeLedger) -> None:
        self._ledger = ledger
        self._sequencers = {symbol: Sequencer() for symbol in WEEK_SYMBOLS}
        self._sealed = 0
        for instrument in GeneratedMarket(SEED, symbols=WEEK_SYMBOLS).instruments.values():
            ledger.keep_instrument(instrument, START_MS)

    def write(self, texts: list[str]) -> None:
        """Parse, put in order, append; one synced write behind it."""
        for at in range(0, len(texts), SLICE):
            for symbol, rows in parse_messages(texts[at : at + SLICE]).trades.items():
                self._ledger.append(symbol, self._sequencers[symbol].accept(rows))
        self._ledger.flush()

    def seal(self, now_ms: int) -> None:
        """The hours that are finished; after some were, the space of their seconds comes back."""
        hours = self._ledger.seal(now_ms)
        self._sealed += sum(hour.rows for hour in hours)
        if hours:
            self._ledger.compact_seconds()

    def check(self, trades: int) -> None:
        if self._sealed != trades:
            raise AssertionError(f"{trades} trades came in, {self._sealed} are sealed")


def bulk(path: Path) -> Figures:
    """Four hours of BTCUSDT as fast as they go in, on one core."""
    market = GeneratedMarket(SEED, symbols=[SYMBOL])
    trades = market.trades(SYMBOL, START_MS, START_MS + BULK_HOURS * HOUR_MS)
    texts = wire_texts(SYMBOL, trades)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    spent = Spent()
    with TradeLedger.open(path) as ledger:
        intake = Intake(ledger)
        with spent.counting():
            for at in range(0, len(texts), BULK_A_WRITE):
                intake.write(texts[at : at + BULK_A_WRITE])
                intake.seal(int(trades.time_ms[min(at + BULK_A_WRITE, len(trades)) - 1]))
            intake.seal(START_MS + BULK_HOURS * HOUR_MS + SEAL_GRACE_MS)
        intake.check(len(trades))
    return {
        "ingest_trades": len(trades),
        "ingest_trades_per_s": len(trades) / spent.wall_s,
        "ingest_trades_per_cpu_s": len(trades) / spent.cpu_s,
    }


def steady(path: Path) -> Figures:
    """An hour of two symbols, 20 trades a second each, a synced write each second, and its sealing."""
    seconds = list(_steady_seconds())
    spent = Spent()
    with TradeLedger.open(path) as ledger:
        intake = Intake(ledger)
        with spent.counting():
            for second, texts in enumerate(seconds):
                intake.write(texts)
                if second % SEAL_EVERY_S == 0:
                    intake.seal(START_MS + second * SECOND_MS)
            intake.seal(START_MS + HOUR_MS + SEAL_GRACE_MS)
        intake.check(sum(map(len, seconds)))
    return {
        "steady_core_pct": 100 * spent.cpu_s / len(seconds),
        "steady_ms_per_s": 1000 * spent.wall_s / len(seconds),
    }


def _steady_seconds() -> Iterator[list[str]]:
    texts = [wire_texts(symbol, _evenly(symbol)) for symbol in WEEK_SYMBOLS]
    for at in range(0, len(texts[0]), STEADY_A_SECOND):
        yield [text for each in texts for text in each[at : at + STEADY_A_SECOND]]


def _evenly(symbol: str) -> TradeColumns:
    """An hour's worth of the market's trades, moved to come one every 50 ms."""
    count = STEADY_A_SECOND * HOUR_MS // SECOND_MS
    rows = GeneratedMarket(SEED, symbols=[symbol]).trades(symbol, START_MS, NOW_MS).take(slice(0, count))
    return replace(rows, time_ms=START_MS + np.arange(count) * (SECOND_MS // STEADY_A_SECOND))


def main() -> None:
    parser = argparse.ArgumentParser(description="Figures of one way of ingest, as JSON.")
    parser.add_argument("way", choices=["bulk", "steady"])
    way = {"bulk": bulk, "steady": steady}[parser.parse_args().way]
    with tempfile.TemporaryDirectory(prefix="tapedeck-ingest-") as directory:
        print(json.dumps(way(Path(directory) / "ledger")))


if __name__ == "__main__":
    main()
