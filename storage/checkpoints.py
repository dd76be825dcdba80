"""Reading a ledger that another process has open: its owner is asked for a checkpoint, by a file.

Invariant: whoever may write the ledger's directory may ask, and nobody else; no port and no key is involved.
The asker writes `checkpoints/NAME.wanted`; the owner makes `checkpoints/NAME` and removes the request, or
writes `NAME.refused` with the reason. The asker deletes what it was given.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from storage.errors import LedgerError, StoreUnavailable
from storage.ledger import TradeLedger
from storage.ledger_files import CHECKPOINTS, is_locked

WANTED = ".wanted"
REFUSED = ".refused"
POLL_S = 0.05
OWNER_ANSWERS_S = 30.0


def make_wanted(ledger: TradeLedger, path: Path) -> list[str]:
    """Make the checkpoints that are asked for of the ledger open in `path`; their names."""
    made = []
    for request in sorted((path / CHECKPOINTS).glob(f"*{WANTED}")):
        try:
            ledger.checkpoint(request.stem)
            made.append(request.stem)
        except LedgerError as error:
            with suppress(OSError):
                request.with_suffix(REFUSED).write_text(str(error))
        with suppress(OSError):
            request.unlink()
    return made


@contextmanager
def readable(path: Path, *, within_s: float = OWNER_ANSWERS_S) -> Iterator[Path]:
    """A directory with the ledger of `path` that can be opened while the context lasts.

    It is `path` itself where nobody has it open, else a checkpoint by its owner. Raises `StoreUnavailable`
    where there is no ledger or no answer.
    """
    if not (path / "CURRENT").exists():
        raise StoreUnavailable(f"{path} holds no ledger; choose another TAPEDECK_DATA_DIR")
    if not is_locked(path):
        yield path
        return
    target = _ask(path, within_s)
    try:
        yield target
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _ask(path: Path, within_s: float) -> Path:
    directory = path / CHECKPOINTS
    name = f"{os.getpid()}-{time.monotonic_ns()}"
    request = directory / f"{name}{WANTED}"
    refusal = directory / f"{name}{REFUSED}"
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        request.touch(mode=0o600)
    except OSError as error:
        raise StoreUnavailable(
            f"{path} is open in another process, which cannot be asked: {error.strerror}"
        ) from error
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not request.exists():
            if (directory / name).exists():
                return directory / name
            if refusal.exists():
                reason = refusal.read_text()
                refusal.unlink()
                raise StoreUnavailable(f"the process that has {path} open made no checkpoint: {reason}")
        time.sleep(POLL_S)
    with suppress(OSError):
        request.unlink()
    raise StoreUnavailable(f"the process that has {path} open made no checkpoint within {within_s:g} s")
