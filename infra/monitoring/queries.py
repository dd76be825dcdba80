"""Every query about a tapedeck that runs: what the dashboard shows and what raises an alarm.

This is the one place where they stand: `make monitoring` writes `alerts.yml` and `grafana/tapedeck.json` from
it. Invariant: a query names no metric that `GET /metrics` does not export (a test holds it).
"""

from dataclasses import dataclass

JOB = "tapedeck"


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph: its queries by the legend of their lines. `unit` is Grafana's name of it."""

    title: str
    unit: str
    queries: dict[str, str]


@dataclass(frozen=True, slots=True)
class Alert:
    """What is wrong once `query` has had a result for so long. What to do stands in docs/operate.md."""

    name: str
    query: str
    lasting: str
    severity: str
    summary: str


PANELS = (
    Panel(
        "Trades recorded a second",
        "short",
        {"{{symbol}}": "clamp_min(delta(tapedeck_trades_held[2m]) / 120, 0)"},
    ),
    Panel("Ids missing", "short", {"{{symbol}}": "tapedeck_trades_missing"}),
    Panel(
        "Trades that await the disk",
        "short",
        {
            "awaiting": "tapedeck_ledger_unwritten_trades",
            "refused in 5 min": "increase(tapedeck_ledger_refused_trades_total[5m])",
        },
    ),
    Panel("The disk takes writes", "bool_yes_no", {"{{instance}}": "tapedeck_ledger_writable"}),
    Panel(
        "Disk",
        "bytes",
        {
            "ledger": "tapedeck_ledger_bytes",
            "left": "tapedeck_disk_free_bytes",
            "whole": "tapedeck_disk_bytes",
        },
    ),
    Panel("Trades held", "short", {"{{symbol}}": "tapedeck_trades_held"}),
    Panel("Memory", "bytes", {"{{instance}}": "tapedeck_resident_bytes"}),
    Panel(
        "Processor, share of one core",
        "percentunit",
        {
            "{{instance}} {{version}}": "rate(tapedeck_cpu_seconds_total[2m])"
            " * on (instance) group_left (version) tapedeck_build_info"
        },
    ),
)

ALERTS = (
    Alert(
        "TapedeckDown",
        f'absent(up{{job="{JOB}"}} == 1)',
        "2m",
        "critical",
        "tapedeck does not answer",
    ),
    Alert(
        "TapedeckRecordingStopped",
        "max by (instance) (changes(tapedeck_trades_held[5m])) == 0",
        "5m",
        "critical",
        "no symbol has had a new trade for 10 minutes",
    ),
    Alert(
        "TapedeckDiskRefuses",
        "tapedeck_ledger_writable == 0",
        "1m",
        "critical",
        "the disk takes no writes; trades wait in memory",
    ),
    Alert(
        "TapedeckTradesRefused",
        "increase(tapedeck_ledger_refused_trades_total[10m]) > 0",
        "0m",
        "critical",
        "more trades await the disk than memory may hold",
    ),
    Alert(
        "TapedeckDiskFull",
        "tapedeck_disk_free_bytes < 500e6",
        "5m",
        "critical",
        "less than 500 MB are left on the ledger's disk",
    ),
    Alert(
        "TapedeckGapOpen",
        "min_over_time(tapedeck_trades_missing[30m]) > 0",
        "5m",
        "warning",
        "ids of {{ $labels.symbol }} have been missing for half an hour",
    ),
    Alert(
        "TapedeckWritesLag",
        "tapedeck_ledger_unwritten_trades > 100e3",
        "2m",
        "warning",
        "more than 100,000 trades await the disk",
    ),
    Alert(
        "TapedeckDiskFillsUp",
        "predict_linear(tapedeck_disk_free_bytes[6h], 4 * 86400) < 0",
        "1h",
        "warning",
        "at this pace the ledger's disk is full within four days",
    ),
    Alert(
        "TapedeckMemoryHigh",
        "tapedeck_resident_bytes > 1.2e9",
        "15m",
        "warning",
        "the process occupies more than 1.2 GB",
    ),
    Alert(
        "TapedeckRestarts",
        "resets(tapedeck_cpu_seconds_total[1h]) > 2",
        "0m",
        "warning",
        "tapedeck was restarted three times within an hour",
    ),
)
