"""What leaves the ledger is what it holds: every row, in id order, exact to the last digit."""

import csv
import gzip
import hashlib
import io
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import export_files, keys
from storage.export import HEADER, absent, csv_lines, frame, in_id_order
from storage.export_files import CsvRows, Exported, Form, export, file_of_rows
from storage.held_ids import runs_of
from storage.ledger import TradeLedger
from storage.rollups import digest_of
from storage.trades import INT64_MAX, TradeColumns
from tests.tapes import START_MS, Row, columns, rows_of, run_of, tapes

HOUR_MS = 3_600_000
FIRST_HOUR = START_MS - START_MS % HOUR_MS + HOUR_MS

# The greatest integer, the smallest unit, an invalid row.
EDGES = columns(
    [
        (1, START_MS, INT64_MAX, 1, 5, 9, True),
        (2, START_MS - 1, 1, INT64_MAX, 10, 10, False),
        (7, START_MS + 5, 0, 0, -1, -1, False),
    ]
)


def by_hour(trades: TradeColumns) -> list[TradeColumns]:
    hours = trades.time_ms // HOUR_MS
    return [trades.take(hours == hour) for hour in np.unique(hours).tolist()]


def spans_of(chunks: list[TradeColumns]) -> dict[int, tuple[int, int]]:
    return {
        keys.hour_of(int(chunk.time_ms[0])): (int(chunk.id.min()), int(chunk.id.max())) for chunk in chunks
    }


@given(tapes(max_size=80, seconds=6 * 3600))
def test_hours_whose_ids_interleave_come_out_in_id_order(tape: TradeColumns) -> None:
    chunks = by_hour(tape)
    ordered = list(in_id_order(chunks, spans_of(chunks)))
    assert rows_of(TradeColumns.concat(ordered)) == rows_of(tape)


