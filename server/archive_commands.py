"""The commands about the exchange's daily dumps: `tapedeck backfill` and `tapedeck audit`.

Invariant: what they need is imported when one of them runs, so that no other command waits for it.
"""

import argparse
from collections.abc import Callable
from datetime import date
from typing import Any

from collectors.clock import Clock
from server.logs import set_up_logs
from server.settings import Settings

AddSettings = Callable[[argparse.ArgumentParser, Any], None]
SettingsFrom = Callable[[argparse.Namespace], Settings]


def add_archive_commands(
    commands: Any, add_settings: AddSettings, settings_from: SettingsFrom, clock: Clock
) -> None:
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
    backfill.set_defaults(run=lambda given: _backfill(given, settings_from(given), clock))
    audit = commands.add_parser("audit", help="compare a day of the ledger with its daily dump")
    audit.add_argument("day", type=_day, metavar="DAY", help="UTC day, such as 2026-11-22")
    audit.add_argument(
        "chosen", nargs="*", type=str.upper, metavar="SYMBOL", help="symbols (default: all that are held)"
    )
    add_settings(audit, ["data_dir", "archive_url"])
    audit.set_defaults(run=lambda given: _audit(given, settings_from(given)))


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; write it as 2026-11-22") from error


def _backfill(given: argparse.Namespace, settings: Settings, clock: Clock) -> int:
    from server.backfill import backfill

    set_up_logs(settings)
    return backfill(given.symbol, given.first, given.past, settings, clock)


def _audit(given: argparse.Namespace, settings: Settings) -> int:
    from server.audit import audit

    set_up_logs(settings)
    return audit(given.day, given.chosen, settings)
