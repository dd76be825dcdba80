"""A copy is whole, opened and private before it takes its name, or it is not there."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from storage import backups
from storage.backups import back_up, restore
from storage.errors import LedgerError, StoreLocked, StoreUnavailable
from storage.inventory import Inventory, inventories
from storage.ledger import TradeLedger
from storage.trades import TradeColumns
from tests.tapes import START_MS, rows_of, run_of

HOUR_MS = 3_600_000
LATER = START_MS + 100 * HOUR_MS
WHOLE = (0, 2 * START_MS)

TAPE = TradeColumns.concat([run_of(1, 300, step_ms=30_000), run_of(400, 50, start_ms=START_MS + 4 * HOUR_MS)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with sealed hours, a gap and seconds that are not sealed."""
    path = tmp_path / "ledger"
    with TradeLedger.open(path) as ledger:
        ledger.claim("simulated", ["ws://x"])
        ledger.append("X", TAPE)
        ledger.append("Y", run_of(5, 3))
        ledger.seal(START_MS + 2 * HOUR_MS)
    return path


def holds(path: Path) -> tuple[list[Inventory], object, str | None]:
    with TradeLedger.open(path, create=False) as ledger:
        return inventories(ledger), rows_of(ledger.trades("X", *WHOLE)), ledger.venue


def test_a_backup_and_its_restoration_hold_the_same_trades(path: Path, tmp_path: Path) -> None:
    backup, again = tmp_path / "backups" / "monday", tmp_path / "again"
    with TradeLedger.open(path) as ledger:
        copied = back_up(ledger, backup)
        assert copied == inventories(ledger)
        assert list((path / "checkpoints").iterdir()) == []
    assert restore(backup, again) == copied
    assert holds(again) == holds(backup) == holds(path)
    assert [held.rows for held in copied] == [350, 3]


