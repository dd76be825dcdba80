"""What one process keeps in a file the next one reads; what cannot be read or written stops nothing."""

import asyncio
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from collectors.bars import Bar
from collectors.kept_file import KeptFile
from storage.backups import back_up
from storage.ledger import TradeLedger
from storage.ledger_files import ATTEMPTS, BARS, leveldb_files
from storage.verify import verify
from storage.whole_files import put

NUMBERS = st.integers(-(2**63), 2**63 - 1)
NAMES = st.sampled_from(["rest", "stream"])


def numbers(path: Path | None, *contents: int) -> KeptFile[list[int]]:
    return KeptFile(path, "numbers", list[int], lambda: list(contents))


async def kept(file: KeptFile[list[int]]) -> None:
    file.keep()
    await file.written()


@given(st.lists(st.builds(Bar, NAMES, st.text(), NUMBERS, NUMBERS, NUMBERS)))
def test_what_is_kept_is_read_as_it_was_and_is_news_once(
    tmp_path_factory: pytest.TempPathFactory, bars: list[Bar]
) -> None:
    path = tmp_path_factory.mktemp("kept") / "not there yet" / "BARS"
    file, other = (KeptFile(path, "bars", list[Bar], lambda: bars) for _ in range(2))

    async def run() -> None:
        assert other.news() is None
        file.keep()
        await file.written()
        assert other.news() == bars
        assert other.news() is None

    asyncio.run(run())
    assert [entry.name for entry in path.parent.iterdir()] == ["BARS"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("text", [b"", b"{}", b'["1"]', b"[1.5]", b"\xff", b"[" * 5_000, b"\0" * 64])
def test_what_is_no_such_json_is_told_of_once_and_replaced(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "N").write_bytes(text)
    file = numbers(tmp_path / "N", 7)
    with capture_logs() as logs:
        assert [file.news(), file.news()] == [None, None]
        asyncio.run(kept(file))
        assert file.news() == [7]
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("numbers not read", "warning"),
        ("numbers not read", "debug"),
    ]


def test_a_place_that_cannot_be_written_is_told_of_once_until_it_can(tmp_path: Path) -> None:
    (tmp_path / "d").write_text("in the way")
    file = numbers(tmp_path / "d" / "N", 7)
    with capture_logs() as logs:
        asyncio.run(kept(file))
        asyncio.run(kept(file))
        (tmp_path / "d").unlink()
        asyncio.run(kept(file))
    assert file.news() == [7]
    assert [line["log_level"] for line in logs] == ["warning", "debug"]
    assert {line["event"] for line in logs} == {"numbers not written"}


def test_a_disk_that_hangs_is_waited_for_as_long_as_was_said_and_gets_the_newest_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, contents, begun = tmp_path / "N", [1], list[bytes]()

    async def run() -> None:
        loop, goes_on = asyncio.get_running_loop(), asyncio.Event()

        def hang(path: Path, written: bytes, *, private: bool) -> None:
            begun.append(written)
            asyncio.run_coroutine_threadsafe(goes_on.wait(), loop).result(30)
            put(path, written, private=private)

        monkeypatch.setattr("collectors.kept_file.put", hang)
        file = KeptFile(path, "numbers", list[int], lambda: contents)
        file.keep()
        await file.written(0.01)
        for more in (2, 3):
            contents.append(more)
            file.keep()
            await file.written(0.01)
        assert not path.exists()
        goes_on.set()
        await file.written()
        assert file.news() == [1, 2, 3]
        assert len(begun) == 2

    asyncio.run(run())


def test_without_a_directory_nothing_is_kept_and_nothing_waited_for() -> None:
    file = numbers(None, 7)
    asyncio.run(kept(file))
    assert file.news() is None


@pytest.mark.parametrize("name", [BARS, ATTEMPTS, f"{ATTEMPTS}.0a1b2c3d.partial"])
def test_beside_a_ledger_it_is_no_part_of_it(tmp_path: Path, name: str) -> None:
    """Nor does a directory count as used that has nothing else."""
    path = tmp_path / "ledger"
    path.mkdir()
    (path / name).write_bytes(b"[1]")
    with TradeLedger.open(path) as ledger:
        size = ledger.bytes_on_disk
        (path / name).write_bytes(b" " * 100_000)
        assert ledger.bytes_on_disk == size
        back_up(ledger, tmp_path / "copy")
    assert (path / name).exists()
    assert name not in {file.name for file in [*leveldb_files(path), *(tmp_path / "copy").iterdir()]}
    assert verify(path)[0] == []
