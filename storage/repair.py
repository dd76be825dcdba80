"""Repairing a ledger that nobody has open: what is damaged is taken out, and its ids are open gaps.

Invariant: nothing is invented and nothing is thrown away. Before LevelDB's files are repaired all of them are
kept in `damaged-<UTC time>`; a record that goes is kept under `lost:`.
"""

from collections.abc import Iterable
from pathlib import Path

from storage.database import Database
from storage.errors import CorruptRecord, StoreLocked
from storage.findings import Finding
from storage.ledger_files import (
    FileDamage,
    damaged_logs,
    examined,
    is_locked,
    leveldb_files,
    mend_logs,
    mend_tables,
    set_aside,
)
from storage.opening import repair
from storage.verify import Checked, Progress, check_records, of_files, unreadable, untold

# What a remedy uncovers is dealt with in the next round; a third finds nothing.
ROUNDS = 4


def repair_ledger(path: Path, progress: Progress = untold) -> tuple[list[Finding], Checked, list[Finding]]:
    """What was found and mended, how much was looked at, and what is found afterwards.

    Raises `StoreLocked` while a process has it open, `NewerFormat`, and `StoreUnavailable`.
    """
    if is_locked(path):
        raise StoreLocked(f"{path} is open in another process; stop it before a repair")
    files = list(examined(path))
    found = _repair_files(path, files) if files else []
    try:
        return _repair_records(path, found, progress)
    except CorruptRecord as error:
        damage = unreadable(path, files, error)
    return _repair_records(path, found + _repair_files(path, damage), progress)


def _repair_files(path: Path, damage: list[FileDamage]) -> list[Finding]:
    """All files are kept before anything is done to one."""
    kept = set_aside(path, leveldb_files(path))
    mend_logs(damaged_logs(path))
    if not all(each.log for each in damage):
        mend_tables(path)
        repair(path)
    note = Finding("note", f"all files as they were are kept in {kept}")
    return [*of_files(damage), note]


def _repair_records(
    path: Path, found: list[Finding], progress: Progress
) -> tuple[list[Finding], Checked, list[Finding]]:
    database = Database.open(path, create=False)
    try:
        for _ in range(ROUNDS):
            findings, checked = check_records(database, progress)
            applied = _apply(database, findings)
            found = found + applied
            if not applied:
                break
        database.settle()
        return found, checked, findings
    finally:
        database.close()


def _apply(database: Database, findings: Iterable[Finding]) -> list[Finding]:
    """Each remedy in a synced write of its own."""
    applied = []
    for finding in findings:
        if finding.put or finding.removed:
            database.write(finding.put, finding.removed)
            applied.append(finding)
        elif finding.is_damage:
            applied.append(finding)
    return applied
