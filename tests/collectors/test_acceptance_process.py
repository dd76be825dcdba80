"""Acceptance with real processes: `tapedeck serve` paused and killed beside an exchange that goes on."""

import json
import math
import random
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from collectors.exchange.faults import Drop, End, RestLimit
from storage.ledger import TradeLedger
from storage.ledger_files import ATTEMPTS, BARS
from tests.levers import PATIENCE_S, Levers, held, metrics, missing, private_mb, until, until_written
from tests.levers import head as newest
from tests.processes import Process, environment_for, exchange, server, start
from tests.storage.soundness import assert_sound

WHOLE = (0, 2**45)
# Two rings of 32 MiB, texts while they are parsed, and what the allocator keeps.
MOST_MB = 150


def assert_equal(levers: Levers, symbol: str, path: Path, head: int) -> None:
    """A closed ledger holds the exchange's ledger from its first id up to one that was waited for, each once;
    what a busy machine has lost after that, the next start would fetch."""
    with TradeLedger.open(path, create=False) as ledger:
        rows, gaps = ledger.trades(symbol, *WHOLE), ledger.gaps(symbol)
    assert not [gap for gap in gaps if gap.first_id <= head]
    rows = rows.take(rows.id <= head)
    assert rows.id.max() == head
    assert len(set(rows.id.tolist())) == len(rows) > 0
    assert levers.difference(symbol, rows) == {"missing": [], "extra": [], "other": []}


def first_held(path: Path, symbol: str) -> int:
    with TradeLedger.open(path, create=False) as ledger:
        return ledger.runs(symbol)[0].first_id


def assert_calm(process: Process) -> None:
    """No part of it failed, not even to be begun again."""
    assert not [line for line in process.lines if "task failed" in line or "Traceback" in line]


def doubled(urls: dict[str, Any]) -> dict[str, str]:
    """Two links to the exchange."""
    return {"STREAM_URLS": ",".join([urls["stream_url"]] * 2)}


def at_first(levers: Levers, url: str, symbol: str) -> int:
    """The first id held as far as it can be seen from outside, some trades too late at the most."""
    count = held(url, symbol)
    return levers.printed(symbol) - count + 1


def complete(levers: Levers, url: str, symbol: str, first: int, within_s: float = PATIENCE_S) -> int:
    """Until all that has been printed since the first id held is held; the newest id of it."""
    head = levers.printed(symbol)
    until(lambda: has_all(url, symbol, first, head), within_s)
    return head


def has_all(url: str, symbol: str, first: int, head: int) -> bool:
    return newest(url, symbol) >= head and held(url, symbol) > head - first and not missing(url, symbol)


class Appetite:
    """The most memory that a process had, looked at whenever something is waited for."""

    def __init__(self, process: Process, url: str, symbol: str) -> None:
        self._process, self._url, self._symbol = process, url, symbol
        self.most_mb = self.before_mb = self._beyond_mb()

    def _beyond_mb(self) -> float:
        """But for the open hour: 49 bytes a trade, and as much again while one is sorted in."""
        return private_mb(self._process) - 100 * held(self._url, self._symbol) / 2**20

    def until(self, condition: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
        def is_so() -> bool:
            self.most_mb = max(self.most_mb, self._beyond_mb())
            return condition()

        until(is_so, within_s)


# Trades a second on the average of a day, on each of two links: what a machine that is busy with more can
# take in, and what one can that has nothing else to do.
RATE = 2_000
MUCH = 5_000


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("rate", "slept"), [(RATE, 10 * RATE), pytest.param(MUCH, 300 * MUCH, marks=pytest.mark.long)]
)
def test_a_paused_process_catches_up_without_a_restart_and_within_bounds(
    tmp_path: Path, rate: int, slept: int
) -> None:
    """(g) As a machine that sleeps while so many trades go by, five minutes of them when all is run: the
    links lag, are given up by the exchange, or both."""
    symbol = "BTCUSDT"
    with (
        exchange(f"--rate={rate / 18}", "--control-port=0", "--history-hours=1") as urls,
        Levers(urls) as levers,
    ):
        with server(urls, tmp_path, **doubled(urls)) as (process, url):
            until(lambda: held(url, symbol) > rate)
            first, appetite = at_first(levers, url, symbol), Appetite(process, url, symbol)
            process.child.send_signal(signal.SIGSTOP)
            levers.printed(symbol, levers.printed(symbol) + slept)
            process.child.send_signal(signal.SIGCONT)
            # While it is told: catching up may take longer than the greatest lag is remembered. Links that
            # the exchange gave up bring nothing late; then all of it is missing.
            lag_s = min(slept / rate / 10, 5)
            appetite.until(
                lambda: (
                    metrics(url).get("tapedeck_most_lag_seconds", 0) > lag_s
                    or missing(url, symbol) > slept / 2
                )
            )
            head = levers.printed(symbol)
            appetite.until(
                lambda: has_all(url, symbol, first, head),
                PATIENCE_S + slept / 1_000,
            )
            assert appetite.most_mb < appetite.before_mb + MOST_MB
            self_inflicted = [p["breach"] for p in levers.report()["self_inflicted"]]
            # Whoever sleeps reads slowly and answers no ping; what it does when awake is what counts.
            assert set(self_inflicted) <= {"slow reader", "pong timeout"}
        assert_calm(process)
        assert first_held(tmp_path, symbol) <= first
        assert_equal(levers, symbol, tmp_path, head)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kills", [2, pytest.param(60, marks=pytest.mark.long)])