def test_a_backup_shares_no_file_with_the_ledger_and_is_private(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    with TradeLedger.open(path) as ledger:
        back_up(ledger, backup)
        shared = {file.stat().st_ino for file in path.iterdir()}
    assert shared.isdisjoint(file.stat().st_ino for file in backup.iterdir())
    assert stat.S_IMODE(backup.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in backup.iterdir()} == {0o600}


def test_the_ledger_records_on_after_a_backup(path: Path, tmp_path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        before = inventories(ledger)
        back_up(ledger, tmp_path / "backup")
        ledger.append("X", run_of(301, 99, start_ms=START_MS + 3 * HOUR_MS))
        ledger.flush()
    with TradeLedger.open(tmp_path / "backup") as backup:
        assert inventories(backup) == before


def test_an_empty_directory_will_do_for_a_copy(path: Path, tmp_path: Path) -> None:
    (tmp_path / "backup").mkdir()
    with TradeLedger.open(path) as ledger:
        back_up(ledger, tmp_path / "backup")
    assert holds(tmp_path / "backup") == holds(path)


def test_a_mount_point_is_filled_in_place(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = tmp_path / "mount"
    (mount / "lost+found").mkdir(parents=True)
    monkeypatch.setattr(Path, "is_mount", lambda self: self == mount)
    restore(path, mount)
    assert holds(mount) == holds(path)
    assert not (tmp_path / "mount.partial").exists()


@pytest.mark.parametrize("content", ["CURRENT", "notes.txt"])
def test_nothing_is_copied_over_anything(path: Path, tmp_path: Path, content: str) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / content).write_text("mine")
    with (
        TradeLedger.open(path) as ledger,
        pytest.raises(StoreUnavailable, match=f"not empty: it has {content}"),
    ):
        back_up(ledger, target)
    with pytest.raises(StoreUnavailable, match="nothing was touched"):
        restore(path, target)
    assert [(entry.name, entry.read_text()) for entry in target.iterdir()] == [(content, "mine")]


def test_a_file_is_no_place_for_a_copy(path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="no directory"):
        restore(path, tmp_path / "file")


def test_a_copy_that_is_being_made_is_not_touched(path: Path, tmp_path: Path) -> None:
    (tmp_path / "target.partial").mkdir()
    with pytest.raises(StoreUnavailable, match="being made, or was cut off"):
        restore(path, tmp_path / "target")
    assert (tmp_path / "target.partial").exists()


@pytest.mark.parametrize("mounted", [False, True])
def test_a_copy_that_fails_leaves_nothing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounted: bool
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda self: mounted and self == target)

    def interrupted(directory: Path) -> list[Inventory]:
        raise KeyboardInterrupt

    monkeypatch.setattr(backups, "_opened", interrupted)
    with pytest.raises(KeyboardInterrupt):
        restore(path, target)
    assert list(target.iterdir()) == []
    assert not (tmp_path / "target.partial").exists()


def test_a_backup_that_does_not_hold_the_same_is_removed(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "_opened", lambda directory: [])
    with TradeLedger.open(path) as ledger, pytest.raises(StoreUnavailable, match="removed"):
        back_up(ledger, tmp_path / "target")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["ledger"]


def test_a_directory_that_is_no_ledger_is_no_backup(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="no backup"):
        restore(tmp_path, tmp_path / "target")


def test_a_backup_that_cannot_be_opened_is_not_restored(path: Path, tmp_path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        ledger.compact()
    shutil.copytree(path, tmp_path / "backup")
    for table in (tmp_path / "backup").glob("*.ldb"):
        table.unlink()
    with pytest.raises(LedgerError):
        restore(tmp_path / "backup", tmp_path / "target")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["backup", "ledger"]


def test_a_ledger_in_use_is_not_taken_for_a_backup(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "is_locked", lambda directory: True)
    with pytest.raises(StoreLocked, match="take a backup"):
        restore(path, tmp_path / "target")


def test_the_disks_refusal_is_told(path: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(PermissionError):
        restore(path, tmp_path / "closed" / "target")


def test_damage_is_told_and_backed_up(path: Path, tmp_path: Path) -> None:
    """A block cannot be read: the rest is copied as it is, and so is the damage."""
    with TradeLedger.open(path) as ledger:
        ledger.append("X", run_of(1_000, 20_000, start_ms=START_MS + 5 * HOUR_MS, step_ms=500))
        ledger.seal(LATER)
        ledger.seal(LATER)
        ledger.compact()
    table = max(path.glob("*.ldb"), key=lambda file: file.stat().st_size)
    content = bytearray(table.read_bytes())
    content[100] ^= 0xFF
    table.write_bytes(content)
    with TradeLedger.open(path) as ledger:
        damaged, _ = back_up(ledger, tmp_path / "backup")
    assert (damaged.stored_bytes, damaged.bytes_a_trade) == (None, None)
    assert "checksum differs" in str(damaged.damage)
    assert damaged.rows == 20_350


def test_an_inventory_tells_what_is_held(path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        x, y = inventories(ledger)
        with ledger.view("X") as view:
            sealed = [rollup.rows for _, rollup in view.sealed_hours(*WHOLE)]
        assert x.stored_bytes is not None
        assert 0 < x.stored_bytes < ledger.bytes_on_disk
    assert (x.symbol, x.rows, x.missing, len(x.coverage.gaps)) == ("X", 350, 99, 1)
    assert (x.coverage.first_id, x.coverage.last_id) == (1, 449)
    assert (x.sealed_hours, x.unsealed) == (len(sealed), 350 - sum(sealed))
    assert x.unsealed > 0
    assert x.bytes_a_trade == x.stored_bytes / 350
    assert (y.symbol, y.rows, y.sealed_hours, y.unsealed) == ("Y", 3, 1, 0)


def test_a_symbol_whose_trades_have_all_expired_is_no_longer_held(path: Path) -> None:
    with TradeLedger.open(path) as ledger:
        ledger.expire(START_MS + 2 * HOUR_MS)
        assert [held.symbol for held in inventories(ledger)] == ["X"]
