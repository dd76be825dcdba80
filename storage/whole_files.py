"""Files that are there whole or not at all.

Invariant: under its name a file is as it was or as it is to be, whatever happens in between; it is written as
`NAME.<random>.partial`, synced and renamed. What fails leaves nothing, a process that is killed that.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

PARTIAL = ".partial"


@contextmanager
def whole_file(path: Path, *, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """A file that is there once the context has gone well; `mode` is subject to the umask."""
    making = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    descriptor = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        making.replace(path)
    except BaseException:
        with suppress(OSError):
            making.unlink()
        raise


def put(path: Path, contents: bytes, *, private: bool = False) -> None:
    """A whole file with these contents, durably; a `private` one is for the directory's owner alone, whoever
    writes it."""
    with whole_file(path, mode=0o600 if private else 0o666) as file:
        owner = path.parent.stat()
        if private and owner.st_uid != os.geteuid():  # root may ask beside the server's user
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        file.write(contents)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """What was made, renamed or deleted in it is so after a power cut too."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
