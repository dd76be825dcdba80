"""Every query about a tapedeck that runs: what the dashboard shows and what raises an alarm.

This is the one place where they stand: `make monitoring` writes `alerts.yml` and `grafana/tapedeck.json` from
it. Invariant: a query names no metric that `GET /metrics` does not export (a test holds it).
"""

from dataclasses import dataclass

from server.call_metrics import OURS

JOB = "tapedeck"
FAILURES = f'outcome=~"{"|".join(OURS)}"'


def _quantile(share: float, histogram: str, minutes: int, *by: str) -> str:
    """The value that so large a share of what was observed in the last minutes stays below."""
    groups = ", ".join(("instance", *by, "le"))
    return f"histogram_quantile({share}, sum by ({groups}) (rate({histogram}_bucket[{minutes}m])))"


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
    Panel("Lag, from event to receipt", "s", {"{{symbol}}": "tapedeck_lag_seconds"}),
    Panel("Links", "short", {"up": "tapedeck_links", "wanted": "tapedeck_links_wanted"}),
    Panel(
        "Messages not taken in 5 min",
        "short",
        {
            "dropped": "increase(tapedeck_messages_dropped_total[5m])",
            "malformed": "increase(tapedeck_messages_malformed_total[5m])",
            "rows of REST malformed": "increase(tapedeck_rest_rows_malformed_total[5m])",
            "implausible": "increase(tapedeck_messages_implausible_total[5m])",
            "shut out": "increase(tapedeck_trades_shut_out_total[5m])",
        },
    ),
    Panel(
        "REST weight this minute",
        "short",
        {"used": "tapedeck_rest_weight_used", "allowed": "tapedeck_rest_weight_limit"},
    ),
    Panel("Clock, seconds off the exchange's", "s", {"{{instance}}": "abs(tapedeck_clock_offset_seconds)"}),
    Panel(
        "Calls a second",
        "short",
        {"{{outcome}}": "sum by (instance, outcome) (rate(tapedeck_calls_total[5m])) > 0"},
    ),
    Panel(
        "Duration of calls",
        "s",
        {
            "p50": _quantile(0.5, "tapedeck_call_seconds", 5),
            "p99": _quantile(0.99, "tapedeck_call_seconds", 5),
        },
    ),
    Panel(
        "Tokens an answer",
        "short",
        {
            "{{tool}}": "rate(tapedeck_answer_tokens_sum[15m])"
            " / (rate(tapedeck_answer_tokens_count[15m]) > 0)",
        },
    ),
    Panel("Open sessions", "short", {"{{transport}}": "tapedeck_sessions"}),
    Panel(
        "Clients refused or dropped in 5 min",
        "short",
        {"{{bound}}": "increase(tapedeck_bounds_reached_total[5m])"},
    ),
    Panel("Event loop late, p99", "s", {"{{instance}}": _quantile(0.99, "tapedeck_loop_gap_seconds", 5)}),
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
    Alert(
        "TapedeckNoLink",
        "tapedeck_links == 0",
        "1m",
        "critical",
        "no link to the exchange is up",
    ),
    Alert(
        "TapedeckLinkMissing",
        "0 < tapedeck_links < tapedeck_links_wanted",
        "10m",
        "warning",
        "fewer links are up than there should be",
    ),
    Alert(
        "TapedeckLag",
        # Of a symbol that prints nothing the lag is an old one.
        "tapedeck_lag_seconds > 5 and changes(tapedeck_head_id[5m]) > 0",
        "5m",
        "warning",
        "trades of {{ $labels.symbol }} arrive more than 5 s late",
    ),
    Alert(
        "TapedeckMessagesDropped",
        "increase(tapedeck_messages_dropped_total[10m]) > 0",
        "0m",
        "warning",
        "messages came faster than they were read, and some were given up",
    ),
    Alert(
        "TapedeckMessagesMalformed",
        "increase(tapedeck_messages_malformed_total[15m]) > 0"
        " or increase(tapedeck_rest_rows_malformed_total[15m]) > 0",
        "0m",
        "warning",
        "messages of the exchange could not be read",
    ),
    Alert(
        "TapedeckRestBarred",
        "increase(tapedeck_rest_barred_total[15m]) > 0",
        "0m",
        "warning",
        "the exchange refuses REST requests as too many ({{ $labels.status }})",
    ),
    Alert(
        "TapedeckClockOff",
        "abs(tapedeck_clock_offset_seconds) > 1",
        "10m",
        "warning",
        "the clock differs from the exchange's by more than a second",
    ),
    Alert(
        "TapedeckCallsFail",
        f"sum by (instance) (increase(tapedeck_calls_total{{{FAILURES}}}[15m]))"
        " / sum by (instance) (increase(tapedeck_calls_total[15m])) > 0.05",
        "5m",
        "warning",
        "more than 5 % of the calls fail for reasons of the server's",
    ),
    Alert(
        "TapedeckCallsSlow",
        f"{_quantile(0.99, 'tapedeck_call_seconds', 15)} > 5",
        "10m",
        "warning",
        "one call in a hundred takes more than 5 s",
    ),
    Alert(
        "TapedeckSessionsNearLimit",
        "tapedeck_sessions / tapedeck_sessions_limit > 0.8",
        "5m",
        "warning",
        "more than 80 % of the sessions that may be open over {{ $labels.transport }} are",
    ),
    Alert(
        "TapedeckLoopLate",
        f"{_quantile(0.99, 'tapedeck_loop_gap_seconds', 10)} > 0.1",
        "10m",
        "warning",
        "the event loop is more than 100 ms late at one time in a hundred",
    ),
)
