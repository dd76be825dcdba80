"""status, export, backup and restore on a ledger at rest, as a user types them."""

import json
import re
import signal
import stat
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from server import export_command
from server.cli import main
from storage.absences import Absence, Seen
from storage.export_files import Exported
from storage.ledger import TradeLedger
from storage.rollups import digest_of
from storage.trades import Instrument, TradeColumns
from tests.storage.test_export import rows_of_csv, rows_of_parquet
from tests.tapes import START_MS, columns, rows_of, run_of

HOUR_MS = 3_600_000
FIRST_HOUR = START_MS - START_MS % HOUR_MS + HOUR_MS  # 2023-11-14T23:00:00Z
BTC = Instrument("BTCUSDT", "binance spot", "BTC", "USDT", Decimal("0.01"), Decimal("0.00001"))

# Three hours; ids 301 to 310 are missing; the last row of the first hour comes after the second has begun.
TAPE = TradeColumns.concat(
    [run_of(1, 300, start_ms=FIRST_HOUR, step_ms=20_000), run_of(311, 60, start_ms=FIRST_HOUR + 2 * HOUR_MS)]
)
TAPE.time_ms[182] = FIRST_HOUR + HOUR_MS - 1

Run = Callable[..., int]


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger with two symbols, its directory named by `.env` alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TAPEDECK_DATA_DIR", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TAPEDECK_PORT", "0")
    (tmp_path / ".env").write_text("TAPEDECK_DATA_DIR=ledger\n")
    with TradeLedger.open(tmp_path / "ledger") as ledger:
        ledger.claim("binance spot")
        ledger.keep_instrument(BTC, START_MS)
        ledger.append("BTCUSDT", TAPE)
        ledger.append("X", columns([(9, START_MS, 0, 0, -1, -1, False)]))
        for _ in range(2):
            ledger.seal(FIRST_HOUR + 2 * HOUR_MS + 90_000)
    return tmp_path / "ledger"


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command says that ends with 1, in one line."""
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("tapedeck: ")
    assert said.err.count("\n") == 1
    return said.err


def digest_line(text: str) -> tuple[str, ...]:
    match = re.search(r"^DIGEST sha256 ([0-9a-f]{64}) ids (\d+)-(\d+) rows (\d+)$", text, re.MULTILINE)
    assert match is not None
    return match.groups()


def expected_line(rows: TradeColumns) -> tuple[str, ...]:
    return digest_of(rows).hex(), str(rows.id[0]), str(rows.id[-1]), str(len(rows))


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_everything_held_is_exported_and_what_is_missing_is_named(
    data_dir: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["export", "btc/usdt", "--out", name]) == export_command.PARTIAL == 3
    said = capsys.readouterr()
    read = rows_of_parquet(Path(name)) if name == "t.parquet" else rows_of_csv(Path(name).read_text())
    assert read == rows_of(TAPE)
    assert digest_line(said.out) == expected_line(TAPE)
    assert said.err == "tapedeck: PARTIAL: 10 ids of BTCUSDT are missing: 301-310\n"
    assert "360 trades" in said.out


def test_a_parquet_file_says_what_it_is_made_of(data_dir: Path) -> None:
    main(["export", "BTCUSDT", "--out", "t.parquet"])
    facts = {
        name.decode().removeprefix("tapedeck."): value.decode()
        for name, value in pq.read_metadata("t.parquet").metadata.items()
        if name.startswith(b"tapedeck.")
    }
    coverage = json.loads(facts.pop("coverage"))
    assert coverage.pop("covered_pct") < 100
    assert coverage == {"complete": False, "missing": [[301, 310]]}
    assert facts == {
        "symbol": "BTCUSDT",
        "venue": "binance spot",
        "window": "2023-11-14T23:00:00.000Z to 2023-11-15T01:00:05.901Z",
        "rows": "360",
        "ids": "1-370",
        "sha256": digest_of(TAPE).hex(),
    }


def test_a_whole_hour_has_the_digest_of_its_rollup(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    window = ["--from", "2023-11-14T23:00:00Z", "--to", "2023-11-15T01:00:00+01:00"]
    assert main(["export", "BTCUSDT", "--out", "t.csv", *window]) == 0
    with TradeLedger.open(data_dir) as ledger, ledger.view("BTCUSDT") as view:
        rollup = next(r for hour_ms, r in view.sealed_hours(0, 2 * START_MS) if hour_ms == FIRST_HOUR)
    assert digest_line(capsys.readouterr().out)[0] == rollup.digest.hex()
    assert len(rows_of_csv(Path("t.csv").read_text())) == rollup.rows == 181


def test_the_last_hours_count_back_from_the_newest_trade(data_dir: Path) -> None:
    main(["export", "BTCUSDT", "--out", "t.csv", "--hours", "0.5"])
    end_ms = int(TAPE.time_ms[-1]) + 1
    assert rows_of_csv(Path("t.csv").read_text()) == rows_of(TAPE.within(end_ms - HOUR_MS // 2, end_ms))


def test_exactly_the_ids_that_are_named(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "BTCUSDT", "--out", "t.csv", "--ids", "170-200"]) == 0
    wanted = TAPE.take(slice(169, 200))
    assert rows_of_csv(Path("t.csv").read_text()) == rows_of(wanted)
    assert digest_line(capsys.readouterr().out) == expected_line(wanted)


def test_ids_that_are_missing_or_beyond_what_is_held_are_named(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "BTCUSDT", "--out", "t.csv", "--ids", "0-400"]) == 3
    assert capsys.readouterr().err == (
        "tapedeck: PARTIAL: 41 ids of BTCUSDT are missing: 0-0, 301-310, 371-400\n"
    )
    assert rows_of_csv(Path("t.csv").read_text()) == rows_of(TAPE)


def test_many_missing_ranges_are_cut_short() -> None:
    named = export_command._named("X", [(i, i) for i in range(0, 40, 2)])
    assert named.endswith("16-16, 18-18 and 10 more ranges")
    assert "20 ids of X" in named


def test_the_output_takes_csv_alone_and_what_is_said_goes_beside_it(
    data_dir: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["export", "btc", "--out", "-", "--ids", "1-3"]) == 0
    said = capfdbinary.readouterr()
    assert rows_of_csv(said.out.decode()) == rows_of(TAPE.take(slice(0, 3)))
    assert digest_line(said.err.decode()) == expected_line(TAPE.take(slice(0, 3)))


def test_invalid_rows_are_exported_as_the_exchange_sent_them(data_dir: Path) -> None:
    assert main(["export", "x", "--out", "t.csv"]) == 0
    assert Path("t.csv").read_text().splitlines()[1] == f"9,0.00000000,0.00000000,-1,-1,{START_MS},false"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["ETHUSDT", "--out", "t.csv"], "'ETHUSDT' is not recorded; recorded are BTCUSDT"),
        (["btc", "--out", "t.txt"], "ends in none of .parquet, .csv, .csv.gz"),
        (["btc", "--out", "-", "--format", "parquet"], "only CSV is written to the output"),
        (["btc", "--out", "taken.csv"], "taken.csv exists already; --force replaces it"),
        (["btc", "--out", "ledger/t.csv"], "lies in the ledger's directory"),
        (["btc", "--out", "ledger", "--format", "csv"], "lies in the ledger's directory"),
        (["btc", "--out", ".", "--format", "csv", "--force"], ". is no file"),
        (["btc", "--out", "nowhere/t.csv"], "nowhere is no directory"),
        (["btc", "--out", "t.csv", "--from", "noon"], "--from 'noon' is no ISO-8601 time"),
        (["btc", "--out", "t.csv", "--to", "2300-01-01"], "--to '2300-01-01' is no ISO-8601 time"),
        (["btc", "--out", "t.csv", "--from", "2024-01-01", "--to", "2023-01-01"], "is empty"),
        (["btc", "--out", "t.csv", "--from", "2022-01-01", "--to", "2022-01-02"], "has no trades in 2022"),
        (["btc", "--out", "t.csv", "--ids", "500-600"], "held are ids 1-370, 2023-11-14T23:00"),
        (["btc", "--out", "t.csv", "--ids", "9-5"], "'9-5' is no range of ids"),
        (["btc", "--out", "t.csv", "--ids", "9"], "'9' is no range of ids"),
        (["btc", "--out", "t.csv", "--ids", f"1-{2**63}"], "is no range of ids"),
        (["btc", "--out", "t.csv", "--ids", "1-2", "--hours", "1"], "--ids stands alone"),
        (["btc", "--out", "t.csv", "--hours", "1", "--from", "2023-01-01"], "leave one out"),
        (["btc", "--out", "t.csv", "--hours", "many"], "--hours 'many' is no number"),
        (["btc", "--out", "t.csv", "--hours", "-1"], "is empty"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(
    data_dir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    Path("taken.csv").write_text("mine")
    assert reason in refused(capsys, "export", *arguments)
    assert sorted(entry.name for entry in Path.cwd().iterdir()) == [".env", "ledger", "taken.csv"]


def test_a_file_is_replaced_by_force(data_dir: Path) -> None:
    Path("taken.csv").write_text("mine")
    assert main(["export", "btc", "--out", "taken.csv", "--force", "--ids", "1-2"]) == 0
    assert rows_of_csv(Path("taken.csv").read_text()) == rows_of(TAPE.take(slice(0, 2)))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_export_that_is_stopped_leaves_no_file(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, sent: signal.Signals
) -> None:
    def stopped(chunks: Iterator[TradeColumns], *_: Any) -> Exported:
        signal.raise_signal(sent)
        raise AssertionError

    monkeypatch.setattr(export_command, "export", stopped)
    if sent == signal.SIGINT:
        assert main(["export", "btc", "--out", "t.parquet"]) == 130
    else:
        with pytest.raises(SystemExit) as ended:
            main(["export", "btc", "--out", "t.parquet"])
        assert ended.value.code == 143
    assert sorted(entry.name for entry in Path.cwd().iterdir()) == [".env", "ledger"]


def test_status_fits_80_columns(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[:2] == ["no server is known of, with port 0; what the ledger holds:", "ledger"]
    assert re.fullmatch(r"binance spot, [\d.]+ [kM]B, not in use", lines[2])
    at = next(at for at, line in enumerate(lines) if line.startswith("BTCUSDT"))
    assert lines[at].split()[:7] == ["BTCUSDT", "2023-11-14", "23:00", "2023-11-15", "01:00", "360", "10"]
    assert lines[at].split()[-1] == "2"
    assert lines[at + 1].split() == ["1", "370", "60", "1"]


def test_status_as_json_has_every_figure(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    with TradeLedger.open(data_dir) as ledger, ledger.view("BTCUSDT") as view:
        stored = view.stored_bytes()
    btc, x = told.pop("symbols")
    assert told.pop("bytes") > stored
    assert told == {"server": None, "data_dir": "ledger", "venue": "binance spot", "in_use": False}
    assert btc == {
        "symbol": "BTCUSDT",
        "first": "2023-11-14T23:00:00.000Z",
        "last": "2023-11-15T01:00:05.900Z",
        "first_id": 1,
        "last_id": 370,
        "trades": 360,
        "invalid": 0,
        "missing": 10,
        "gaps": 1,
        "certified": 0,
        "sealed_hours": 2,
        "unsealed_trades": 60,
        "bytes": stored,
        "bytes_a_trade": round(stored / 360, 3),
        "damage": None,
    }
    assert (x["trades"], x["invalid"], x["unsealed_trades"]) == (0, 1, 0)


def test_ids_that_the_exchange_lacks_are_missing_to_no_command(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    below, above = (Seen(int(TAPE.id[at]), int(TAPE.time_ms[at])) for at in (299, 300))
    with TradeLedger.open(data_dir) as ledger:
        ledger.keep_absence("BTCUSDT", Absence(301, 310, below, above, 0, 1, 10, "certified"))
    assert main(["export", "BTCUSDT", "--out", "t.parquet"]) == 0
    coverage = json.loads(pq.read_metadata("t.parquet").metadata[b"tapedeck.coverage"])
    assert coverage == {"complete": True, "missing": [], "covered_pct": 100.0}
    assert main(["export", "BTCUSDT", "--out", "t.csv", "--ids", "290-320"]) == 0
    assert "PARTIAL" not in "".join(capsys.readouterr())
    assert main(["status", "--json"]) == 0
    btc, _ = json.loads(capsys.readouterr().out)["symbols"]
    assert {name: btc[name] for name in ("trades", "invalid", "missing", "gaps", "certified")} == {
        "trades": 360,
        "invalid": 0,
        "missing": 0,
        "gaps": 0,
        "certified": 10,
    }
    assert main(["verify"]) == 0
    said = capsys.readouterr().out
    assert "certified BTCUSDT" in said
    assert "0 damaged, 0 open gaps, 1 certified" in said


def test_a_new_ledger_has_no_trades_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TradeLedger.open(tmp_path / "new").close()
    assert main(["status", "--port=0", "--data-dir", str(tmp_path / "new")]) == 0
    assert "no venue yet" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command", [["status", "--port=0"], ["export", "btc", "--out", "t.csv"], ["backup", "b"]]
)
def test_where_there_is_no_ledger_none_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert "holds no ledger" in refused(capsys, *command, "--data-dir", str(tmp_path / "nothing"))
    assert list(tmp_path.iterdir()) == []


def test_a_backup_is_restored_with_the_same_trades(
    data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["backup", "backup"]) == 0
    assert "backed up ledger to backup" in capsys.readouterr().out
    monkeypatch.setenv("TAPEDECK_DATA_DIR", "again")
    assert main(["restore", "backup"]) == 0
    said = capsys.readouterr().out
    assert "restored backup to again" in said
    assert "BTCUSDT" in said
    with TradeLedger.open(Path("again"), create=False) as again:
        assert rows_of(again.trades("BTCUSDT", 0, 2 * START_MS)) == rows_of(TAPE)
        assert again.venue == "binance spot"
    for directory in (Path("backup"), Path("again")):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["backup", "ledger/b"], "lies in the ledger's directory"),
        (["backup", "ledger"], "lies in the ledger's directory"),
        (["backup", "full"], "full is not empty: it has notes; nothing was touched"),
        (["backup", "full/notes"], "notes is no directory"),
        (["restore", "full", "--data-dir", "new"], "full is no backup of a ledger: it has no file CURRENT"),
        (["restore", "ledger"], "ledger is not empty: it has"),
    ],
)
def test_what_cannot_be_copied_is_refused_in_one_line(
    data_dir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    Path("full").mkdir()
    Path("full/notes").write_text("mine")
    assert reason in refused(capsys, *arguments)
    assert sorted(entry.name for entry in Path.cwd().iterdir()) == [".env", "full", "ledger"]
    with TradeLedger.open(data_dir) as ledger:
        assert rows_of(ledger.trades("BTCUSDT", 0, 2 * START_MS)) == rows_of(TAPE)


def test_the_disks_own_words_are_told(
    data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "backup.partial/000005.ldb")

    monkeypatch.setattr("shutil.copyfileobj", full)
    assert "backup.partial/000005.ldb: No space left on device" in refused(capsys, "backup", "backup")
    assert not Path("backup.partial").exists()


def test_the_readmes_notebook_runs(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    example = readme.partition("In a notebook")[2].partition("```python\n")[2].partition("```")[0]
    monkeypatch.setattr(Path, "expanduser", lambda _: data_dir)
    scope: dict[str, Any] = {}
    exec(example, scope)
    end_ms = int(TAPE.time_ms[-1]) + 1
    hour = TAPE.within(end_ms - HOUR_MS, end_ms)
    notional = sum(price * quantity for _, _, price, quantity, *_ in rows_of(hour))
    assert scope["notional"] == Decimal(notional).scaleb(-16)
    assert len(scope["minutes"]) == 61
