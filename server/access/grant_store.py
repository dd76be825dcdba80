"""The file of what the built-in authorization server has allowed.

Invariant: the file is replaced whole or not at all, synced before a token is given out, readable by its
owner alone; the server and an operator's command change it in turn, and each sees what the other did at once.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from server.access.grants import Grants
from storage.whole_files import put

log = structlog.get_logger()

# Beside the ledger's files, which know the name and leave it alone.
DIRECTORY = "access"
FILE = "grants.json"
LOCK = "lock"

Identity = tuple[int, int]
R = TypeVar("R")


class StoreDamaged(Exception):
    """The file is not what this program writes."""


class GrantStore:
    """Grants on disk; `current` as of now, `change` under a lock."""

    def __init__(self, data_dir: Path) -> None:
        """Raises `StoreDamaged`."""
        self._directory = data_dir / DIRECTORY
        self._path = self._directory / FILE
        self._held: tuple[Identity | None, Grants] = self._read()

    @property
    def exists(self) -> bool:
        return self._path.exists()

    def current(self) -> Grants:
        """What holds now; a file that was damaged meanwhile changes nothing."""
        return self._held[1] if _identity(self._path) == self._held[0] else self._reread()

    def _reread(self) -> Grants:
        identity = _identity(self._path)
        try:
            self._held = self._read()
        except StoreDamaged as error:
            self._held = identity, self._held[1]
            log.error("grants not reloaded", error=str(error))  # noqa: TRY400  one clear line
        return self._held[1]

    def change(self, step: Callable[[Grants], tuple[Grants, R]]) -> R:
        """One step from what holds now, on disk before this returns. Raises `OSError`."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._directory.stat().st_uid != os.geteuid():
            # What root wrote here the server could not read.
            raise PermissionError(f"{self._directory} is another user's; run this as that user")
        with (self._directory / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Two changes may have one time.
            before = self._reread()
            after, result = step(before)
            if after != before:
                self._held = self._write(after), after
            return result

    def _write(self, state: Grants) -> Identity | None:
        put(self._path, msgspec.json.encode(state), private=True)
        return _identity(self._path)

    def _read(self) -> tuple[Identity | None, Grants]:
        identity = _identity(self._path)
        try:
            return identity, msgspec.json.decode(self._path.read_bytes(), type=Grants)
        except FileNotFoundError:
            return None, Grants()
        except (OSError, msgspec.MsgspecError) as error:
            raise StoreDamaged(
                f"{self._path} cannot be used: {error}; without it every client asks again"
            ) from error


def _identity(path: Path) -> Identity | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
