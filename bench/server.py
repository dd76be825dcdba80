"""The server under people: `.venv/bin/python bench/server.py [--hours 168] [--seconds 20] [--json FILE]`.

A week of the simulated market is put into a ledger, the stand-in exchange plays on, and the server records
and answers over SSE. Measured are what callers wait for, how long the event loop is held up meanwhile, and
whether the recording misses a trade. Server, exchange and callers share the machine.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # this directory has files named as packages are

from bench.goals import Goal
from bench.measure import Figures
from bench.sse_client import SseClient
from collectors.exchange import GeneratedMarket
from storage.keys import HOUR_MS
from storage.ledger import TradeLedger

ROOT = Path(__file__).parents[1]
SYMBOL = "BTCUSDT"
SEED = 1
SESSIONS = 100
ASKING = 20
ROUNDS = 5
CALLS = 200

GOALS = (
    Goal("100 sessions ask for 1 h at once, p99", "sessions_p99_ms", at_most=1_000, unit="ms"),
    Goal("24 h over SSE, warm, median", "call_24h_ms", at_most=15, unit="ms"),
    Goal("event loop late, 20 clients asking for 24 h and 168 h, p99", "gap_p99_ms", at_most=20, unit="ms"),
    Goal("event loop late, 20 clients asking for 24 h and 168 h, most", "gap_max_ms", at_most=150, unit="ms"),
    Goal("trades missing behind it all", "missing", at_most=0),
)


def fill(path: Path, hours: int, symbols: dict[str, str]) -> None:
    """The market's hours up to now, sealed as a recording would have left them."""
    market, now_ms = GeneratedMarket(SEED), time.time_ns() // 1_000_000
    with TradeLedger.open(path) as ledger:
        ledger.claim("simulated", [symbols["stream_url"], symbols["rest_url"]])
        ledger.keep_instrument(market.instruments[SYMBOL], 0)
        for hour_ms in range(now_ms // HOUR_MS * HOUR_MS - hours * HOUR_MS, now_ms, HOUR_MS):
            ledger.append(SYMBOL, market.trades(SYMBOL, hour_ms, min(hour_ms + HOUR_MS, now_ms)))
            ledger.flush()
            ledger.seal(hour_ms + HOUR_MS + 60_000 if hour_ms + HOUR_MS < now_ms else now_ms)


@contextmanager
def process(*command: str, environment: dict[str, str] | None = None) -> Iterator[str]:
    """A command, and the first line that it prints."""
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        assert child.stdout is not None
        try:
            yield child.stdout.readline().strip()
        finally:
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(20)
            child.kill()


@contextmanager
def recording(ledger: Path, hours: int) -> Iterator[str]:
    """The address of a watched server that records on in a filled ledger, beside an exchange of its own."""
    with process(
        "-m", "server.cli", "exchange", "--port=0", f"--seed={SEED}", "--history-hours=1",
        "--weight-limit=60000",
    ) as said:  # fmt: skip
        exchange = json.loads(said)
        fill(ledger, hours, exchange)
        environment = {
            "TAPEDECK_STREAM_URLS": exchange["stream_url"],
            "TAPEDECK_REST_URL": exchange["rest_url"],
            "TAPEDECK_SYMBOLS": SYMBOL,
            "TAPEDECK_DATA_DIR": str(ledger),
            "TAPEDECK_WARMUP_HOURS": "0",
        }
        with process("bench/watched.py", "ours", environment=environment) as ours:
            yield ours.split()[-1]


async def sessions(url: str) -> list[float]:
    """What each of many sessions waited for an hour's profile, all asking at once, in several rounds."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(SseClient(url)) for _ in range(SESSIONS)]
        waited: list[float] = []
        for _ in range(ROUNDS):
            asked = [client.call("get_volume_profile", symbol=SYMBOL, duration_hours=1) for client in clients]
            waited += await asyncio.gather(*asked)
        return waited


async def calls(url: str, tool: str, **arguments: object) -> float:
    """Median wait of one session that asks again and again."""
    async with SseClient(url) as client:
        waited = [await client.call(tool, **arguments) for _ in range(CALLS)]
        return statistics.median(waited[10:])


async def asking(url: str, seconds: float) -> list[float]:
    """Clients that ask for a day and a week in turn, for so long; what they waited."""
    ends, waited = time.monotonic() + seconds, list[float]()

    async def one(number: int) -> None:
        async with SseClient(url) as client:
            while time.monotonic() < ends:
                hours = (24, 168)[number % 2]
                waited.append(await client.call("get_volume_profile", symbol=SYMBOL, duration_hours=hours))
                number += 1

    await asyncio.gather(*(one(number) for number in range(ASKING)))
    return waited


async def until_complete(url: str) -> None:
    """Until what passed since the ledger was filled has come over REST."""
    async with SseClient(url) as client, asyncio.timeout(120):
        while not (await client.ask("get_data_coverage", symbol=SYMBOL))["symbols"][0]["complete"]:  # noqa: ASYNC110
            await asyncio.sleep(0.5)


async def missing(url: str) -> int:
    """Ids that the recording lacks, once nothing is awaited any more."""
    await until_complete(url)
    async with SseClient(url) as client:
        part = (await client.ask("get_data_coverage", symbol=SYMBOL))["symbols"][0]
    return int(part["missing"]) + (0 if part["complete"] else 1)


def gaps(url: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{url}/gaps") as reply:
        figures: dict[str, float] = json.load(reply)
        return figures


async def measured(url: str, echo: str, seconds: float) -> Figures:
    figures: Figures = {}
    await until_complete(url)
    await asking(url, 2)  # warm
    waited = sorted(await sessions(url))
    figures["sessions_p50_ms"] = statistics.median(waited)
    figures["sessions_p99_ms"] = waited[int(len(waited) * 0.99)]
    figures["echo_ms"] = await calls(echo, "say", words="hello")
    for hours in (1, 24, 168):
        figures[f"call_{hours}h_ms"] = await calls(
            url, "get_volume_profile", symbol=SYMBOL, duration_hours=hours
        )
    gaps(url)
    waited = await asking(url, seconds)
    late = gaps(url)
    figures |= {"asked_calls_per_s": len(waited) / seconds, "asked_p50_ms": statistics.median(waited)}
    figures |= {"gap_p99_ms": late["p99_ms"], "gap_max_ms": late["max_ms"]}
    await asyncio.sleep(seconds / 4)
    idle = gaps(url)
    figures |= {"idle_gap_p99_ms": idle["p99_ms"], "idle_gap_max_ms": idle["max_ms"]}
    figures["missing"] = await missing(url)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=168, help="how much is in the ledger")
    parser.add_argument("--seconds", type=float, default=20, help="how long the clients ask")
    parser.add_argument("--json", type=Path, help="where to keep the figures")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as directory,
        recording(Path(directory) / "ledger", given.hours) as url,
        process("bench/watched.py", "echo") as echo,
    ):
        figures = asyncio.run(measured(url, echo.split()[-1], given.seconds))
    for name, value in figures.items():
        print(f"{name:24} {value:12,.2f}")
    for goal in GOALS:
        met = "met" if goal.is_met(figures) else "NOT MET"
        print(f"{met:8} {goal.what}: {goal.value(figures):,.1f} ({goal.limit})")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1))
    return 0 if all(goal.is_met(figures) for goal in GOALS) else 1


if __name__ == "__main__":
    sys.exit(main())
