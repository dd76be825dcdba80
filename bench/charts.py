"""Charts beside a recording server: `.venv/bin/python bench/charts.py [--hours 24] [--calls 20]`.

The tools are asked over SSE with and without a picture, one call at a time, of a day of the simulated market
that plays on. Measured are what a caller waits for, how late the event loop wakes beside the calls, the CPU
of its longest callback, and what drawing takes of a processor. Server, exchange, drawing process and caller
share the machine: what it has too little of is in the waits and the lateness, in the CPU it is not.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # this directory has files named as packages are

import numpy as np

from bench.goals import Goal
from bench.measure import Figures
from bench.server import SYMBOL, gaps, recording, until_complete
from bench.sse_client import SseClient
from server.chart_command import ANSWERS, answer_at_rest
from server.charts.drawing import png_of
from storage.ledger import TradeLedger

TOOLS = {
    "profile": "get_volume_profile",
    "vacuums": "get_liquidity_vacuums",
    "levels": "get_key_levels",
    "flow": "get_order_flow",
}
GOALS = (
    Goal("a call with its chart, warm, most", "call_max_ms", at_most=1_500, unit="ms"),
    Goal("event loop late beside calls with charts, most", "gap_max_ms", at_most=20, unit="ms"),
    Goal("of that by the server's own doing, most", "gap_own_max_ms", at_most=20, unit="ms"),
    Goal("a callback on the event loop, of CPU, most", "callback_cpu_max_ms", at_most=20, unit="ms"),
)


async def measured(url: str, rounds: int) -> Figures:
    """Waits and loop gaps with charts, beside the same calls without, in interleaved rounds."""
    figures: Figures = {}
    with_charts, without = list[float](), list[float]()
    late: list[dict[str, float]] = []
    plain_late: list[dict[str, float]] = []
    async with SseClient(url) as client:
        for tool in TOOLS.values():
            await client.call(tool, symbol=SYMBOL)
        gaps(url)
        figures["first_ms"] = await client.call(TOOLS["profile"], symbol=SYMBOL, include_chart=True)
        figures["first_gap_max_ms"] = gaps(url)["max_ms"]
        for kind, tool in TOOLS.items():
            waited = list[float]()
            for _ in range(rounds):
                gaps(url)
                waited.append(await client.call(tool, symbol=SYMBOL, include_chart=True))
                late.append(gaps(url))
                without.append(await client.call(tool, symbol=SYMBOL))
                plain_late.append(gaps(url))
            figures[f"{kind}_ms"] = float(np.median(waited))
            with_charts += waited
    figures |= {"call_max_ms": max(with_charts), "plain_max_ms": max(without)}
    figures["plain_ms"] = float(np.median(without))
    for name, found in (("", late), ("plain_", plain_late)):
        most = [figure["max_ms"] for figure in found]
        figures |= {f"{name}gap_median_ms": float(np.median(most)), f"{name}gap_max_ms": max(most)}
        figures[f"{name}gap_own_max_ms"] = max(figure["own_max_ms"] for figure in found)
        figures[f"{name}callback_cpu_max_ms"] = max(figure["callback_cpu_max_ms"] for figure in found)
    return figures


def drawn(path: Path, rounds: int) -> Figures:
    """What drawing takes of a processor, and how large the pictures are."""
    figures: Figures = {}
    with TradeLedger.open(path, create=False) as ledger:
        pictures = {kind: answer_at_rest(ledger, SYMBOL, kind).picture for kind in ANSWERS}
    for kind, picture in pictures.items():
        assert picture is not None
        size = len(png_of(picture))
        began = time.process_time()
        for _ in range(rounds):
            png_of(picture)
        figures[f"{kind}_draw_cpu_ms"] = (time.process_time() - began) / rounds * 1000
        figures[f"{kind}_bytes"] = size
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=24, help="how much is in the ledger")
    parser.add_argument("--calls", type=int, default=20, help="calls of each tool, with and without a chart")
    parser.add_argument("--json", type=Path, help="where to keep the figures")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        ledger = Path(directory) / "ledger"
        with recording(ledger, given.hours) as url:
            figures = asyncio.run(served(url, given.calls))
        figures |= drawn(ledger, given.calls)
    for name, value in figures.items():
        print(f"{name:24} {value:12,.2f}")
    for goal in GOALS:
        met = "met" if goal.is_met(figures) else "NOT MET"
        print(f"{met:8} {goal.what}: {goal.value(figures):,.1f} ({goal.limit})")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1))
    return 0 if all(goal.is_met(figures) for goal in GOALS) else 1


async def served(url: str, rounds: int) -> Figures:
    await until_complete(url)
    return await measured(url, rounds)


if __name__ == "__main__":
    sys.exit(main())
