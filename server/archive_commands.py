"""The commands about the exchange's daily dumps: `tapedeck backfill` and `tapedeck audit`.

Invariant: what they need is imported when one of them runs, so that no other command waits for it.
"""

import argparse
from datetime import date
from typing import Any

from server.flags import add_settings, settings_from
from server.logs import set_up_logs
from server.wall_clock import wall_clock


def add_commands(commands: Any) -> None:
    """Register both commands with the parser of `tapedeck`."""
    backfill = commands.add_parser("backfill", help="bring past days into the ledger from daily dumps")
    backfill.add_argument(
        "symbol", type=str.upper, metavar="SYMBOL", help="symbol, as the exchange writes it"
    )
    backfill.add_argument(
        "--from", type=_day, required=True, dest="first", metavar="DAY", help="first UTC day"
    )
    backfill.add_argument(
        "--to",
        type=_day,
        dest="past",
        metavar="DAY",
        help="UTC day before which it ends (default: up to what is held, so that no gap remains)",
    )
    add_settings(backfill, ["data_dir", "archive_url", "rest_url", "retention_hours"])
    backfill.set_defaults(run=_backfill)
    audit = commands.add_parser("audit", help="compare a day of the ledger with its daily dump")
    audit.add_argument("day", type=_day, metavar="DAY", help="UTC day, such as 2026-11-22")
    audit.add_argument(
        "chosen", nargs="*", type=str.upper, metavar="SYMBOL", help="symbols (default: all that are held)"
    )
    add_settings(audit, ["data_dir", "archive_url", "rest_url"])
    audit.set_defaults(run=_audit)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; write it as 2026-11-22") from error


def _backfill(given: argparse.Namespace) -> int:
    from server.backfill import backfill

    settings = settings_from(given)
    set_up_logs(settings)
    return backfill(given.symbol, given.first, given.past, settings, wall_clock)


def _audit(given: argparse.Namespace) -> int:
    from server.audit import audit

    settings = settings_from(given)
    set_up_logs(settings)
    return audit(given.day, given.chosen, settings, wall_clock)
