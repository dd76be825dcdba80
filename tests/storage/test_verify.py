"""Each kind of damage is found, named by symbol and hour, and taken out without inventing anything."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import ormsgpack
import pytest

from server import cli
from storage import keys
from storage.blocks import encode_block
from storage.candle_records import encode_candles
from storage.candles import MinuteCandles
from storage.codec import encode_second_batch
from storage.errors import NewerFormat
from storage.findings import Finding
from storage.ledger import TradeLedger
from storage.leveldb_format import framed, read_log
from storage.leveldb_tables import sound_blocks, table_of
from storage.packing import pack
from storage.records import pack_source, unpack_source
from storage.repair import repair_ledger
from storage.rollups import encode_rollup, rollup_of
from storage.trades import TradeColumns
from storage.verify import verify
from tests.ledgers import FIRST_HOUR, HOUR_MS, OPEN_HOUR, build, differences, put, records, signed, truth

BLOCK = keys.block("XUSDT", FIRST_HOUR)
ROLLUP = keys.rollup("XUSDT", FIRST_HOUR)
CANDLES = keys.candles("XUSDT", FIRST_HOUR)
SECOND = keys.trades("XUSDT", OPEN_HOUR + 60_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    build(tmp_path / "ledger")
    return tmp_path / "ledger"


def hour_of_x(hour: int = 0) -> TradeColumns:
    start_ms = FIRST_HOUR + hour * HOUR_MS
    return truth()["XUSDT"].within(start_ms, start_ms + HOUR_MS)


def damage_in(path: Path) -> list[Finding]:
    return [finding for finding in verify(path)[0] if finding.is_damage]


def repaired(path: Path) -> Mapping[bytes, bytes]:
    """The records after a repair, which leaves no damage and gives no wrong answer; then all is fetched."""
    _, _, left = repair_ledger(path)
    assert [finding for finding in left if finding.is_damage] == []
    assert damage_in(path) == []
    found = records(path)
    with TradeLedger.open(path, create=False) as ledger:
        assert list(differences(ledger, truth())) == []
        for symbol, rows in truth().items():
            ledger.append(symbol, rows)
        assert [(gap.first_id, gap.last_id) for gap in ledger.gaps("XUSDT")] == []
        assert list(differences(ledger, truth())) == []
    return found


def gaps(path: Path) -> list[tuple[int, int]]:
    with TradeLedger.open(path, create=False) as ledger:
        return [(gap.first_id, gap.last_id) for gap in ledger.gaps("XUSDT")]


def test_a_sound_ledger_has_open_gaps_and_no_damage(path: Path) -> None:
    before = {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}
    found, checked = verify(path)
    assert [(finding.kind, finding.symbol) for finding in found] == [("gap", "Y")]
    assert "9050 to 9052" in found[0].what
    assert checked.symbols == {"XUSDT", "Y"}
    assert checked.trades == sum(map(len, truth().values()))
    assert (checked.blocks, len(checked.hours)) == (6, 8)
    assert {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()} == before


def test_a_block_that_cannot_be_decoded_goes_with_its_hour_and_its_ids_are_an_open_gap(path: Path) -> None:
    second_hour = hour_of_x(1)
    key = keys.block("XUSDT", FIRST_HOUR + HOUR_MS)
    put(path, key, b"\xc1")
    (found,) = damage_in(path)
    assert (found.key, found.symbol, found.hour_ms) == (key, "XUSDT", FIRST_HOUR + HOUR_MS)
    repair_ledger(path)
    # One of its rows came late and stands by itself, in a second.
    ids = [i for first, last in gaps(path) for i in range(first, last + 1)]
    assert set(ids) <= set(second_hour.id.tolist())
    assert len(ids) >= len(second_hour) - 2
    after = repaired(path)
    assert after[keys.lost(key)] == b"\xc1"


def altered(rows: TradeColumns) -> TradeColumns:
    price = rows.price_int.copy()
    price[3] += 10**6
    return replace(rows, price_int=price)


def test_a_block_of_other_trades_than_its_rollup_has_the_digest_of_is_not_believed(path: Path) -> None:
    stored = truth()["XUSDT"].within(FIRST_HOUR, FIRST_HOUR + HOUR_MS)
    put(path, BLOCK, encode_block(altered(stored)))
    (found,) = damage_in(path)
    assert "digest" in found.what
    assert keys.lost(BLOCK) in repaired(path)


@pytest.mark.parametrize("value", [None, b"\xc1", b"another"], ids=["gone", "damaged", "differs"])
@pytest.mark.parametrize("key", [ROLLUP, CANDLES])
def test_what_follows_from_a_block_is_made_anew(path: Path, key: bytes, value: bytes | None) -> None:
    right = records(path)[key]
    if value == b"another":
        record = ormsgpack.unpackb(right)
        value = ormsgpack.packb(record | ({"valid": 1} if key == ROLLUP else {"n": [*record["n"][1:], 9]}))
    put(path, key, value)
    found = [finding for finding in verify(path)[0] if finding.key == key]
    assert [finding.is_damage for finding in found] == [key == ROLLUP or value is not None]
    assert "made" in found[0].remedy
    assert repaired(path)[key] == right


@pytest.mark.parametrize(
    "change",
    [{"valid": 1}, {"w": 10**6}, {"lo": 1}, {"b": b"\xff"}, {"b": pack(np.arange(9)), "prices": 9}],
    ids=str,
)
def test_a_rollup_that_a_writer_got_wrong_is_made_anew(path: Path, change: dict[str, object]) -> None:
    """Its checksum fits: what it says is held against the block."""
    right = records(path)[ROLLUP]
    put(path, ROLLUP, signed(ormsgpack.unpackb(right) | change))
    (found,) = damage_in(path)
    assert (found.key, found.remedy) == (ROLLUP, "made anew from its block")
    assert repaired(path)[ROLLUP] == right


@pytest.mark.parametrize("key", [ROLLUP, CANDLES])
def test_what_is_left_without_its_block_is_set_aside(path: Path, key: bytes) -> None:
    for each in {BLOCK, ROLLUP, CANDLES} - {key}:
        put(path, each, None)
    (found,) = damage_in(path)
    assert (found.key, found.symbol, found.hour_ms) == (key, "XUSDT", FIRST_HOUR)
    assert keys.lost(key) in repaired(path)


def test_a_block_of_another_hour_is_found(path: Path) -> None:
    rows = hour_of_x(1)
    values = [encode_block(rows), encode_rollup(rollup_of(rows))]
    for key, value in zip((BLOCK, ROLLUP), values, strict=True):
        put(path, key, value)
    assert any("another hour" in finding.what for finding in damage_in(path))
    repaired(path)


def test_ids_in_two_blocks_are_found(path: Path) -> None:
    rows = truth()["XUSDT"].take(slice(5, 9))
    again = FIRST_HOUR
    put(path, keys.block("XUSDT", again, 1), encode_block(rows))
    put(path, keys.rollup("XUSDT", again, 1), encode_rollup(rollup_of(rows)))
    put(path, keys.candles("XUSDT", again, 1), encode_candles(MinuteCandles.of(rows), again))
    (found,) = damage_in(path)
    assert "in another one" in found.what
    assert found.key == keys.block("XUSDT", again, 1)
    repaired(path)


def test_a_second_that_cannot_be_decoded_is_set_aside(path: Path) -> None:
    put(path, SECOND, b"\xc1")
    (found,) = damage_in(path)
    assert (found.symbol, found.hour_ms) == ("XUSDT", OPEN_HOUR)
    repair_ledger(path)
    assert gaps(path) == [(182, 182)]
    assert keys.lost(SECOND) in repaired(path)


def test_a_second_under_another_key_is_found(path: Path) -> None:
    put(path, keys.trades("XUSDT", OPEN_HOUR + 61_000), records(path)[SECOND])
    assert len(damage_in(path)) == 1
    repaired(path)


def test_a_second_that_a_block_holds_already_is_a_note(path: Path) -> None:
    rows = truth()["XUSDT"].take(slice(3, 4))
    put(path, keys.trades("XUSDT", int(rows.time_ms[0])), encode_second_batch(rows))
    (note,) = [finding for finding in verify(path)[0] if finding.kind == "note"]
    assert "in a block already" in note.what
    assert damage_in(path) == []


@pytest.mark.parametrize("key", [keys.SCHEMA, keys.END, keys.SOURCE])
def test_the_first_records_are_put_back(path: Path, key: bytes) -> None:
    right = records(path)[key]
    put(path, key, None)
    assert [finding.key for finding in damage_in(path)] == [key]
    after = repaired(path)[key]
    if key == keys.SOURCE:
        right = pack_source(unpack_source(right).__class__("binance spot", []))
    assert after == right


@pytest.mark.parametrize("key", [keys.SOURCE, keys.instrument("XUSDT"), keys.state("XUSDT"), keys.SCHEMA])
def test_a_small_record_that_cannot_be_read_is_set_aside(path: Path, key: bytes) -> None:
    put(path, key, b"\x93\x01\xa1")
    assert key in [finding.key for finding in damage_in(path)]
    assert keys.lost(key) in repaired(path)


@pytest.mark.parametrize("value", [b"\x93\x01", ormsgpack.packb({}), ormsgpack.packb(["x"]), b"\x80", b""])
@pytest.mark.parametrize("key", [keys.instrument("XUSDT"), keys.state("XUSDT")])
def test_a_start_sets_a_small_record_aside_that_it_cannot_read(path: Path, key: bytes, value: bytes) -> None:
    put(path, key, value)
    with TradeLedger.open(path) as ledger:
        assert [key.decode() in text for text in ledger.take_damage()] == [True]
        assert list(differences(ledger, truth())) == []
    assert keys.lost(key) in records(path)


def test_a_start_takes_a_lost_venue_from_the_filters_and_confirms_its_addresses(path: Path) -> None:
    put(path, keys.SOURCE, None)
    with TradeLedger.open(path) as ledger:
        assert ledger.venue == "binance spot"
        assert not ledger.confirmed_at(["wss://stream", "https://rest"])


@pytest.mark.parametrize("key", [b"trades:X:12", b"blocks:X:0000000000001", b"\xfe\xfd", b"meta:", b"zzz"])
def test_a_key_of_no_known_form_is_left_and_disturbs_nothing(path: Path, key: bytes) -> None:
    put(path, key, b"?")
    assert [finding.key for finding in verify(path)[0] if finding.kind == "note"] == [key]
    assert damage_in(path) == []
    assert repaired(path)[key] == b"?"


def test_a_record_of_a_newer_version_is_no_damage(path: Path) -> None:
    put(path, BLOCK, ormsgpack.packb({"v": 9}))
    with pytest.raises(NewerFormat, match="block version 9"):
        verify(path)
    with pytest.raises(NewerFormat):
        repair_ledger(path)
    assert records(path)[BLOCK] == ormsgpack.packb({"v": 9})


def test_files_are_kept_before_they_are_repaired(path: Path) -> None:
    (path / "CURRENT").unlink()
    before = {file.name: file.read_bytes() for file in path.glob("*.ldb")}
    assert [finding.what for finding in damage_in(path)] == ["CURRENT is gone"]
    repair_ledger(path)
    (kept,) = path.glob("damaged-*")
    assert {file.name: file.read_bytes() for file in kept.glob("*.ldb")} == before
    repaired(path)


def test_a_damaged_table_names_the_symbols_and_hours_in_its_block(path: Path) -> None:
    table = max(path.glob("*.ldb"), key=lambda file: file.stat().st_size)
    contents = bytearray(table.read_bytes())
    contents[contents.find(BLOCK) + 100] ^= 1
    table.write_bytes(contents)
    found = [finding for finding in damage_in(path) if finding.kind == "file"]
    assert ("XUSDT", FIRST_HOUR) in [(finding.symbol, finding.hour_ms) for finding in found]
    repaired(path)


def test_a_table_without_its_end_keeps_its_sound_blocks(path: Path) -> None:
    table = max(path.glob("*.ldb"), key=lambda file: file.stat().st_size)
    os.truncate(table, table.stat().st_size - 10)
    assert [finding.kind for finding in damage_in(path)] == ["file", "file"]
    repair_ledger(path)
    with TradeLedger.open(path) as ledger:
        assert ledger.gaps("XUSDT") == ()
        assert len(ledger.trades("XUSDT", 0, OPEN_HOUR)) == 180


def test_a_table_of_sound_blocks_is_one_that_leveldb_writes_too(path: Path) -> None:
    for table in path.glob("*.ldb"):
        contents = table.read_bytes()
        blocks = list(sound_blocks(contents))
        assert contents.startswith(b"".join(block.contents for block in blocks))
        assert list(sound_blocks(table_of(blocks))) == blocks


def test_a_log_of_any_records_is_read_again_and_past_its_damage() -> None:
    chosen = np.random.default_rng(1)
    written = [chosen.bytes(int(size)) for size in chosen.integers(1, 100_000, 12)]
    log = framed(written)
    assert read_log(log).records == written
    for at in chosen.integers(0, len(log), 10).tolist():
        damaged = bytearray(log)
        damaged[at] ^= 16
        read = read_log(bytes(damaged))
        assert read.records == [record for record in written if record in read.records]
        assert len(read.records) >= len(written) - 1
        assert read.damage or read.torn or read.records == written


def test_the_command_names_damage_by_symbol_and_hour_and_mends_it(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--data-dir", str(path)]
    assert cli.main(["verify", *where]) == 0
    put(path, SECOND, b"\xc1")
    capsys.readouterr()
    assert cli.main(["verify", *where]) == 1
    said = capsys.readouterr().out
    assert said.startswith(f"damage XUSDT 2023-11-15T02:00:00.000Z {SECOND.decode()}")
    assert "1 damaged" in said
    assert cli.main(["verify", "--repair", *where]) == 0
    assert "done: kept as lost" in capsys.readouterr().out
    assert cli.main(["verify", *where]) == 0
    assert "2 open gaps" in capsys.readouterr().out


def test_the_command_says_where_there_is_no_ledger(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["verify", "--data-dir", str(tmp_path)]) == 1
    assert "holds no ledger" in capsys.readouterr().err
