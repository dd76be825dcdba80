"""The soak of what people install: the wheel alone, recording, with two askers over SSE each second.

It is built, installed with its locked dependencies where nothing else is, and started outside the checkout
beside the stand-in exchange of its own. Two sessions of the official client ask tool after tool. Exit status
1 when a goal is missed. Usage: python -m tests.soak.wheel [--minutes 30]
"""

import argparse
import asyncio
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from mcp import Client
from mcp.client.sse import sse_client
from prometheus_client.parser import text_string_to_metric_families

from bench.goals import Goal
from bench.measure import Figures
from tests.installed import installed, wheel_in
from tests.levers import until
from tests.processes import ROOT, Process, environment_for, inherited

ASKERS = 2
SYMBOLS = ("BTCUSDT", "ETHUSDT")
LOOK_S = 5.0
# Memory is judged over this last part of the run, or two thirds of a short one, by medians of a tenth of it.
JUDGED_S = 20 * 60
# A new process settles: threads, caches and what is imported by a first question.
READY_S = 240.0
QUESTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("get_volume_profile", {"duration_hours": 1}),
    ("get_volume_profile", {"duration_hours": 24, "detail": "full"}),
    ("get_liquidity_vacuums", {"duration_hours": 4, "stop_hint": "both"}),
    ("get_order_flow", {"duration_hours": 1}),
    ("get_key_levels", {}),
    ("get_candles", {"duration_hours": 6}),
    ("get_footprint", {"duration_hours": 1}),
    ("get_data_coverage", {}),
    ("get_liquidity_vacuums", {"duration_hours": 24, "detail": "full"}),
    ("get_order_flow", {"duration_hours": 24}),
)
GOALS = (
    Goal("private memory, growth beyond the open hour's columns", "growth_mb", at_most=5, unit="MB"),
    Goal("event loop late, p99", "gap_p99_ms", at_most=20, unit="ms"),
    # The timer is set every 50 ms: of a standstill of 150 ms it sees at least 100.
    Goal("event loop late, most that was seen", "gap_max_ms", at_most=100, unit="ms"),
    Goal("calls that failed", "errors", at_most=0),
    Goal("calls answered, of those due", "answered_share", at_least=0.95),
    Goal("ids missing at the end", "missing", at_most=0),
)


@dataclass(slots=True)
class Asked:
    """What became of the calls; `took_ms` of those that were answered."""

    due: int = 0
    took_ms: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Look:
    """The process at a moment."""

    at_s: float
    private_mb: float
    open_mb: float

    @property
    def beyond_mb(self) -> float:
        """Private memory but for the columns of the open hours, which grow and go by themselves."""
        return self.private_mb - self.open_mb


def metrics(url: str) -> dict[str, float]:
    """What a scrape says: each sample by its name and its labels' values."""
    text = httpx.get(f"{url}/metrics", trust_env=False, timeout=30).text
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@contextmanager
def running(
    program: Path, directory: Path, *arguments: str, environment: Mapping[str, str]
) -> Iterator[Process]:
    """`tapedeck` as it is installed, in a directory that is no checkout."""
    child = subprocess.Popen(
        [program, *arguments], cwd=directory, env=inherited() | dict(environment), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    with Process(child) as process:
        yield process
        child.terminate()
        process.wait(30)


def soak(minutes: float, directory: Path, *, warmup_hours: float = 24) -> tuple[Figures, list[Look], Asked]:
    """Build, install, run and ask."""
    programs = installed(directory, wheel_in(directory))
    with (
        running(programs / "tapedeck", directory, "exchange", "--port=0", "--weight-limit=60000",
                environment={}) as exchange,
    ):  # fmt: skip
        urls = json.loads(exchange.until("rest_url"))
        settings = environment_for(
            urls, directory / "ledger", SYMBOLS=",".join(SYMBOLS), WARMUP_HOURS=warmup_hours,
            STREAM_URLS=",".join([urls["stream_url"]] * 2),
        )  # fmt: skip
        with running(programs / "tapedeck", directory, "serve", environment=settings) as server:
            url = server.until("MCP over SSE at ", within_s=60).split("MCP over SSE at ")[1].split("/sse")[0]
            until(lambda: httpx.get(f"{url}/readyz", trust_env=False).status_code == 200, within_s=READY_S)
            with machine_gap() as gap:
                figures, looks, asked = asyncio.run(_asked(url, minutes * 60))
            return figures | gap, looks, asked


@contextmanager
def machine_gap() -> Iterator[Figures]:
    """How late the machine itself was, known once the body is over."""
    figures: Figures = {}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.soak.machine"], cwd=ROOT, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        yield figures
        said, _ = child.communicate(timeout=30)
    figures.update({f"machine_gap_{name}": value for name, value in json.loads(said).items()})


async def _asked(url: str, seconds: float) -> tuple[Figures, list[Look], Asked]:
    ends_s = time.monotonic() + seconds
    before, began_s = metrics(url), time.monotonic()
    looks: list[Look] = []
    asked = Asked()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_look_on(url, ends_s, looks))
        for number in range(ASKERS):
            tasks.create_task(_ask_on(url, number, ends_s, asked))
    after, took_s = metrics(url), time.monotonic() - began_s
    await asyncio.to_thread(until, lambda: _missing(metrics(url)) == 0, 60)
    return figures_of(before, after, took_s, looks, asked) | {"missing": _missing(metrics(url))}, looks, asked


