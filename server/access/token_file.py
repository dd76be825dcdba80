"""The tokens in force: those of the environment and those of a file, which is read again when it changes.

Invariant: a file that others may read, or in which a line is wrong, changes nothing: the tokens before it
stay in force and the log says so. A file that is gone holds no token.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import structlog

from server.access.tokens import NamedToken, TokenUnusable, distinct, named_tokens

log = structlog.get_logger()

Identity = tuple[int, int, int]


class TokensInForce:
    """Named tokens; `current` as the file has them now."""

    def __init__(self, given: Sequence[NamedToken], path: Path | None) -> None:
        """Raises `TokenUnusable`, for a file that is missing too."""
        self._given = tuple(given)
        self._path = path
        self._seen: Identity | None = _identity(path) if path else None
        self._current = self._read()

    @property
    def has_file(self) -> bool:
        return self._path is not None

    @property
    def current(self) -> tuple[NamedToken, ...]:
        if self._path is not None and (identity := _identity(self._path)) != self._seen:
            self._seen = identity
            self.reload()
        return self._current

    def reload(self) -> None:
        """Take the file as it is now, unless it is wrong."""
        if self._path is None:
            return
        try:
            self._current = self._read() if self._path.exists() else self._given
        except TokenUnusable as error:
            log.error("tokens not reloaded", error=str(error), kept=len(self._current))  # noqa: TRY400  one clear line
        else:
            log.info("tokens reloaded", tokens=[token.name for token in self._current])

    def _read(self) -> tuple[NamedToken, ...]:
        return distinct([*self._given, *(tokens_of(self._path) if self._path else ())])


def tokens_of(path: Path) -> tuple[NamedToken, ...]:
    """The tokens in a file, one a line. Raises `TokenUnusable`."""
    try:
        if path.stat().st_mode & 0o077:
            raise TokenUnusable(f"others may read {path}; it must be yours alone: chmod 600 {path}")
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenUnusable(f"{path} cannot be read: {error}") from None
    try:
        return named_tokens(list(_entries(lines)))
    except TokenUnusable as error:
        raise TokenUnusable(f"{path}: {error}") from None


def _entries(lines: Iterable[str]) -> Iterable[str]:
    stripped = (line.strip() for line in lines)
    return (line for line in stripped if line and not line.startswith("#"))


def _identity(path: Path) -> Identity | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_mode