def test_after_kill_9_at_any_trade_the_store_is_the_exchanges(tmp_path: Path, kills: int) -> None:
    """(j) Started anew each time; sealing, filling and flushing are under way when it is killed.

    From the first id that the first life had on the disk on, nothing is lost: neither what was recorded last
    nor what was recorded first.
    """
    chance = random.Random(kills)
    symbols = ("BTCUSDT", "ETHUSDT")
    first: dict[str, int] = {}
    with exchange("--rate=20", "--control-port=0", "--history-hours=2") as urls, Levers(urls) as levers:
        settings = doubled(urls) | {"SYMBOLS": ",".join(symbols)}
        for number in range(kills):
            with server(urls, tmp_path, **settings) as (process, url):
                if number == 0:
                    until(lambda url=url: all(held(url, symbol) > 250 for symbol in symbols))  # type: ignore[misc]
                    first = {symbol: at_first(levers, url, symbol) for symbol in symbols}
                    until_written(url)
                levers.printed("BTCUSDT", levers.printed("BTCUSDT") + chance.randrange(1, 800))
                process.child.kill()
            assert_calm(process)
            assert_sound(tmp_path)
            if number % 2:
                levers.inject(End(how="reset", from_s=chance.random()))
            for symbol in symbols:
                begins = first_held(tmp_path, symbol)
                assert begins <= first[symbol]
                first[symbol] = begins
        with server(urls, tmp_path, **settings) as (process, url):
            heads = {symbol: complete(levers, url, symbol, first[symbol]) for symbol in symbols}
        assert_calm(process)
        for symbol in symbols:
            assert first_held(tmp_path, symbol) == first[symbol]
            assert_equal(levers, symbol, tmp_path, heads[symbol])
        assert levers.report()["self_inflicted"] == []


@pytest.mark.timeout(300)
def test_a_ban_outlives_a_kill_and_binds_the_commands_beside_it(tmp_path: Path) -> None:
    """Nobody asks on: not the server that is started anew, and no backfill. Nor are attempts to open a link
    forgotten."""
    symbol, began_s = "BTCUSDT", time.monotonic()
    with exchange("--control-port=0", "--history-hours=1") as urls, Levers(urls) as levers:

        def statuses() -> dict[str, int]:
            found: dict[str, int] = levers.report()["statuses"]
            return found

        with server(urls, tmp_path) as (process, url):
            # Two more processes are to start while it lasts.
            banned_s = 8 + 4 * math.ceil(time.monotonic() - began_s)
            until(lambda: held(url, symbol) > 20)
            levers.inject(RestLimit(status=418, seconds=banned_s))
            levers.inject(Drop(count=1))  # which is asked for
            until(lambda: "418" in statuses())
            until((tmp_path / BARS).exists)
            today = str(datetime.now(UTC).date())
            command = [sys.executable, "-m", "server.cli", "backfill", symbol, "--from", today]
            with start(*command, environment=environment_for(urls, tmp_path)) as backfill:
                backfill.until("still barred")
                process.child.kill()
        served, attempts = statuses()["200"], len(json.loads((tmp_path / ATTEMPTS).read_bytes()))
        assert attempts
        with server(urls, tmp_path) as (process, url):
            assert any("still barred" in line for line in process.lines)  # before it answers
            until(lambda: statuses()["200"] > served)
            until(lambda: not missing(url, symbol))
            assert metrics(url)["tapedeck_link_attempts"] > attempts
        assert statuses()["418"] == 1
        assert levers.report()["self_inflicted"] == []
