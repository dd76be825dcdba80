"""`tapedeck verify`: what is damaged in a ledger, and with `--repair` what was done about it.

Invariant: without `--repair` nothing in the ledger changes. Results go to standard output, a line each;
progress goes to standard error where that is a terminal.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import TaskID

from server.flags import add_settings
from server.ledger_commands import bar_on_terminal, data_dir_of, in_one_line
from server.tools.arguments import iso
from storage.checkpoints import readable
from storage.errors import StoreLocked, StoreUnavailable
from storage.findings import Finding
from storage.ledger_files import is_locked, leveldb_files
from storage.repair import repair_ledger
from storage.verify import Checked, verify, verify_copy

ENDS = (
    "note ids lost between trades that are held are open gaps, which the server fetches again; behind the "
    "newest trade it goes on by id; what was lost before the oldest one is covered no more"
)


def add_commands(commands: Any) -> None:
    parser = commands.add_parser("verify", help="look for damage in the ledger, or repair it")
    parser.add_argument("--repair", action="store_true", help="take out what is damaged; its ids become gaps")
    add_settings(parser, ["data_dir"])
    parser.set_defaults(run=in_one_line(_run))


def _run(given: argparse.Namespace) -> int:
    path = data_dir_of(given)
    _require_ledger(path)
    return _repair(path) if given.repair else verified(path)


def verified(path: Path) -> int:
    """Say what is wrong with a ledger; 1 where something is damaged, else 0. Raises `LedgerError`."""
    if is_locked(path):
        with readable(path) as directory, _progress() as progress:
            found, checked = verify_copy(directory, progress)
    else:
        with _progress() as progress:
            found, checked = verify(path, progress)
    _tell(found, "--repair: ")
    damaged = _count(found)
    _say(
        f"{_looked_at(checked)}; {_found(found)}"
        + ("; mend it with `tapedeck verify --repair`" * bool(damaged))
    )
    return 1 if damaged else 0


def _repair(path: Path) -> int:
    """0 where nothing is damaged any more."""
    if is_locked(path):
        raise StoreLocked(
            f"{path} is open in another process; stop the server before `tapedeck verify --repair`"
        )
    with _progress() as progress:
        found, checked, left = repair_ledger(path, progress)
    _tell(found, "done: ")
    _tell([finding for finding in left if finding not in found], "left: ")
    damaged = _count(left)
    if _count(found):
        _say(ENDS)
    _say(f"{_looked_at(checked)}; {_count(found)} damaged and dealt with, {damaged} left; {_gaps(left)}")
    return 1 if damaged else 0


def _require_ledger(path: Path) -> None:
    if not path.is_dir() or not leveldb_files(path):
        raise StoreUnavailable(f"{path} holds no ledger; choose another TAPEDECK_DATA_DIR")


def _tell(findings: Iterable[Finding], remedy: str) -> None:
    for finding in findings:
        word = "damage" if finding.is_damage else finding.kind
        place = [finding.symbol] if finding.symbol else []
        place += [iso(finding.hour_ms)] if finding.hour_ms is not None else []
        key = [finding.key.decode(errors="backslashreplace")] if finding.key else []
        what = ": ".join([*key, finding.what])
        _say(" ".join([word, *place, what]) + (f" ({remedy}{finding.remedy})" if finding.remedy else ""))


def _looked_at(checked: Checked) -> str:
    return (
        f"{len(checked.symbols)} symbols, {len(checked.hours)} hours, {checked.blocks} blocks, "
        f"{checked.seconds} second-batches, {checked.trades} trades, {checked.records} records checked"
    )


def _found(findings: list[Finding]) -> str:
    return f"{_count(findings)} damaged, {_gaps(findings)}"


def _gaps(findings: list[Finding]) -> str:
    open_, certified = (sum(finding.kind == kind for finding in findings) for kind in ("gap", "certified"))
    return f"{open_} open gaps" + f", {certified} certified" * bool(certified)


def _count(findings: list[Finding]) -> int:
    return sum(finding.is_damage for finding in findings)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar for each step on standard error, where that is a terminal."""
    with bar_on_terminal() as bars:
        tasks: dict[str, TaskID] = {}

        def tell(step: str, done: int, total: int | None) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done, total=total)

        yield tell
