"""What all commands on a ledger at rest or in use share.

Invariant: they never disturb a server that records: where one has the ledger open, they work on a checkpoint
that it makes. What goes wrong is one line and exit status 1.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from server.selection import Unusable
from server.settings import load_settings
from server.tools.arguments import iso
from server.tools.refusals import Refusal
from storage.checkpoints import readable
from storage.errors import LedgerError
from storage.inventory import Inventory
from storage.ledger import TradeLedger

Command = Callable[[argparse.Namespace], int]


def in_one_line(command: Command) -> Command:
    """The command with its errors said in one line, and with a stop by signal that cleans up."""

    def run(given: argparse.Namespace) -> int:
        ended = {name: signal.signal(name, _end) for name in (signal.SIGTERM, signal.SIGHUP)}
        try:
            return command(given)
        except BrokenPipeError:  # whoever read our output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except (LedgerError, Refusal, Unusable, OSError) as error:
            say(_reason(error))
            return 1
        finally:
            for name, handler in ended.items():
                signal.signal(name, handler)

    return run


def _end(number: int, _: object) -> None:
    sys.exit(128 + number)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    # Its code is for models.
    return str(error).removeprefix(f"{error.code}: ") if isinstance(error, Refusal) else str(error)


def say(text: str) -> None:
    """A line to the user, beside the output."""
    print(f"tapedeck: {text}", file=sys.stderr)


def data_dir_of(given: argparse.Namespace) -> Path:
    """The ledger's directory as `serve` would choose it."""
    flags = {"data_dir": given.data_dir} if "data_dir" in given else {}
    return load_settings(**flags).data_dir


@contextmanager
def opened(data_dir: Path) -> Iterator[tuple[TradeLedger, bool]]:
    """The ledger, or a checkpoint of it where another process has it open; whether it is one."""
    with readable(data_dir) as path, TradeLedger.open(path, create=False) as ledger:
        for damage in ledger.take_damage():
            say(damage)
        yield ledger, path != data_dir


def refuse_within(path: Path, data_dir: Path) -> None:
    """Nothing but the ledger belongs into its directory."""
    if path.resolve().is_relative_to(data_dir.resolve()):
        raise Unusable(f"{path} lies in the ledger's directory {data_dir}; choose another place")


def show(inventory: list[Inventory]) -> None:
    """A table that fits 80 columns, and what of it cannot be read."""
    if not inventory:
        print("no trades yet")
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("symbol", no_wrap=True)
    table.add_column("first trade\nid", no_wrap=True)
    table.add_column("last trade\nid", no_wrap=True)
    for name in ("trades\nunsealed", "missing\nin gaps", "bytes\na trade", "sealed\nhours"):
        table.add_column(name, justify="right", no_wrap=True)
    for held in inventory:
        table.add_row(*_cells(held))
    Console().print(table)
    for held in inventory:
        if held.damage:
            say(f"{held.symbol}: {held.damage}")


def _cells(held: Inventory) -> list[str]:
    coverage = held.coverage
    size = held.bytes_a_trade
    return [
        held.symbol,
        f"{_minute(coverage.first_ms)}\n{coverage.first_id}",
        f"{_minute(coverage.last_ms)}\n{coverage.last_id}",
        f"{coverage.trades:,}\n{held.unsealed:,}",
        f"{held.missing:,}\n{len(coverage.gaps_in('open')):,}",
        "?" if size is None else f"{size:.2f}",
        f"{held.sealed_hours:,}",
    ]


def _minute(time_ms: int | None) -> str:
    return "" if time_ms is None else iso(time_ms)[:16].replace("T", " ")


def bar_on_terminal() -> Progress:
    """Progress on standard error where that is a terminal; nothing elsewhere."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)
