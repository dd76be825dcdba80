"""`tapedeck export`: a window or a range of ids of one symbol to a file, with the digest of its rows.

Invariant: the exit status is 0 only when no id is missing; what is missing is named.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from server.flags import add_settings
from server.ledger_commands import bar_on_terminal, data_dir_of, in_one_line, opened, refuse_within, say
from server.selection import Asked, Missing, Selection, Unusable, held_in_words, selection_of, symbol_in
from storage.export_files import CsvRows, Exported, Form, Rows, export, file_of_rows

STDOUT = "-"
ENDINGS: Mapping[str, Form] = {".parquet": "parquet", ".csv": "csv", ".csv.gz": "csv"}
# Exit status of an export that holds what there is, while ids are missing.
PARTIAL = 3
NAMED = 10


def add_commands(commands: Any) -> None:
    parser = commands.add_parser("export", help="trades to Parquet or CSV, exact, with their digest")
    parser.add_argument("symbol", metavar="SYMBOL", help="a symbol that is held: BTCUSDT, btc/usdt, btc")
    parser.add_argument("--out", required=True, metavar="FILE", help="the file; - writes CSV to the output")
    parser.add_argument("--from", dest="start", metavar="TIME", help="begin, ISO-8601; else the oldest trade")
    parser.add_argument("--to", dest="end", metavar="TIME", help="end, exclusive; else the newest trade's")
    parser.add_argument("--hours", metavar="N", help="the N hours up to that end")
    parser.add_argument("--ids", metavar="A-B", help="exactly the aggregate trade ids A to B")
    parser.add_argument("--format", choices=["parquet", "csv"], help="else by the file's ending")
    parser.add_argument("--force", action="store_true", help="replace the file")
    add_settings(parser, ["data_dir"])
    parser.set_defaults(run=in_one_line(_export))


def _export(given: argparse.Namespace) -> int:
    form, data_dir = _form(given.out, given.format), data_dir_of(given)
    if given.out != STDOUT:
        _check_file(Path(given.out), data_dir, force=given.force)
    began = time.monotonic()
    with opened(data_dir) as (ledger, _):
        symbol = symbol_in(ledger, given.symbol)
        with ledger.view(symbol) as view:
            selected = selection_of(view, Asked(given.start, given.end, given.hours, given.ids))
            first = next(selected.chunks, None)
            if first is None:
                raise Unusable(f"{symbol} has no trades in {selected.words}; held are {held_in_words(view)}")
            facts = _facts_of(symbol, ledger.venue, selected)
            with _out(given.out, form, force=given.force) as rows, _progress(symbol, selected) as passed:
                exported = export(chain([first], selected.chunks), rows, facts, passed)
    _report(symbol, exported, selected, given.out, time.monotonic() - began)
    return PARTIAL if selected.missing(exported) else 0


def _form(out: str, chosen: Form | None) -> Form:
    if out == STDOUT:
        if chosen == "parquet":
            raise Unusable("only CSV is written to the output; name a file for Parquet")
        return "csv"
    by_ending = next((form for end, form in ENDINGS.items() if out.lower().endswith(end)), None)
    form = chosen or by_ending
    if form is None:
        raise Unusable(f"{out} ends in none of {', '.join(ENDINGS)}: name it so, or say --format")
    return form


def _check_file(path: Path, data_dir: Path, *, force: bool) -> None:
    """Refuse before the work what would fail after it."""
    refuse_within(path, data_dir)
    if path.exists() and not path.is_file():
        raise Unusable(f"{path} is no file")
    if path.exists() and not force:
        raise Unusable(f"{path} exists already; --force replaces it")
    if not path.parent.is_dir():
        raise Unusable(f"{path.parent} is no directory")


@contextmanager
def _out(out: str, form: Form, *, force: bool) -> Iterator[Rows]:
    if out != STDOUT:
        with file_of_rows(Path(out), form, force=force) as rows:
            yield rows
        return
    yield CsvRows(sys.stdout.buffer)
    sys.stdout.flush()


@contextmanager
def _progress(symbol: str, selected: Selection) -> Iterator[Callable[[int], None]]:
    """A bar for the export's rows."""
    with bar_on_terminal() as progress:
        task = progress.add_task(f"{symbol}, {selected.about:,} trades", total=selected.about)
        yield lambda rows: progress.advance(task, rows)


def _facts_of(symbol: str, venue: str | None, selected: Selection) -> Callable[[Exported], Mapping[str, str]]:
    """What a file says about itself, once its rows are known."""

    def facts(exported: Exported) -> dict[str, str]:
        missing = selected.missing(exported)
        coverage: dict[str, Any] = {"complete": not missing, "missing": missing}
        if selected.coverage is not None:
            coverage["complete"] = selected.coverage.complete and not missing
            coverage["covered_pct"] = selected.coverage.covered_pct
        return {
            "symbol": symbol,
            "venue": venue or "",
            "window": selected.words,
            "rows": str(exported.rows),
            "ids": f"{exported.first_id}-{exported.last_id}",
            "sha256": exported.digest,
            "coverage": json.dumps(coverage),
        }

    return facts


def _report(symbol: str, exported: Exported, selected: Selection, out: str, took_s: float) -> None:
    """What was written and its digest, beside the rows; what is missing as an error."""
    where = sys.stderr if out == STDOUT else sys.stdout
    coverage = selected.coverage
    covered = "" if coverage is None else f", {coverage.covered_pct:.2f} % of the time covered"
    size = "" if out == STDOUT else f", {decimal(Path(out).stat().st_size)}"
    print(
        f"{symbol} {selected.words}: {exported.rows:,} trades to {out}{size} in {took_s:.1f} s{covered}",
        file=where,
    )
    ids = f"{exported.first_id}-{exported.last_id}"
    print(f"DIGEST sha256 {exported.digest} ids {ids} rows {exported.rows}", file=where)
    if missing := selected.missing(exported):
        say(_named(symbol, missing))


def _named(symbol: str, missing: Missing) -> str:
    count = sum(last - first + 1 for first, last in missing)
    named = ", ".join(f"{first}-{last}" for first, last in missing[:NAMED])
    more = f" and {len(missing) - NAMED} more ranges" if len(missing) > NAMED else ""
    return f"PARTIAL: {count:,} ids of {symbol} are missing: {named}{more}"
