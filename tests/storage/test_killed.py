"""kill -9 at any moment, under load, while hours are sealed, sealed again, deleted, compacted and copied."""

import itertools
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

from storage import keys
from storage.ledger import TradeLedger
from tests.storage.busy import SYMBOLS, trades_of
from tests.storage.soundness import assert_sound
from tests.tapes import rows_of

ROOT = Path(__file__).parents[2]
WHOLE = (0, 10**13)


@dataclass
class Told:
    """What the killed processes said: ids offered and acknowledged, by symbol; the limits of deletions."""

    offered: dict[str, set[int]] = field(default_factory=lambda: {symbol: set() for symbol in SYMBOLS})
    waiting: dict[str, set[int]] = field(default_factory=lambda: {symbol: set() for symbol in SYMBOLS})
    acknowledged: dict[str, set[int]] = field(default_factory=lambda: {symbol: set() for symbol in SYMBOLS})
    expired: dict[str, set[int]] = field(default_factory=lambda: {symbol: set() for symbol in SYMBOLS})
    begun_ms: int = 0
    expired_ms: int = 0
    works: dict[str, int] = field(default_factory=dict)

    def forget_waiting(self) -> None:
        """What was offered and not acknowledged need not survive a kill."""
        self.waiting = {symbol: set() for symbol in SYMBOLS}

    def take(self, line: str) -> None:
        word, *rest = line.split()
        self.works[word] = self.works.get(word, 0) + 1
        if word == "offer":
            ids = {int(part) for part in rest[1].split(",")}
            self.offered[rest[0]] |= ids
            self.waiting[rest[0]] |= ids
        elif word == "flushed":
            for symbol, ids in self.waiting.items():
                self.acknowledged[symbol] |= ids
            self.forget_waiting()
        elif word == "expire":
            self.begun_ms = int(rest[0])
        elif word == "expired":
            self.expired_ms = int(rest[0])
            for symbol, acknowledged in self.acknowledged.items():
                ends = ends_of(symbol, sorted(acknowledged))
                self.expired[symbol] |= {i for i, end_ms in ends.items() if end_ms <= self.expired_ms}


def whole_lines(stream: IO[str]) -> Iterator[str]:
    """Lines that were written to their end."""
    for line in stream:
        if line.endswith("\n"):
            yield line


def assert_nothing_lost(path: Path, told: Told) -> None:
    """Acknowledged is held or has expired, held was offered and has not, each row is as it was offered."""
    assert_sound(path)
    with TradeLedger.open(path) as ledger:
        assert ledger.take_damage() == []
        for symbol in SYMBOLS:
            held = ledger.trades(symbol, *WHOLE)
            ids = held.id.tolist()
            assert rows_of(held) == rows_of(trades_of(symbol, ids))
            assert len(set(ids)) == len(ids) == ledger.rows(symbol)
            assert set(ids) <= told.offered[symbol] - told.expired[symbol]
            gone = told.acknowledged[symbol] - told.expired[symbol] - set(ids)
            assert all(end_ms <= told.begun_ms for end_ms in ends_of(symbol, sorted(gone)).values())
            missing = {i for gap in ledger.gaps(symbol) for i in range(gap.first_id, gap.last_id + 1)}
            assert not missing & told.acknowledged[symbol]
            assert ledger.coverage(symbol, *WHOLE).trades == len(ids)
            assert ledger.histogram(symbol, *WHOLE).trades.sum() == len(ids)


def ends_of(symbol: str, ids: list[int]) -> Mapping[int, int]:
    """When the hour of each trade ends."""
    times = trades_of(symbol, ids).time_ms.tolist()
    return {i: keys.hour_of(time_ms) + keys.HOUR_MS for i, time_ms in zip(ids, times, strict=True)}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.long)])
def test_kill_9_at_any_moment_loses_nothing_acknowledged_and_doubles_nothing(
    tmp_path: Path, kills: int
) -> None:
    path, told, chance = tmp_path / "ledger", Told(), random.Random(kills)
    works = {"flushed", "sealed", "expired", "compacted", "copied"}
    for life in itertools.count(1):
        command = [sys.executable, "-m", "tests.storage.busy", str(path), str(chance.randrange(10**6))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
            assert child.stdout is not None
            for _ in range(chance.randrange(1, 60)):
                told.take(child.stdout.readline())
            time.sleep(chance.random() * 0.02)  # somewhere between two lines
            child.kill()
            for line in whole_lines(child.stdout):
                told.take(line)
        told.forget_waiting()
        assert_nothing_lost(path, told)
        # What comes in a life is by chance, and where it ends by the machine.
        if life >= kills and works <= told.works.keys():
            break
