"""Small disks for tests: a tmpfs that can be filled and emptied. They need the right to mount."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(path: Path, size: str = "48m") -> Iterator[Path]:
    """A tmpfs of its own at `path`; the test is skipped where mounting is refused."""
    path.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path))
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """The directory refuses to be written while the body runs; files that are open stay writable."""
    _mount("--bind", str(path), str(path))
    try:
        _mount("-o", "remount,ro,bind", str(path))
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def _mount(*arguments: str) -> None:
    try:
        mounted = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        pytest.skip(f"mounting is refused: {error}")
    if mounted.returncode:
        pytest.skip(f"mounting is refused: {mounted.stderr.strip()}")


@contextmanager
def full(disk: Path, *, spare: int = 0) -> Iterator[None]:
    """The disk has no more than `spare` bytes left while the body runs."""
    ballast = disk / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                os.ftruncate(file.fileno(), max(0, file.tell() - spare))
        yield
    finally:
        ballast.unlink()
