"""One link in a process on one core: does it keep up with so many messages a second?

Invariant: the recorder and the ledger are those of `tapedeck serve`; the lag is that of the newest trade held
behind the world's clock. Prints what it measured as JSON.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import structlog

from bench.measure import Figures
from collectors.recorder import Recorder
from collectors.rest import BinanceRest
from server.runtime import tune
from server.wall_clock import wall_clock
from storage.ledger import TradeLedger

SYMBOL = "S0USDT"
LOOK_S = 0.1
SETTLED_S = 3


async def recorded(stream_url: str, rest_url: str, path: Path, seconds: float) -> Figures:
    with TradeLedger.open(path) as ledger:
        async with BinanceRest(rest_url, wall_clock) as rest:
            recorder = Recorder(
                ledger, rest, symbols=[SYMBOL], stream_urls=[stream_url], warmup_ms=0, clock=wall_clock
            )
            await recorder.prepare()
            async with recorder.recording():
                await asyncio.sleep(SETTLED_S)
                return await watched(ledger, seconds)


async def watched(ledger: TradeLedger, seconds: float) -> Figures:
    began, cpu, first = time.monotonic(), time.process_time(), ledger.rows(SYMBOL)
    lags = []
    while time.monotonic() - began < seconds:
        await asyncio.sleep(LOOK_S)
        runs = ledger.runs(SYMBOL)
        lags.append(wall_clock() - runs[-1].last_ms if runs else 0)
    taken = time.monotonic() - began
    return {
        "per_s": (ledger.rows(SYMBOL) - first) / taken,
        "cpu_pct": (time.process_time() - cpu) / taken * 100,
        "lag_ms": statistics.median(lags),
        "lag_ms_most": max(lags),
        "lag_ms_last": statistics.median(lags[-10:]),
        "missing": sum(gap.missing for gap in ledger.gaps(SYMBOL)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="One link on one core, as JSON.")
    parser.add_argument("stream_url")
    parser.add_argument("rest_url")
    parser.add_argument("--seconds", type=float, default=10)
    given = parser.parse_args()
    tune()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # the output is JSON
    os.sched_setaffinity(0, {0})
    with tempfile.TemporaryDirectory(prefix="tapedeck-bench-") as directory:
        figures = asyncio.run(
            recorded(given.stream_url, given.rest_url, Path(directory) / "ledger", given.seconds)
        )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
