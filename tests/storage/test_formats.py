"""Ledgers of every format that was ever released are opened, read, verified and recorded on.

`formats/N.tar.xz` was written by the code of its time, see golden.py; what it must say stands here.
"""

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.ledger import TradeLedger
from storage.recovery import FORMAT
from storage.rollups import digest_of
from storage.trades import TradeColumns
from storage.verify import verify
from tests.ledgers import OPEN_HOUR, differences, truth
from tests.storage.golden import WORN, worn_before_ms, worn_rows
from tests.storage.soundness import assert_sound
from tests.tapes import rows_of, run_of

ARCHIVES = sorted((Path(__file__).parent / "formats").glob("*.tar.xz"))
EVERYTHING = (0, 10**13)
DAY_MS = 86_400_000
# SHA-256 of all rows, as docs/storage-format.md defines it.
DIGESTS = {
    "1": {
        ("closed", "XUSDT"): "13a3457aa2b947068ffaf314bab229ed7bbadbc1f26b0c2577f0da3b7f9cffd7",
        ("closed", "Y"): "b0165b1ac93c2c6dd59715ccb16dccd81af9c2bb44a00a352271529778d0784e",
        ("killed", "XUSDT"): "13a3457aa2b947068ffaf314bab229ed7bbadbc1f26b0c2577f0da3b7f9cffd7",
        ("killed", "Y"): "b0165b1ac93c2c6dd59715ccb16dccd81af9c2bb44a00a352271529778d0784e",
        ("worn", "BTCUSDT"): "ed3b6674689f191614d3fd3ac4fadd9e28a5ae39c2caa5e2cfb417a294bc0c65",
    }
}
Unpacked = Callable[[str], Path]


@pytest.fixture(params=ARCHIVES, ids=lambda archive: archive.name.partition(".")[0])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A format's number, and a directory with its ledgers."""
    path: Path = request.param
    with tarfile.open(path) as files:
        files.extractall(tmp_path, filter="data")
    return path.name.partition(".")[0], tmp_path


def test_every_format_up_to_todays_has_its_ledgers() -> None:
    assert [archive.name for archive in ARCHIVES] == [f"{n}.tar.xz" for n in range(1, FORMAT + 1)]
    assert all(archive.stat().st_size < 100_000 for archive in ARCHIVES)


@pytest.mark.parametrize("name", ["closed", "killed"])
def test_every_answer_from_an_old_ledger_is_that_of_its_rows(archive: tuple[str, Path], name: str) -> None:
    number, directory = archive
    with TradeLedger.open(directory / name, create=False) as ledger:
        assert ledger.take_damage() == []
        assert list(differences(ledger, truth())) == []
        for symbol, tape in truth().items():
            rows = ledger.trades(symbol, *EVERYTHING)
            assert rows_of(rows) == rows_of(tape)
            assert digest_of(rows).hex() == DIGESTS[number][name, symbol]
            assert ledger.warmup_from_ms(symbol) is not None
        assert ledger.venue == "binance spot"
        assert set(ledger.instruments) == set(truth())


def test_a_worn_ledger_keeps_its_parts_gaps_and_expired_ids(archive: tuple[str, Path]) -> None:
    number, directory = archive
    with TradeLedger.open(directory / "worn", create=False) as ledger:
        rows, given = ledger.trades(WORN, *EVERYTHING), worn_rows()
        kept = given.take(given.time_ms >= worn_before_ms() - worn_before_ms() % 3_600_000)
        assert rows_of(rows) == rows_of(kept)
        assert digest_of(rows).hex() == DIGESTS[number]["worn", WORN]
        lost = [i for gap in ledger.gaps(WORN) for i in range(gap.first_id, gap.last_id + 1)]
        never_came = set(range(int(kept.id.min()), int(kept.id.max()))) - set(given.id.tolist())
        assert lost == sorted(never_came)
        assert len(ledger.trades(WORN, 0, worn_before_ms() - 3_600_000)) == 0


@pytest.mark.parametrize("name", ["closed", "killed", "worn"])
def test_an_old_ledger_is_sound_and_is_recorded_on(archive: tuple[str, Path], name: str) -> None:
    directory = archive[1] / name
    assert [found for found in verify(directory)[0] if found.is_damage] == []
    with TradeLedger.open(directory, create=False) as ledger:
        symbol = ledger.symbols[0]
        newest = ledger.trades(symbol, *EVERYTHING)
        first_id, start_ms = int(newest.id.max()) + 1, max(OPEN_HOUR, int(newest.time_ms.max()))
        added: TradeColumns = run_of(first_id, 500, start_ms=start_ms + 1, step_ms=60_000)
        ledger.append(symbol, added)
        for _ in range(2):
            ledger.seal(start_ms + DAY_MS)
        expected = rows_of(newest) + rows_of(added)
    assert_sound(directory)
    with TradeLedger.open(directory, create=False) as ledger:
        assert rows_of(ledger.trades(symbol, *EVERYTHING)) == expected
