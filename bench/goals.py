"""What the figures have to be.

Invariant: a goal is judged by figures of one run; ratios are of medians of interleaved rounds.
"""

from dataclasses import dataclass

from bench.measure import Figures


@dataclass(frozen=True, slots=True)
class Goal:
    """`figure`, or its ratio to the figure `over`, is at most or at least a limit."""

    what: str
    figure: str
    over: str | None = None
    at_most: float | None = None
    at_least: float | None = None
    unit: str = ""

    def value(self, figures: Figures) -> float:
        return figures[self.figure] / (figures[self.over] if self.over else 1)

    def is_met(self, figures: Figures) -> bool:
        value = self.value(figures)
        return (self.at_most is None or value <= self.at_most) and (
            self.at_least is None or value >= self.at_least
        )

    @property
    def limit(self) -> str:
        if self.at_most is not None:
            return f"<= {self.at_most:,g} {self.unit}".rstrip()
        return f">= {self.at_least:,g} {self.unit}".rstrip()


def _exact(kind: str, name: str) -> list[Goal]:
    return [
        Goal(f"168 h in rows of {name}, of DuckDB's time", f"profile_168h_{kind}_ms",
             f"profile_168h_{kind}_duckdb_ms", at_most=1, unit="x"),
        Goal(f"168 h in rows of {name}, of the floor's time", f"profile_168h_{kind}_ms",
             f"profile_168h_{kind}_floor_ms", at_most=3, unit="x"),
    ]  # fmt: skip


GOALS = (
    Goal("24 h", "profile_24h_ms", at_most=5, unit="ms"),
    Goal("24 h, DuckDB's time over ours", "profile_24h_duckdb_ms", "profile_24h_ms", at_least=8, unit="x"),
    Goal("24 h, of the floor's time", "profile_24h_ms", "profile_24h_floor_ms", at_most=0.5, unit="x"),
    Goal("168 h", "profile_168h_ms", at_most=10, unit="ms"),
    Goal("168 h, DuckDB's time over ours", "profile_168h_duckdb_ms", "profile_168h_ms",
         at_least=20, unit="x"),
    Goal("168 h, first question of a process", "profile_168h_first_ms", at_most=100, unit="ms"),
    Goal("168 h, first question, of DuckDB's first", "profile_168h_first_ms",
         "profile_168h_duckdb_first_ms", at_most=1, unit="x"),
    *_exact("odd", "an odd size"),
    *_exact("tick", "1 tick"),
    Goal("168 h beside a thread busy half of the time", "profile_168h_busy_ms", at_most=20, unit="ms"),
    Goal("bytes a trade in sealed hours", "bytes_per_trade", at_most=3.5),
    Goal("the directory, of the sealed bytes", "directory_bytes_per_trade",
         "bytes_per_trade_all", at_most=2, unit="x"),
    # By CPU: whatever else runs on the machine takes time from a wall clock, and is none of the ledger's.
    Goal("ingest in bulk, for a second of one core", "ingest_trades_per_cpu_s",
         at_least=100_000, unit="trades"),
    Goal("20 trades/s x 2 symbols, synced each second", "steady_core_pct", at_most=0.5, unit="% of a core"),
    Goal("RssAnon over the imports, week of 2 symbols", "memory_mb_over_imports", at_most=40, unit="MB"),
)  # fmt: skip