async def _look_on(url: str, ends_s: float, looks: list[Look]) -> None:
    while (now_s := time.monotonic()) < ends_s:
        found = await asyncio.to_thread(metrics, url)
        private, held_open = found["tapedeck_private_bytes"], found["tapedeck_ledger_open_bytes"]
        looks.append(Look(now_s, private / 1e6, held_open / 1e6))
        await asyncio.sleep(LOOK_S)


async def _ask_on(url: str, number: int, ends_s: float, asked: Asked) -> None:
    """One session that asks each second, the next question and the other symbol."""
    questions = itertools.islice(itertools.cycle(QUESTIONS), number * 3, None)
    async with Client(sse_client(f"{url}/sse", timeout=60)) as client:
        due_s = time.monotonic()
        for (tool, arguments), symbol in zip(questions, itertools.cycle(SYMBOLS), strict=False):
            if due_s >= ends_s:
                return
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            await _ask(client, tool, {"symbol": symbol} | arguments, asked)
            due_s += 1


async def _ask(client: Client, tool: str, arguments: dict[str, Any], asked: Asked) -> None:
    asked.due += 1
    began_s = time.perf_counter()
    result = await client.call_tool(tool, arguments)
    if result.is_error:
        asked.failed[f"{tool}: {result.content[0]}"[:200]] += 1
    else:
        asked.took_ms.append((time.perf_counter() - began_s) * 1000)


# What came of it


def figures_of(
    before: Mapping[str, float], after: Mapping[str, float], took_s: float, looks: list[Look], asked: Asked
) -> Figures:
    took_ms = sorted(asked.took_ms) or [0.0]
    return {
        "growth_mb": growth_mb(looks),
        "gap_p99_ms": gap_ms(before, after, 0.99),
        "gap_max_ms": gap_ms(before, after, 1.0),
        "errors": sum(asked.failed.values()),
        "answered_share": len(asked.took_ms) / max(took_s * ASKERS, 1),
        "core_pct": 100 * _grown("tapedeck_cpu_seconds_total", before, after) / took_s,
        "private_mb": looks[-1].private_mb,
        "open_mb": looks[-1].open_mb,
        "call_p50_ms": median(took_ms),
        "call_p99_ms": took_ms[int(len(took_ms) * 0.99)],
        "call_max_ms": took_ms[-1],
    }


def growth_mb(looks: list[Look]) -> float:
    """From the first tenth to the last one of the part that is judged, by their medians."""
    whole_s = looks[-1].at_s - looks[0].at_s
    from_s = looks[-1].at_s - min(JUDGED_S, whole_s * 2 / 3)
    judged = [look.beyond_mb for look in looks if look.at_s >= from_s]
    tenth = max(1, len(judged) // 10)
    return median(judged[-tenth:]) - median(judged[:tenth])


def gap_ms(before: Mapping[str, float], after: Mapping[str, float], share: float) -> float:
    """The end of the first bucket of the loop's gaps that holds so large a share of them, in ms."""
    name = "tapedeck_loop_gap_seconds_bucket "
    ends = sorted(float(key.removeprefix(name)) for key in after if key.startswith(name))
    counts = [_grown(f"{name}{_written(end)}", before, after) for end in ends]
    return 1000 * next(end for end, count in zip(ends, counts, strict=True) if count >= share * counts[-1])


def _written(end: float) -> str:
    return "+Inf" if end == float("inf") else str(end)


def _grown(name: str, before: Mapping[str, float], after: Mapping[str, float]) -> float:
    return after[name] - before.get(name, 0)


def _missing(found: Mapping[str, float]) -> float:
    return sum(value for name, value in found.items() if name.startswith("tapedeck_trades_missing "))


def print_report(figures: Figures, looks: list[Look], asked: Asked) -> None:
    for look in looks[:: max(1, len(looks) // 20)]:
        at_min = (look.at_s - looks[0].at_s) / 60
        print(f"{at_min:6.1f} min  private {look.private_mb:7.2f} MB, open hours {look.open_mb:6.2f} MB")
    for name, value in figures.items():
        print(f"{name:20} {value:10,.2f}")
    if figures["machine_gap_p99_ms"] > 5:
        print("the machine is late by itself: goals of the event loop say nothing of the server's")
    for words, count in asked.failed.most_common(5):
        print(f"failed {count} times: {words}")
    for goal in GOALS:
        met = "PASS" if goal.is_met(figures) else "FAIL"
        print(f"{met} {goal.what}: {goal.value(figures):,.2f} ({goal.limit})")


def is_met(figures: Figures) -> bool:
    return all(goal.is_met(figures) for goal in GOALS)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tapedeck-soak-") as directory:
        figures, looks, asked = soak(given.minutes, Path(directory))
    print_report(figures, looks, asked)
    return 0 if is_met(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
