"""Exports as files: Parquet, CSV, gzipped CSV; and what an export was made of.

Invariant: a file of the name asked for is a whole one. It is written under another name, synced and renamed;
what ends early leaves nothing.
"""

import gzip
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, Protocol

from storage.export import HEADER, arrow_schema, arrow_table, csv_lines
from storage.held_ids import HeldIds, Run, runs_of
from storage.rollups import canonical_rows
from storage.trades import TradeColumns
from storage.whole_files import whole_file

Form = Literal["parquet", "csv"]

# Some 12 MB in memory, 1.5 MB in the file.
ROW_GROUP = 262_144
# Prices and quantities repeat; all the rest of a tape ascends.
REPEATING = ["price", "quantity"]
ASCENDING = ["id", "time", "first_id", "last_id"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export is made of: its rows, the runs of their ids, SHA-256 of their canonical form in hex."""

    rows: int
    runs: tuple[Run, ...]
    digest: str

    @property
    def first_id(self) -> int:
        return self.runs[0].first_id

    @property
    def last_id(self) -> int:
        return self.runs[-1].last_id


class Rows(Protocol):
    """Where rows go."""

    def write(self, rows: TradeColumns) -> None: ...

    def describe(self, facts: Mapping[str, str]) -> None:
        """Put down facts about the whole, where the form has a place for them."""


def export(
    chunks: Iterable[TradeColumns],
    out: Rows,
    facts_of: Callable[[Exported], Mapping[str, str]],
    written: Callable[[int], None] = lambda rows: None,
) -> Exported:
    """Write the rows, ids ascending over all chunks; `written` hears how many after each."""
    count, held, digest = 0, HeldIds(), hashlib.sha256()
    for rows in chunks:
        out.write(rows)
        digest.update(canonical_rows(rows))
        for run in runs_of(rows):
            held.add(run)
        count += len(rows)
        written(len(rows))
    exported = Exported(count, held.runs, digest.hexdigest())
    out.describe(facts_of(exported))
    return exported


@contextmanager
def file_of_rows(path: Path, form: Form, *, force: bool = False) -> Iterator[Rows]:
    """A file that takes rows and is there once the context has gone well.

    A CSV whose name ends in .gz is gzipped. Raises `FileExistsError` unless it may be replaced, by `force`.
    """
    if path.exists() and not (force and path.is_file()):
        raise FileExistsError(0, "exists already" if path.is_file() else "is no file", str(path))
    with whole_file(path) as file:
        if form == "parquet":
            with parquet_rows(file) as rows:
                yield rows
        elif path.name.endswith(".gz"):
            # No time of writing: the same rows make the same bytes.
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as zipped:
                yield CsvRows(zipped)
        else:
            yield CsvRows(file)


class CsvRows:
    """Rows as CSV with a header."""

    def __init__(self, out: Any) -> None:
        self._out = out
        out.write(HEADER.encode())

    def write(self, rows: TradeColumns) -> None:
        for text in csv_lines(rows):
            self._out.write(text.encode())

    def describe(self, facts: Mapping[str, str]) -> None:
        """CSV has no place for facts."""


@contextmanager
def parquet_rows(file: IO[bytes]) -> Iterator["ParquetRows"]:
    """Rows as Parquet: zstd, row groups of 262,144, encodings that every reader knows."""
    from pyarrow.parquet import ParquetWriter

    with ParquetWriter(
        file,
        arrow_schema(),
        compression="zstd",
        use_dictionary=REPEATING,
        column_encoding=dict.fromkeys(ASCENDING, "DELTA_BINARY_PACKED"),
    ) as writer:
        rows = ParquetRows(writer)
        yield rows
        rows.flush()


class ParquetRows:
    """Gathers rows into row groups."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._gathered: list[TradeColumns] = []

    def write(self, rows: TradeColumns) -> None:
        self._gathered.append(rows)
        if sum(map(len, self._gathered)) >= ROW_GROUP:
            gathered = TradeColumns.concat(self._gathered)
            whole = len(gathered) - len(gathered) % ROW_GROUP
            self._put(gathered.take(slice(0, whole)))
            self._gathered = [gathered.take(slice(whole, None))]

    def flush(self) -> None:
        """Write what is left."""
        self._put(TradeColumns.concat(self._gathered))

    def describe(self, facts: Mapping[str, str]) -> None:
        self._writer.add_key_value_metadata({f"tapedeck.{name}": value for name, value in facts.items()})

    def _put(self, rows: TradeColumns) -> None:
        if len(rows):
            self._writer.write_table(arrow_table(rows), row_group_size=ROW_GROUP)