@given(st.integers(1, 200), st.integers(0, 5), st.integers(20, 60))
def test_no_more_is_held_back_than_stands_beyond_the_next_hour(size: int, late: int, an_hour: int) -> None:
    tape = run_of(1, size, start_ms=FIRST_HOUR, step_ms=HOUR_MS // an_hour)
    tape.time_ms[::7] -= late * HOUR_MS // an_hour
    chunks = by_hour(tape)
    taken = 0

    def counted() -> Iterator[TradeColumns]:
        nonlocal taken
        for chunk in chunks:
            taken += len(chunk)
            yield chunk

    given_out = 0
    for rows in in_id_order(counted(), spans_of(chunks)):
        given_out += len(rows)
        assert taken - given_out <= 2 * 6 * (late + 1)
    assert given_out == size


def test_what_is_held_back_for_hours_beyond_the_window_comes_out_at_its_end() -> None:
    chunks = by_hour(run_of(1, 4, start_ms=FIRST_HOUR, step_ms=HOUR_MS // 2))
    beyond = {**spans_of(chunks), FIRST_HOUR + 5 * HOUR_MS: (1, 9)}
    assert [len(rows) for rows in in_id_order(chunks, beyond)] == [4]


@given(st.sets(st.integers(0, 40)), st.integers(0, 40), st.integers(0, 40))
def test_absent_ids_are_those_in_no_run(held: set[int], first: int, last: int) -> None:
    first, last = sorted((first, last))
    rows = columns([(i, START_MS, 1, 1, 1, 1, True) for i in sorted(held)])
    runs = list(runs_of(rows))
    missing = absent(runs, first, last)
    named = [i for a, b in missing for i in range(a, b + 1)]
    assert named == [i for i in range(first, last + 1) if i not in held]
    assert all(a <= b for a, b in missing)


@given(tapes(max_size=30))
def test_a_frame_has_the_very_decimals(tape: TradeColumns) -> None:
    df = frame(tape.reduced())
    assert list(df.columns) == ["id", "time", "price", "quantity", "first_id", "last_id", "buyer_is_maker"]
    assert [str(kind) for kind in df.dtypes.iloc[[0, 1, 3, 4, 5, 6]]] == [
        "int64",
        "datetime64[ms, UTC]",
        "decimal128(19, 8)[pyarrow]",
        "int64",
        "int64",
        "bool",
    ]
    rows = [
        (i, t.value // 10**6, int(p.scaleb(8)), int(q.scaleb(8)), f, last, m)
        for i, t, p, q, f, last, m in df.itertuples(index=False)
    ]
    assert rows == rows_of(tape)


def test_a_frame_of_the_greatest_and_smallest_numbers_is_exact() -> None:
    df = frame(EDGES)
    assert df["price"].tolist() == [Decimal(INT64_MAX).scaleb(-8), Decimal("0.00000001"), 0]
    assert df["quantity"].tolist() == [Decimal("0.00000001"), Decimal(INT64_MAX).scaleb(-8), 0]
    assert df["price"].sum() == Decimal(INT64_MAX + 1).scaleb(-8)


def test_price_times_quantity_is_exact_in_a_frame() -> None:
    tape = run_of(1, 100)
    df = frame(tape)
    assert str(df["price"].dtype) == "decimal128(18, 8)[pyarrow]"
    notional = sum(p * q for _, _, p, q, *_ in rows_of(tape))
    assert (df["price"] * df["quantity"]).sum() == Decimal(notional).scaleb(-16)


def rows_of_csv(text: str) -> list[Row]:
    """As anybody would read it."""
    return [
        (
            int(row["id"]),
            int(row["time"]),
            int(Decimal(row["price"]).scaleb(8)),
            int(Decimal(row["quantity"]).scaleb(8)),
            int(row["first_id"]),
            int(row["last_id"]),
            {"true": True, "false": False}[row["buyer_is_maker"]],
        )
        for row in csv.DictReader(io.StringIO(text))
    ]


@given(tapes(max_size=30))
def test_csv_has_the_very_numbers(tape: TradeColumns) -> None:
    text = HEADER + "".join(csv_lines(tape))
    assert rows_of_csv(text) == rows_of(tape)
    assert "e" not in text.replace("true", "").replace("false", "").partition("\n")[2].lower()


def test_a_line_of_csv_has_the_exchanges_order() -> None:
    assert "".join(csv_lines(EDGES)).splitlines() == [
        f"1,92233720368.54775807,0.00000001,5,9,{START_MS},true",
        f"2,0.00000001,92233720368.54775807,10,10,{START_MS - 1},false",
        f"7,0.00000000,0.00000000,-1,-1,{START_MS + 5},false",
    ]


def written(path: Path, chunks: list[TradeColumns], form: Form, **options: Any) -> Exported:
    with file_of_rows(path, form, **options) as rows:
        return export(chunks, rows, lambda exported: {"symbol": "X", "sha256": exported.digest})


def rows_of_parquet(path: Path) -> list[Row]:
    table = pq.read_table(path)
    table = table.set_column(1, "time", table["time"].cast("int64"))
    return [
        (r["id"], r["time"], int(r["price"].scaleb(8)), int(r["quantity"].scaleb(8)),
         r["first_id"], r["last_id"], r["buyer_is_maker"])
        for r in table.to_pylist()
    ]  # fmt: skip


@pytest.mark.parametrize("chunks", [[EDGES], [run_of(1, 10), run_of(11, 30), run_of(50, 5)]])
def test_parquet_comes_back_as_it_went_and_says_what_it_is(
    tmp_path: Path, chunks: list[TradeColumns], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_files, "ROW_GROUP", 16)
    path = tmp_path / "x.parquet"
    exported = written(path, chunks, "parquet")
    whole = TradeColumns.concat(chunks)
    assert rows_of_parquet(path) == rows_of(whole)
    assert exported.digest == digest_of(whole).hex()
    assert exported.runs == tuple(runs_of(whole))
    assert (exported.rows, exported.first_id, exported.last_id) == (len(whole), whole.id[0], whole.id[-1])
    meta = pq.read_metadata(path)
    groups = [meta.row_group(at).num_rows for at in range(meta.num_row_groups)]
    assert groups == [16] * (len(whole) // 16) + ([len(whole) % 16] if len(whole) % 16 else [])
    assert meta.metadata[b"tapedeck.symbol"] == b"X"
    assert meta.metadata[b"tapedeck.sha256"].decode() == exported.digest


def test_other_readers_know_the_encodings(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    written(path, [EDGES], "parquet")
    other = pl.read_parquet(path)
    assert other["price"].to_list() == [Decimal(n).scaleb(-8) for n in EDGES.price_int.tolist()]
    assert other["time"].dt.epoch("ms").to_list() == EDGES.time_ms.tolist()
    meta = pq.read_metadata(path).row_group(0)
    encodings = {meta.column(at).path_in_schema: meta.column(at).encodings for at in range(7)}
    assert all("DELTA_BINARY_PACKED" in encodings[name] for name in export_files.ASCENDING)
    assert {meta.column(at).compression for at in range(7)} == {"ZSTD"}


def test_gzipped_csv_is_the_same_text_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("x.csv", "x.csv.gz", "y.csv.gz"):
        written(tmp_path / name, [EDGES], "csv")
    text = (tmp_path / "x.csv").read_text()
    assert rows_of_csv(text) == rows_of(EDGES)
    assert gzip.decompress((tmp_path / "x.csv.gz").read_bytes()).decode() == text
    assert (tmp_path / "x.csv.gz").read_bytes() == (tmp_path / "y.csv.gz").read_bytes()


def broken(rows: TradeColumns) -> Iterator[TradeColumns]:
    yield rows
    raise KeyboardInterrupt


@pytest.mark.parametrize(("name", "form"), [("x.parquet", "parquet"), ("x.csv", "csv"), ("x.csv.gz", "csv")])
def test_an_export_that_is_cut_off_leaves_nothing(tmp_path: Path, name: str, form: Form) -> None:
    with pytest.raises(KeyboardInterrupt), file_of_rows(tmp_path / name, form) as rows:
        export(broken(run_of(1, 10)), rows, lambda exported: {})
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_only_by_force_and_only_by_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="exists already"):
        written(path, [EDGES], "csv")
    with pytest.raises(KeyboardInterrupt), file_of_rows(path, "csv", force=True) as rows:
        export(broken(EDGES), rows, lambda exported: {})
    assert path.read_text() == "mine"
    written(path, [EDGES], "csv", force=True)
    assert rows_of_csv(path.read_text()) == rows_of(EDGES)
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_is_never_replaced(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="is no file"):
        written(tmp_path, [EDGES], "csv", force=True)


def test_rows_are_counted_as_they_pass() -> None:
    passed: list[int] = []
    out = io.BytesIO()
    export([run_of(1, 3), run_of(4, 2)], CsvRows(out), lambda exported: {}, passed.append)
    assert passed == [3, 2]


@given(tapes(max_size=60, seconds=4 * 3600), st.data())
def test_a_view_finds_the_rows_of_a_range_of_ids(
    tmp_path_factory: pytest.TempPathFactory, tape: TradeColumns, data: st.DataObject
) -> None:
    newest = int(tape.id[-1]) if len(tape) else 5
    first = data.draw(st.integers(max(0, newest - 70), newest))
    last = data.draw(st.integers(first, newest + 5))
    with TradeLedger.open(tmp_path_factory.mktemp("l")) as ledger:
        ledger.append("X", tape.take(slice(None, None, 2)))
        ledger.seal(START_MS + 2 * HOUR_MS)
        ledger.append("X", tape)
        with ledger.view("X") as view:
            found = list(in_id_order(view.chunks_of_ids(first, last), view.id_spans()))
    wanted = tape.take((tape.id >= first) & (tape.id <= last))
    assert rows_of(TradeColumns.concat(found)) == rows_of(wanted)


def test_the_recipe_of_the_storage_format_makes_the_digest() -> None:
    """docs/storage-format.md: how to check a digest against the exchange's own file."""
    page = (Path(__file__).parents[2] / "docs" / "storage-format.md").read_text()
    recipe = page.partition("### Checking a digest")[2].partition("```python\n")[2].partition("```")[0]
    given_rows = run_of(3601227001, 20)
    archive = io.StringIO(
        "".join(
            f"{i},{Decimal(p).scaleb(-8):f},{Decimal(q).scaleb(-8):f},{f},{last},{t},{m!s},True\n"
            for i, t, p, q, f, last, m in rows_of(given_rows)
        )
    )
    scope: dict[str, Any] = {}
    exec(recipe, scope)
    assert scope["digest"](archive, 3601227003, 3601227010) == digest_of(given_rows.take(slice(2, 10))).hex()
    assert scope["digest"](io.StringIO(""), 1, 2) == hashlib.sha256().hexdigest()
