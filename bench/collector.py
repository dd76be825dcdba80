"""What recording costs: CPU and memory of a serving process, and how much one link can take.

Each measurement has an exchange in a process of its own on the other core. Shares are user and system time
of the serving process over wall time; memory is RssAnon above that of a process with the same imports.
"""

import argparse
import json
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from bench.goals import Goal
from bench.measure import Figures, in_a_fresh_process
from bench.serving import exchange, imports_mb, private_mb, tapedeck

HELD = "tapedeck_trades_held"
SETTLED_S = 10
# Steps of the ceiling, messages a second.
RATES = (20_000, 40_000, 60_000, 80_000, 100_000, 120_000)
# A link that keeps up is behind by the exchange's 25 ms, the gathering's 20 and the odd flush.
KEEPS_UP_MS = 500

GOALS = (
    Goal("20 symbols x 18 trades/s on two links", "cpu_pct_20", at_most=25, unit="% of a core"),
    Goal("2 symbols x 18 trades/s on two links", "cpu_pct_2", at_most=4, unit="% of a core"),
    Goal("trades missing of 20 symbols", "missing_20", at_most=0),
    Goal("RssAnon over the imports, 20 symbols", "private_mb_over_imports_20", at_most=50, unit="MB"),
    Goal("RssAnon over the imports, 2 symbols", "private_mb_over_imports_2", at_most=50, unit="MB"),
    Goal("one link on one core without losing or lagging", "one_link_ceiling_per_s",
         at_least=20_000, unit="messages/s"),
)  # fmt: skip


def serving(symbols: int, per_s: int, seconds: float) -> Figures:
    """CPU share and memory of `tapedeck serve` on two links."""
    with (
        tempfile.TemporaryDirectory(prefix="tapedeck-bench-") as directory,
        exchange(symbols=symbols, per_s=per_s) as addresses,
        tapedeck(addresses, Path(directory), links=2) as served,
    ):
        time.sleep(SETTLED_S)
        began, cpu_s, before = time.monotonic(), served.cpu_s(), total(served.metrics(), HELD)
        time.sleep(seconds)
        wall_s, cpu_s = time.monotonic() - began, served.cpu_s() - cpu_s
        metrics = served.metrics()
        memory = private_mb(served.pid)
    return {
        f"cpu_pct_{symbols}": cpu_s / wall_s * 100,
        f"trades_per_s_{symbols}": (total(metrics, HELD) - before) / wall_s,
        f"private_mb_{symbols}": memory,
        f"missing_{symbols}": total(metrics, "tapedeck_trades_missing"),
    }


def total(metrics: dict[str, float], name: str) -> float:
    """Over all labels."""
    return sum(value for each, value in metrics.items() if each.partition("{")[0] == name)


def one_link(per_s: int, seconds: float) -> Figures:
    """And how late the exchange itself was, which has a core of its own."""
    with exchange(symbols=1, per_s=per_s) as addresses:
        figures = in_a_fresh_process(
            "bench.one_link", addresses["stream_url"], addresses["rest_url"], "--seconds", seconds
        )
        with urllib.request.urlopen(f"{addresses['control_url']}/control/report") as reply:
            link = json.load(reply)["links"][0]
    return figures | {
        "exchange_lag_ms": link["most_lag_ms"],
        "exchange_queued_mb": link["most_bytes_queued"] / 1e6,
    }


def keeps_up(figures: Figures, per_s: int) -> bool:
    return (
        figures["missing"] == 0 and figures["lag_ms_last"] < KEEPS_UP_MS and figures["per_s"] > per_s * 0.98
    )


def measured(seconds: float) -> Figures:
    figures: Figures = {"private_mb_imports": imports_mb()}
    for symbols in (2, 20):
        tell(f"{symbols} symbols on two links")
        figures |= serving(symbols, 18, seconds)
        figures[f"private_mb_over_imports_{symbols}"] = (
            figures[f"private_mb_{symbols}"] - figures["private_mb_imports"]
        )
    figures["one_link_ceiling_per_s"] = 0
    for per_s in RATES:
        found = one_link(per_s, seconds / 4)
        figures |= {f"one_link_{per_s}_{name}": value for name, value in found.items()}
        tell(f"one link, {per_s:,} a second: {told(found)}")
        if not keeps_up(found, per_s):
            break
        figures["one_link_ceiling_per_s"] = per_s
    return figures


def print_report(figures: Figures) -> None:
    for goal in GOALS:
        verdict = "reached" if goal.is_met(figures) else "not reached"
        print(f"{goal.what:60} {goal.value(figures):>10,.1f}   {goal.limit:24} {verdict}")


def told(found: Figures) -> str:
    return ", ".join(f"{name} {value:,.1f}" for name, value in found.items())


def tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=40, help="of each measurement of CPU")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    given = parser.parse_args()
    figures = measured(given.seconds)
    print_report(figures)
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
