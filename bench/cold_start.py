"""An empty ledger, an exchange with history: when is the first complete answer there, and the day's?

Seconds from the start of the process `tapedeck serve`, imports included, by a client that asks for a volume
profile again and again. The exchange has a process of its own, generated markets at their usual rates, and
Binance's request weight.
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from mcp import Client

from bench.measure import Figures
from bench.serving import Served, exchange, private_mb, tapedeck

ASK_S = 0.2
LONGEST_S = 900.0


async def complete_after(served: Served, symbols: list[str], windows_h: list[float], began: float) -> Figures:
    """Seconds from `began` to the first complete answers of all symbols over each window."""
    figures: Figures = {}
    async with Client(f"{served.url}/mcp") as client:
        for hours in windows_h:
            for symbol in symbols:
                while not await is_complete(client, symbol, hours):
                    if time.monotonic() - began > LONGEST_S:
                        raise SystemExit(
                            f"no complete answer over {hours:g} h of {symbol} in {LONGEST_S:g} s"
                        )
                    await asyncio.sleep(ASK_S)
            figures[f"complete_{hours:g}h_s"] = time.monotonic() - began
            figures[f"private_mb_{hours:g}h"] = private_mb(served.pid)
    return figures


async def is_complete(client: Client, symbol: str, hours: float) -> bool:
    asked = {"symbol": symbol, "duration_hours": hours}
    answer: dict[str, Any] | None = (await client.call_tool("get_volume_profile", asked)).structured_content
    return bool(answer and answer["meta"]["coverage"]["complete"])


def cold_start(history_hours: float, windows_h: list[float], weight_limit: int) -> Figures:
    with (
        tempfile.TemporaryDirectory(prefix="tapedeck-bench-") as directory,
        exchange(
            "server.cli", "exchange", port=0, history_hours=history_hours, weight_limit=weight_limit
        ) as found,
    ):
        addresses = found | {"symbols": ["BTCUSDT", "ETHUSDT"]}
        began = time.monotonic()
        with tapedeck(addresses, Path(directory), links=2, warmup_hours=max(windows_h)) as served:
            figures = asyncio.run(complete_after(served, addresses["symbols"], windows_h, began))
            held = sum(v for name, v in served.metrics().items() if name.startswith("tapedeck_trades_held"))
    return figures | {"trades": held, "trades_per_min": held / time_to_last(figures) * 60}


def time_to_last(figures: Figures) -> float:
    return max(value for name, value in figures.items() if name.endswith("_s"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--hours", type=float, nargs="+", default=[1, 24], help="windows asked about, in order"
    )
    parser.add_argument("--weight-limit", type=int, default=6000, help="the exchange's, a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    given = parser.parse_args()
    figures = cold_start(max(given.hours) + 0.1, given.hours, given.weight_limit)
    for name, value in figures.items():
        print(f"{name:24} {value:>14,.1f}")
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
