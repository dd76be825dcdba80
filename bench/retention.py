"""How much disk a ledger takes in steady state: days of trading, a day's retention, upkeep each hour.

Prints the directory's size after each hour as bytes a retained trade, beside the records that are alive, and
how long the hour's upkeep took. Usage: python bench/retention.py [DAYS] [SYMBOLS] [TRADES AN HOUR]
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from storage.ledger import TradeLedger
from storage.trades import TradeColumns

HOUR_MS = 3_600_000
BEGIN_MS = 1_700_000_000_000 // HOUR_MS * HOUR_MS
RETENTION_H = 24
FLUSH_MS = 10_000


def hour_of_trades(rng: np.random.Generator, first_id: int, hour_ms: int, count: int) -> TradeColumns:
    """A random walk with repeated times, by ticks of 0.01, in the style of BTCUSDT."""
    steps = rng.integers(-60, 61, count) * (rng.random(count) < 0.7)
    raw = rng.geometric(0.55, count)
    last = first_id * 2 + np.cumsum(raw)
    return TradeColumns(
        id=np.arange(first_id, first_id + count),
        time_ms=hour_ms + np.sort(rng.integers(0, HOUR_MS, count)),
        price_int=9_400_000 + np.cumsum(steps),
        quantity_int=np.ceil(rng.lognormal(6, 2, count)).astype(np.int64),
        first_id=last - raw + 1,
        last_id=last,
        buyer_is_maker=rng.random(count) < 0.5,
        price_exp=2,
        quantity_exp=5,
    )


def run(path: Path, days: int, symbols: int, per_hour: int) -> None:
    rng = np.random.default_rng(1)
    names = [f"S{i}USDT" for i in range(symbols)]
    worst, live_a_trade = 0.0, 0.0
    with TradeLedger.open(path) as ledger:
        for hour in range(days * 24):
            hour_ms = BEGIN_MS + hour * HOUR_MS
            tapes = [hour_of_trades(rng, 1 + hour * per_hour, hour_ms, per_hour) for _ in names]
            peak = 0
            for at in range(hour_ms, hour_ms + HOUR_MS, FLUSH_MS):
                for name, tape in zip(names, tapes, strict=True):
                    low, high = np.searchsorted(tape.time_ms, [at, at + FLUSH_MS])
                    ledger.append(name, tape.take(slice(int(low), int(high))))
                ledger.flush()
                if at % (60 * FLUSH_MS) == 0:
                    peak = max(peak, ledger.bytes_on_disk)
            now_ms = hour_ms + HOUR_MS + 61_000
            started = time.perf_counter()
            sealed = sum(hour.size for hour in ledger.seal(now_ms))
            peak = max(peak, ledger.bytes_on_disk)
            ledger.expire(now_ms - RETENTION_H * HOUR_MS)
            ledger.compact_seconds()
            took_ms = (time.perf_counter() - started) * 1000
            peak = max(peak, ledger.bytes_on_disk)
            held = sum(ledger.rows(name) for name in names)
            live_a_trade = sealed / (per_hour * symbols)
            steady = hour >= RETENTION_H
            worst = max(worst, peak / held) if steady else worst
            print(
                f"hour {hour + 1:3d}: held {held:9,d}  live {live_a_trade:.2f}  peak {peak / held:.2f}  "
                f"last {ledger.bytes_on_disk / held:.2f} B a trade  upkeep {took_ms:.0f} ms",
                flush=True,
            )
    print(f"steady state: at most {worst:.2f} B a trade, {worst / live_a_trade:.2f} times the live records")


if __name__ == "__main__":
    days, symbols, per_hour = (
        int(given) for given in (sys.argv[1:] + ["3", "8", "20000"][len(sys.argv) - 1 :])
    )
    directory = Path(tempfile.mkdtemp(prefix="tapedeck-retention-"))
    try:
        run(directory / "ledger", days, symbols, per_hour)
    finally:
        shutil.rmtree(directory)
