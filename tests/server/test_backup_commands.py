"""Backups by date, restored ones verified, and both while a server records at full speed."""

import shutil
from pathlib import Path

import pytest

from collectors.exchange import GeneratedMarket
from server import backup_commands
from server.cli import main
from storage.backup_series import alone_in, backups_in, name_of
from storage.ledger import TradeLedger
from tests import processes
from tests.clock import wall_ms
from tests.levers import until, until_history, until_more
from tests.server.test_commands_beside_a_server import command, until_recorded
from tests.tapes import START_MS, rows_of, run_of

DAY_MS = 86_400_000
SERIES = Path("series")
TAPE = run_of(1, 5_000, step_ms=2_000)


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger with sealed hours, in a table of LevelDB's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAPEDECK_DATA_DIR", "ledger")
    with TradeLedger.open(Path("ledger")) as ledger:
        ledger.claim("simulated", ["ws://x"])
        ledger.append("BTCUSDT", TAPE)
        ledger.seal(START_MS + DAY_MS)
        ledger.compact()
    return Path("ledger")


@pytest.fixture
def days(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of backups that are made one a day from now on."""
    moments = [START_MS + day * DAY_MS for day in range(6)]
    coming = iter(moments)
    monkeypatch.setattr(backup_commands, "wall_clock", lambda: next(coming))
    return [name_of(moment) for moment in moments]


def names() -> list[str]:
    return [path.name for path in backups_in(SERIES)]


def test_a_series_keeps_the_newest_and_leaves_alone_what_is_not_of_it(
    data_dir: Path, days: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (SERIES / "before-the-move").mkdir(parents=True)
    (SERIES / "notes.txt").write_text("mine")
    for made in range(1, 6):
        assert main(["backup", str(SERIES), "--keep", "3"]) == 0
        assert names() == days[max(0, made - 3) : made]
    assert f"deleted {SERIES / days[1]}" in capsys.readouterr().out
    assert {path.name for path in SERIES.iterdir()} == {*days[2:5], "before-the-move", "notes.txt"}
    with TradeLedger.open(SERIES / days[4], create=False) as newest:
        assert rows_of(newest.trades("BTCUSDT", 0, 2 * START_MS)) == rows_of(TAPE)


def test_a_backup_that_fails_costs_none_of_those_that_are_there(
    data_dir: Path, days: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backup", str(SERIES), "--keep", "1"]) == 0
    (data_dir / "CURRENT").unlink()
    assert main(["backup", str(SERIES), "--keep", "1"]) == 1
    assert "holds no ledger" in capsys.readouterr().err
    assert names() == days[:1]


def test_what_a_cut_off_backup_left_is_removed_by_the_next(data_dir: Path, days: list[str]) -> None:
    left = SERIES / f"{name_of(START_MS - DAY_MS)}.partial"
    left.mkdir(parents=True)
    assert main(["backup", str(SERIES), "--keep", "2"]) == 0
    assert [path.name for path in SERIES.iterdir()] == days[:1]


def test_two_backups_at_once_are_refused(
    data_dir: Path, days: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with alone_in(SERIES):
        assert main(["backup", str(SERIES), "--keep", "2"]) == 1
    assert "another backup is being made" in capsys.readouterr().err
    assert names() == []


@pytest.mark.parametrize("number", ["0", "-1", "all"])
def test_at_least_one_backup_is_kept(data_dir: Path, number: str) -> None:
    with pytest.raises(SystemExit):
        main(["backup", str(SERIES), f"--keep={number}"])


def test_what_is_restored_is_verified(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backup", "backup"]) == 0
    assert main(["restore", "backup", "--data-dir", "again"]) == 0
    assert "5000 trades" in (said := capsys.readouterr().out)
    assert " 0 damaged" in said


def test_damage_in_a_backup_is_told_when_it_is_restored(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noisy = GeneratedMarket(symbols=["ETHUSDT"], rate=20).trades("ETHUSDT", START_MS, START_MS + 3_600_000)
    # Its blocks share no block of LevelDB's with what opening reads.
    with TradeLedger.open(data_dir) as ledger:
        ledger.append("BTCUSDT", noisy)
        ledger.seal(START_MS + DAY_MS)
        ledger.compact()
    shutil.copytree(data_dir, "backup")
    table = max(Path("backup").glob("*.ldb"), key=lambda file: file.stat().st_size)
    content = bytearray(table.read_bytes())
    content[100] ^= 0xFF
    table.write_bytes(content)
    assert main(["restore", "backup", "--data-dir", "again"]) == 1
    said = capsys.readouterr().out
    assert "restored backup to again" in said
    assert "damage " in said
    assert "tapedeck verify --repair" in said


@pytest.mark.timeout(300)
def test_backups_at_a_thousand_trades_a_second_equal_the_ledger_of_their_moment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, series = tmp_path / "ledger", tmp_path / "series"
    with (
        processes.exchange(f"--rate={1_000 / 18}", "--weight-limit=60000") as urls,
        processes.server(urls, ledger, WARMUP_HOURS="0.003") as (process, url),
    ):
        until_history(process, url, "BTCUSDT")
        until_recorded(url, 5_000)
        for kept in (1, 2):
            done = command(ledger, "backup", series, "--keep", 2)
            assert (done.returncode, done.stderr) == (0, "")
            assert len(backups_in(series)) == kept
            until_more(url, "BTCUSDT")
            until(lambda: name_of(wall_ms()) > backups_in(series)[-1].name)  # a name has whole seconds
        process.child.terminate()
        assert process.wait(30) == 0
        assert not [line for line in process.lines if "Traceback" in line or '"level": "error"' in line]
    with TradeLedger.open(ledger) as held:
        assert len(held.runs("BTCUSDT")) == 1
        rows = held.trades("BTCUSDT", 0, 2 * wall_ms())
    lengths = []
    for backup in backups_in(series):
        again = tmp_path / f"again-{backup.name}"
        assert main(["restore", str(backup), "--data-dir", str(again)]) == 0
        assert " 0 damaged, 0 open gaps" in capsys.readouterr().out
        with TradeLedger.open(again) as restored:
            copy = restored.trades("BTCUSDT", 0, 2 * wall_ms())
        assert rows_of(copy) == rows_of(rows.take(slice(0, len(copy))))
        lengths.append(len(copy))
    assert 5_000 <= lengths[0] < lengths[1] < len(rows)
