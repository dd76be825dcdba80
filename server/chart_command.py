"""`tapedeck chart`: the picture of a tool's answer, from a ledger's directory into a file.

Invariant: it is the picture that the tool gives for the same window, drawn by the same code.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from analytics.errors import Refused
from server.flags import add_settings
from server.ledger_commands import data_dir_of, in_one_line, opened, refuse_within
from server.selection import Unusable, symbol_in
from server.tools.answers import Answer
from server.tools.arguments import iso
from server.tools.flow import flow_answer
from server.tools.levels import levels_answer
from server.tools.profile import profile_answer
from server.tools.tape import Question, Tape, WarmupProgress
from server.tools.vacuums import vacuums_answer
from storage.held_ids import latest
from storage.ledger import TradeLedger

ENDING = ".png"
# As the tools have them by default.
ANSWERS: Mapping[str, Callable[[Question], Answer]] = {
    "profile": partial(
        profile_answer,
        row_size=None,
        value_area_pct=70,
        value_area_method="two_row",
        min_trades=1000,
        detail="summary",
        include_chart=True,
    ),
    "vacuums": partial(
        vacuums_answer,
        rule="thin",
        threshold_pct=None,
        row_size=None,
        stop_hint="none",
        detail="summary",
        include_chart=True,
    ),
    "levels": partial(levels_answer, detail="summary", include_chart=True),
    "flow": partial(
        flow_answer,
        row_size=None,
        bar=None,
        imbalance_ratio=3,
        min_notional=None,
        detail="summary",
        include_chart=True,
    ),
}


@dataclass(frozen=True, slots=True)
class AtRest:
    """What a recorder would say of a ledger that none writes to."""

    symbols: Sequence[str]

    def live_until_ms(self, symbol: str) -> int | None:
        return None

    def warmup(self, symbol: str) -> WarmupProgress | None:
        return None


def add_commands(commands: Any) -> None:
    parser = commands.add_parser("chart", help="a picture of a profile, of vacuums, levels or order flow")
    parser.add_argument("symbol", metavar="SYMBOL", help="a symbol that is held: BTCUSDT, btc/usdt, btc")
    parser.add_argument("--hours", default="24", metavar="N", help="the N hours up to the end (default 24)")
    parser.add_argument(
        "--to", dest="end", metavar="TIME", help="end, ISO-8601, exclusive; else the newest trade's"
    )
    parser.add_argument("--kind", choices=list(ANSWERS), default="profile", help="(default profile)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the PNG (default SYMBOL-KIND.png here)")
    parser.add_argument("--force", action="store_true", help="replace the file")
    add_settings(parser, ["data_dir"])
    parser.set_defaults(run=in_one_line(_chart))


def _chart(given: argparse.Namespace) -> int:
    data_dir = data_dir_of(given)
    with opened(data_dir) as (ledger, _):
        symbol = symbol_in(ledger, given.symbol)
        path = given.out or Path(f"{symbol}-{given.kind}{ENDING}")
        _check_file(path, data_dir, force=given.force)
        answer = answer_at_rest(ledger, symbol, given.kind, hours=given.hours, end=given.end)
    path.write_bytes(_png(answer))
    print(f"{answer.summary}\n{path}, {decimal(path.stat().st_size)}")
    return 0


def _check_file(path: Path, data_dir: Path, *, force: bool) -> None:
    refuse_within(path, data_dir)
    if path.suffix.lower() != ENDING:
        raise Unusable(f"{path} does not end in {ENDING}")
    if path.exists() and not force:
        raise Unusable(f"{path} exists already; --force replaces it")


def answer_at_rest(
    ledger: TradeLedger, symbol: str, kind: str, *, hours: str = "24", end: str | None = None
) -> Answer:
    """A tool's answer with its picture, about the hours up to an end or the newest trade."""
    newest = latest(ledger.runs(symbol))
    if newest is None:
        raise Unusable(f"{symbol} has no trades")
    now_ms = newest.last_ms + 1
    window = {"duration_hours": hours, "start_time": None, "end_time": end or iso(now_ms), "session": None}
    try:
        with Tape(ledger, AtRest(ledger.symbols), lambda: now_ms).question(
            symbol=symbol, **window
        ) as question:
            return ANSWERS[kind](question)
    except Refused as refused:
        raise Unusable(str(refused)) from refused


def _png(answer: Answer) -> bytes:
    from server.charts.drawing import png_of  # matplotlib; no other command needs it

    assert answer.picture is not None
    return png_of(answer.picture)
