"""Files of trades come back as they were written, whatever the form."""

import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings

from collectors.dump import DumpError
from collectors.trade_files import read_trades
from storage.export import HEADER, csv_lines
from storage.export_files import Form, export, file_of_rows
from storage.trades import INT64_MAX, TradeColumns
from tests.tapes import START_MS, columns, rows_of, run_of, tapes


def exported(path: Path, trades: TradeColumns) -> Path:
    form: Form = "parquet" if path.suffix == ".parquet" else "csv"
    with file_of_rows(path, form, force=True) as out:
        export([trades], out, lambda made: {})
    return path


@pytest.mark.parametrize("name", ["tape.parquet", "tape.csv", "tape.csv.gz"])
@given(tape=tapes())
@settings(max_examples=15)
def test_an_export_comes_back_row_by_row(
    tmp_path_factory: pytest.TempPathFactory, name: str, tape: TradeColumns
) -> None:
    path = exported(tmp_path_factory.mktemp("export") / name, tape)

    assert rows_of(read_trades(path)) == rows_of(tape)


def test_the_largest_numbers_come_back(tmp_path: Path) -> None:
    tape = columns([(1, START_MS, INT64_MAX, 1, 5, 9, True), (2, START_MS, 1, INT64_MAX, 10, 10, False)])

    assert rows_of(read_trades(exported(tmp_path / "tape.parquet", tape))) == rows_of(tape)


def test_a_dump_comes_back_from_its_zip(tmp_path: Path) -> None:
    tape = run_of(5, 300)
    with zipfile.ZipFile(tmp_path / "BTCUSDT-aggTrades-2023-11-14.zip", "w") as file:
        file.writestr("BTCUSDT-aggTrades-2023-11-14.csv", HEADER + "".join(csv_lines(tape)))

    assert rows_of(read_trades(tmp_path / "BTCUSDT-aggTrades-2023-11-14.zip")) == rows_of(tape)


@pytest.mark.parametrize("name", ["tape.parquet", "tape.csv", "tape.csv.gz", "tape.zip"])
def test_a_file_of_something_else_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"1,2,3\nno trade at all\n" * 3)

    with pytest.raises(DumpError, match=r"tape\."):
        read_trades(tmp_path / name)
