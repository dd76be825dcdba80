"""Clocks, memory and bytes: how the benchmark measures.

Invariant: what is compared is measured in interleaved rounds of one run, and medians are told.
"""

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.levels import Answer

Way = Callable[[], Answer]
Figures = dict[str, float]
# A way that is much slower than the others takes part in this many rounds alone.
FEW_ROUNDS = 3


def interleaved_ms(ways: Mapping[str, Way], rounds: int, *, slow: frozenset[str]) -> Figures:
    """Median time of each way over rounds in which each runs once; AssertionError where two disagree."""
    expected = _agreed(ways)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for done in range(rounds):
        for name, way in ways.items():
            if name in slow and done >= FEW_ROUNDS:
                continue
            began = time.perf_counter()
            answer = way()
            times[name].append((time.perf_counter() - began) * 1000)
            if not answer.agrees_with(expected):
                raise AssertionError(f"{name} has changed its mind")
    return {name: statistics.median(taken) for name, taken in times.items()}


def _agreed(ways: Mapping[str, Way]) -> Answer:
    """The answer of all; it also warms each way up. Levels are compared where they are not timed, too."""
    answers = {name: way() for name, way in ways.items()}
    first, *others = answers.items()
    levels = first[1].sums.levels()
    for name, answer in others:
        if not answer.agrees_with(first[1]) or answer.sums.levels() != levels:
            raise AssertionError(f"{first[0]} and {name} disagree")
    return first[1]


def median_ms(work: Callable[[], object], rounds: int) -> float:
    """Median time of one way by itself, warmed up once."""
    work()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


@dataclass(slots=True)
class Spent:
    """Seconds by the wall and of CPU, all threads of the process together."""

    wall_s: float = 0.0
    cpu_s: float = 0.0

    @contextmanager
    def counting(self) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall_s += time.perf_counter() - wall
        self.cpu_s += time.process_time() - cpu


@contextmanager
def busy_thread_beside() -> Iterator[None]:
    """A thread that keeps Python busy half of the time: 1 ms on, 1 ms off."""
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            until = time.perf_counter() + 0.001
            while time.perf_counter() < until:
                pass
            time.sleep(0.001)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def in_a_fresh_process(module: str, *arguments: object) -> Figures:
    """What `python -m module arguments` measured of itself: the JSON that it printed."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, Any] = json.loads(found.stdout)
    return figures


def anonymous_mb() -> float:
    """RssAnon of this process; LevelDB's mapped files are the kernel's to drop and do not count."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024 / 1e6


@contextmanager
def peak_mb() -> Iterator[list[float]]:
    """The most anonymous memory seen meanwhile, looked at every 2 ms: the only element once it has ended."""
    seen, done = [anonymous_mb()], threading.Event()

    def look() -> None:
        while not done.wait(0.002):
            seen[0] = max(seen[0], anonymous_mb())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def directory_bytes(path: Path) -> int:
    return sum(entry.stat().st_size for entry in path.iterdir())
