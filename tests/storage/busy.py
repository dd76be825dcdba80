"""A process that records, seals, deletes, compacts and copies without a pause: made to be killed.

Usage: python -m tests.storage.busy LEDGER SEED. Each line names what is about to be done or has been done.
"""

import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from storage import sealer as sealer_module
from storage.ledger import TradeLedger
from storage.trades import TradeColumns
from tests.tapes import START_MS

SYMBOLS = ("BTCUSDT", "ETHUSDT", "BTCUSDC")
HOUR_MS = 3_600_000
STEP_MS = 90_000  # 40 trades an hour
KEPT_MS = 6 * HOUR_MS
BATCH = 30


def time_of(identity: int) -> int:
    """Ascending on the whole; some trades step back by minutes, over the hour's border too."""
    return START_MS + identity * STEP_MS - (identity * 7919 % 13 == 0) * 400_000


def trades_of(symbol: str, ids: Sequence[int]) -> TradeColumns:
    """The trades of these ids: all of it follows from symbol and id."""
    identity = np.array(ids, np.int64)
    salt = len(symbol) + ord(symbol[0])
    return TradeColumns(
        id=identity,
        time_ms=np.array([time_of(i) for i in ids], np.int64),
        price_int=6_000_000 + identity * 7919 % 5_000 + salt,
        quantity_int=1 + identity * 31 % 997,
        first_id=2 * identity,
        last_id=2 * identity + identity % 2,
        buyer_is_maker=identity % 3 == 0,
        price_exp=2,
        quantity_exp=5,
    )


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class Work:
    """What goes on in a recorder's life, at random."""

    def __init__(self, ledger: TradeLedger, chance: random.Random) -> None:
        self._ledger = ledger
        self._chance = chance
        runs = [ledger.runs(symbol) for symbol in SYMBOLS]
        self._head = max((run[-1].last_id for run in runs if run), default=0)

    def record(self) -> None:
        """A batch for every symbol: some of it left out, some of what was left out, some a second time."""
        ids = list(range(self._head + 1, self._head + 1 + BATCH))
        self._head += BATCH
        for symbol in SYMBOLS:
            late = [
                i
                for gap in self._ledger.gaps(symbol)[-3:]
                for i in range(gap.first_id, gap.last_id + 1)
                if self._chance.random() < 0.5
            ]
            new = [i for i in ids if self._chance.random() < 0.95]
            again = ids[: self._chance.randrange(3)]
            offered = sorted({*late, *new, *again})
            say("offer", symbol, ",".join(map(str, offered)))
            self._ledger.append(symbol, trades_of(symbol, offered))
        self._ledger.flush()
        say("flushed")

    def seal(self) -> None:
        say("seal")
        self._ledger.seal(time_of(self._head))
        say("sealed")

    def expire(self) -> None:
        before_ms = time_of(self._head) - KEPT_MS
        say("expire", before_ms)
        self._ledger.expire(before_ms)
        say("expired", before_ms)

    def compact(self) -> None:
        say("compact")
        self._chance.choice([self._ledger.compact, self._ledger.compact_seconds])()
        say("compacted")

    def copy(self) -> None:
        say("copy")
        shutil.rmtree(self._ledger.checkpoint(f"c{self._head}"))
        say("copied")


def run(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    vars(sealer_module)["MOST_IN_BLOCK"] = 60  # so that hours have parts
    ledger = TradeLedger.open(path)
    work = Work(ledger, chance)
    while True:
        work.record()
        chance.choice([work.record, work.seal, work.seal, work.seal, work.expire, work.compact, work.copy])()


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
