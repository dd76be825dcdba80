"""Whether a closed ledger's records fit each other."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import plyvel

from storage import keys
from storage.blocks import decode_block
from storage.candle_records import decode_candles
from storage.candles import MinuteCandles
from storage.codec import decode_second_batches
from storage.rollups import decode_rollup, digest_of
from storage.trades import TradeColumns
from storage.verify import verify


def records_of(path: Path) -> dict[str, dict[str, bytes]]:
    """All records of a closed ledger: by family, then by what stands behind its name."""
    found: dict[str, dict[str, bytes]] = defaultdict(dict)
    db = plyvel.DB(str(path), compression=None, create_if_missing=False)
    for key, value in db.iterator(stop=keys.END):
        family, _, name = key.decode().partition(":")
        found[family][name] = value
    db.close()
    return found


def assert_sound(path: Path) -> None:
    """Every block has its rollup and its candles, all three of the same rows; no id is held twice; no record
    is in an hour that it does not belong to."""
    # A test's ledger may name no venue.
    assert [found for found in verify(path)[0] if found.is_damage and found.key != keys.SOURCE] == []
    records = records_of(path)
    blocks, rollups, candles = (records[family] for family in ("blocks", "rollup", "candles"))
    assert blocks.keys() == rollups.keys() == candles.keys()
    held = Counter[tuple[str, int]]()
    for name, value in blocks.items():
        symbol, hour_ms = name.split(":")[0], int(name.split(":")[1])
        rows = decode_block(value).trades()
        rollup = decode_rollup(rollups[name])
        assert digest_of(rows) == rollup.digest
        assert (len(rows), int(rows.id[0]), int(rows.id[-1])) == (
            rollup.rows,
            rollup.first_id,
            rollup.last_id,
        )
        assert _plain(decode_candles(candles[name], hour_ms)) == _plain(MinuteCandles.of(rows))
        assert len(rows.within(hour_ms, hour_ms + keys.HOUR_MS)) == len(rows)
        held.update((symbol, identity) for identity in rows.id.tolist())
    for symbol, second_ms, rows in _seconds(records["trades"]):
        assert len(rows.within(second_ms, second_ms + keys.SECOND_MS)) == len(rows)
        held.update((symbol, identity) for identity in rows.id.tolist())
    assert not [row for row, times in held.items() if times > 1]
    assert not records["lost"]


def _seconds(records: Mapping[str, bytes]) -> Iterator[tuple[str, int, TradeColumns]]:
    for name, value in records.items():
        symbol, second_ms = name.split(":")
        yield symbol, int(second_ms), decode_second_batches([value])


def _plain(candles: MinuteCandles) -> list[object]:
    candles = candles.at_exponents(8, 8)
    names = ("minute_ms", "open", "high", "low", "close", "buy", "sell", "trades", "first_id", "last_id")
    return [candles.notional, *(getattr(candles, name).tolist() for name in names)]
