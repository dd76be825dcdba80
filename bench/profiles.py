"""Profiles by every way: warm in one process, cold in fresh ones, and beside a busy thread.

Invariant: the ledger chooses the row size and hands it to the rivals; all agree on every integer.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from bench.asking import answer, odd_row_size, profile_of, vacuums_of
from bench.duckdb_rival import DuckDB
from bench.levels import Answer, Question, RowSums
from bench.measure import (
    Figures,
    Way,
    busy_thread_beside,
    in_a_fresh_process,
    interleaved_ms,
    median_ms,
)
from bench.rivals import Floor, Pandas, Polars
from bench.windows import SYMBOL, WEEK_H, WINDOWS_H, window_of
from storage.ledger import TradeLedger

BUSY_ROUNDS = 15
SLOW = frozenset({"polars streaming", "polars in memory", "pandas"})

Kind = Literal["default", "tick", "odd"]


class Rival(Protocol):
    def rows(self, question: Question) -> RowSums: ...


@dataclass(frozen=True, slots=True)
class Case:
    """One question as it is asked of all; `row_size` is None where the ledger chose it."""

    hours: int
    kind: Kind
    question: Question
    row_size: Decimal | None = None

    @property
    def rounds(self) -> int:
        return 15 if self.hours < WEEK_H else 9 if self.kind == "default" else 5

    @property
    def first_rounds(self) -> int:
        return 5 if (self.hours, self.kind) == (WEEK_H, "default") else 3

    def figure(self, way: str = "") -> str:
        """`profile_168h_tick_duckdb_ms`: the default size and the ledger are not named."""
        kind = "" if self.kind == "default" else self.kind
        return "_".join(part for part in (f"profile_{self.hours}h", kind, way, "ms") if part)


def cases_of(ledger: TradeLedger) -> list[Case]:
    """Every window in rows of the default size and of 1 tick; the longest in an odd size, too."""
    cases = []
    for hours in WINDOWS_H:
        window = window_of(hours)
        profile = profile_of(ledger, SYMBOL, *window)
        cases.append(Case(hours, "default", Question(*window, profile.rows.row_ticks)))
        cases.append(Case(hours, "tick", Question(*window, 1, levels=False)))
    odd = odd_row_size(profile)
    return [*cases, Case(hours, "odd", Question(*window, int(odd / profile.rows.tick)), odd)]


def warm(ledger: TradeLedger, rivals: Mapping[str, Rival], case: Case) -> Figures:
    taken = interleaved_ms(ways_of(ledger, rivals, case), case.rounds, slow=SLOW)
    taken["polars"] = min(taken.pop("polars streaming"), taken.pop("polars in memory"))
    return {case.figure(way): ms for way, ms in taken.items()}


def ways_of(ledger: TradeLedger, rivals: Mapping[str, Rival], case: Case) -> dict[str, Way]:
    """The ledger's way, which has no name, and those of the rivals."""
    ways: dict[str, Way] = {"": partial(answer, ledger, SYMBOL, case.question, case.row_size)}
    return ways | {name: partial(_asked, rival, case.question) for name, rival in rivals.items()}


def rivals_over(parquet: Path, floor: Floor) -> dict[str, Rival]:
    return {
        "duckdb": DuckDB(parquet),
        "polars streaming": Polars(parquet, "streaming"),
        "polars in memory": Polars(parquet, "in-memory"),
        "pandas": Pandas(parquet),
        "floor": floor,
    }


def _asked(rival: Rival, question: Question) -> Answer:
    return Answer.of(rival.rows(question), question)


def first(ledger: Path, parquet: Path, case: Case) -> Figures:
    """Each way in processes of its own, by turns."""
    question = case.question
    arguments: list[object] = [question.start_ms, question.end_ms, question.row_ticks]
    arguments += [] if case.row_size is None else [f"--row-size={case.row_size}"]
    places = {"first": ("ledger", ledger), "duckdb_first": ("duckdb", parquet)}
    taken: dict[str, list[float]] = {name: [] for name in places}
    checksums = set()
    for _ in range(case.first_rounds):
        for name, place in places.items():
            found = in_a_fresh_process("bench.first", *place, *arguments)
            taken[name].append(found["ms"])
            checksums.add(found["checksum"])
    if len(checksums) != 1:
        raise AssertionError(f"the ledger and DuckDB disagree in their first answers to {question}")
    return {case.figure(name): statistics.median(ms) for name, ms in taken.items()}


def beside_a_busy_thread(ledger: TradeLedger, case: Case) -> Figures:
    with busy_thread_beside():
        taken = median_ms(partial(answer, ledger, SYMBOL, case.question, case.row_size), BUSY_ROUNDS)
    return {case.figure("busy"): taken}


def vacuums(ledger: TradeLedger) -> Figures:
    return {
        f"vacuums_{hours}h_ms": median_ms(partial(vacuums_of, ledger, SYMBOL, *window_of(hours)), rounds=3)
        for hours in WINDOWS_H
    }
