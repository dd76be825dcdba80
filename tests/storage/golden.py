"""Ledgers as this version writes them, in one archive, for later versions to read.

Usage: python -m tests.storage.golden tests/storage/formats/N.tar.xz, once for each format, and never again:
what is committed there is what people have on their disks.
"""

import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from storage import sealer as sealer_module
from storage.ledger import TradeLedger
from storage.ledger_files import leveldb_files
from storage.trades import TradeColumns
from tests import ledgers
from tests.storage.busy import KEPT_MS, time_of, trades_of

# Hours of sixty rows have parts, ids step back over the hours' borders, some are invalid, some never came.
WORN_IDS = [i for i in range(1, 700) if i % 97 and not 400 <= i < 420]
WORN = "BTCUSDT"


def worn_rows() -> TradeColumns:
    """What the worn ledger was given."""
    rows = trades_of(WORN, WORN_IDS)
    invalid = rows.id % 50 == 7
    return TradeColumns(
        id=rows.id,
        time_ms=rows.time_ms,
        price_int=np.where(invalid, 0, rows.price_int),
        quantity_int=np.where(invalid, 0, rows.quantity_int),
        first_id=rows.first_id,
        last_id=rows.last_id,
        buyer_is_maker=rows.buyer_is_maker,
        price_exp=rows.price_exp,
        quantity_exp=rows.quantity_exp,
    )


def worn_before_ms() -> int:
    """What is older has expired."""
    return time_of(max(WORN_IDS)) - KEPT_MS


def build_worn(path: Path) -> None:
    """Sealed in parts, late rows, the oldest hours expired, the newest open."""
    vars(sealer_module)["MOST_IN_BLOCK"] = 30
    with TradeLedger.open(path) as ledger:
        ledger.claim("simulated", ["ws://exchange"])
        rows = worn_rows()
        for part in (rows.id % 11 != 3, rows.id % 11 == 3):
            ledger.append(WORN, rows.take(part))
            for _ in range(2):
                ledger.seal(time_of(max(WORN_IDS)) - 60_000)
        ledger.expire(worn_before_ms())


def main(archive: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        built = Path(directory)
        ledgers.build(built / "closed")
        ledgers.build(built / "killed", crashed=True)
        build_worn(built / "worn")
        with tarfile.open(archive, "x:xz", preset=9) as files:
            for ledger in ("closed", "killed", "worn"):
                for file in leveldb_files(built / ledger):
                    files.add(file, f"{ledger}/{file.name}", filter=_of_no_one)


def _of_no_one(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without the owner and the time of whoever made it."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main(Path(sys.argv[1]))
