"""Disks that refuse: a tmpfs that can be filled and emptied, which needs the right to mount, and one that
cannot sync, which needs none.
"""

import ctypes
import errno
import os
import platform
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


# -- a disk that cannot sync

# Numbers of fsync and fdatasync.
_SYNCS = {"x86_64": (74, 75), "aarch64": (82, 83)}
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _FILTER = 22, 38, 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _FAIL = 0x7FFF_0000, 0x0005_0000


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("if_so", ctypes.c_ubyte),
        ("else", ctypes.c_ubyte),
        ("operand", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


def refuse_to_sync() -> None:
    """From now on and for good, each fsync and fdatasync of the calling thread alone fails with EIO.

    The kernel says so (a seccomp filter); the test is skipped where there is none to ask.
    """
    syncs = _SYNCS.get(platform.machine()) if platform.system() == "Linux" else None
    if syncs is None:
        pytest.skip("no filter for system calls here")
    program = (_Instruction * 5)(
        _Instruction(_LOAD, 0, 0, 0),  # the call's number
        _Instruction(_EQUAL, 1, 0, syncs[0]),
        _Instruction(_EQUAL, 0, 1, syncs[1]),
        _Instruction(_RETURN, 0, 0, _FAIL | errno.EIO),
        _Instruction(_RETURN, 0, 0, _ALLOW),
    )
    libc = ctypes.CDLL(None, use_errno=True)
    told = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _FILTER, ctypes.byref(_Program(len(program), program)), 0, 0
    )
    if told:
        pytest.skip(f"filters for system calls are refused: {os.strerror(ctypes.get_errno())}")
