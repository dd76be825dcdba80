"""Files that are there whole or not at all."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from storage.whole_files import put, whole_file


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("there", [None, b"before"])
def test_what_fails_leaves_what_was_there_and_nothing_else(tmp_path: Path, there: bytes | None) -> None:
    path = tmp_path / "f"
    if there is not None:
        path.write_bytes(there)
    with suppress(KeyboardInterrupt), whole_file(path) as file:
        file.write(b"half")
        file.flush()
        raise KeyboardInterrupt
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == ([] if there is None else [there])


def test_of_two_that_write_at_once_the_last_to_end_has_written_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with whole_file(path) as one, whole_file(path) as other:
        one.write(b"one")
        other.write(b"another")
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_file_is_its_owners_alone_whatever_was_there(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with umask(0o022):
        put(path, b"1")
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        put(path, b"2", private=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_uid == tmp_path.stat().st_uid
    assert path.read_bytes() == b"2"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_private_file_that_root_writes_belongs_to_the_directorys_owner(tmp_path: Path) -> None:
    os.chown(tmp_path, 12_345, 23_456)
    put(tmp_path / "f", b"1", private=True)
    found = (tmp_path / "f").stat()
    assert (found.st_uid, found.st_gid) == (12_345, 23_456)
