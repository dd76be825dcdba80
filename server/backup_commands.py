"""`tapedeck backup` and `tapedeck restore`: a ledger's copy elsewhere, and back.

Invariant: `restore` ends with status 0 only when everything that it put in place was decoded and found sound.
"""

import argparse
from pathlib import Path
from typing import Any

from server.flags import add_settings
from server.ledger_commands import data_dir_of, in_one_line, opened, refuse_within, show
from server.verify_command import verified
from server.wall_clock import wall_clock
from storage.backup_series import alone_in, drop_oldest, name_of
from storage.backups import back_up, restore
from storage.inventory import Inventory


def add_commands(commands: Any) -> None:
    backup = commands.add_parser("backup", help="copy the ledger to a directory, beside a running server too")
    backup.add_argument("directory", type=Path, metavar="DIR", help="new or empty directory")
    backup.add_argument(
        "--keep", type=_number, metavar="N", help="make a dated backup in DIR, and keep the newest N there"
    )
    backup.set_defaults(run=in_one_line(_backup))
    restored = commands.add_parser("restore", help="copy a backup to the ledger's directory and verify it")
    restored.add_argument("directory", type=Path, metavar="DIR", help="directory of the backup")
    restored.set_defaults(run=in_one_line(_restore))
    for parser in (backup, restored):
        add_settings(parser, ["data_dir"])


def _number(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of backups; keep at least 1")
    return int(text)


def _backup(given: argparse.Namespace) -> int:
    data_dir = data_dir_of(given)
    refuse_within(given.directory, data_dir)
    if given.keep is None:
        _copy(data_dir, given.directory)
        return 0
    with alone_in(given.directory):
        _copy(data_dir, given.directory / name_of(wall_clock()))
        for path in drop_oldest(given.directory, given.keep):
            print(f"deleted {path}")
    return 0


def _copy(data_dir: Path, target: Path) -> None:
    with opened(data_dir) as (ledger, _):
        copied: list[Inventory] = back_up(ledger, target)
    print(f"backed up {data_dir} to {target}")
    show(copied)


def _restore(given: argparse.Namespace) -> int:
    data_dir = data_dir_of(given)
    copied = restore(given.directory, data_dir)
    print(f"restored {given.directory} to {data_dir}")
    show(copied)
    return verified(data_dir)
