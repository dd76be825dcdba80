"""Daily dumps of aggTrades over HTTP, as data.binance.vision has them: a zip and its CHECKSUM.

Invariant: not a row is given out before the whole file's SHA-256 is the one that the archive names.
"""

import asyncio
import hashlib
import re
import tempfile
import zipfile
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from types import TracebackType
from typing import BinaryIO, Self, TypeVar
from urllib.parse import urlsplit

import httpx
import structlog

from collectors.binance import DAY_MS, Malformed, dump_path, start_of
from collectors.dump import CHUNK_BYTES, DumpError, parse_dump
from collectors.links import LOOPBACK
from storage.trades import TradeColumns

log = structlog.get_logger()

# The busiest days of BTCUSDT so far had less than a tenth of it.
MOST_CSV_BYTES = 4 << 30
ATTEMPTS = 5
FIRST_WAIT_S = 0.5
# A file that is replaced between its two requests differs from its checksum once.
DOWNLOADS = 2

T = TypeVar("T")

# Bytes received so far, and how many there will be where the archive says so.
Received = Callable[[int, int | None], None]


class ArchiveError(Exception):
    """The archive did not give a day.

    ArchiveError
    ├── NotInArchive     it has no such file (yet)
    ├── ArchiveAway      no answer, or one that is none: retry later
    └── DumpDamaged      a file that is not what its checksum, its zip or its rows should be
    """


class NotInArchive(ArchiveError):
    pass


class ArchiveAway(ArchiveError):
    pass


class DumpDamaged(ArchiveError):
    pass


@dataclass(frozen=True, slots=True, eq=False)
class Dump:
    """A day's rows in id order, the first of equal ids kept; `rows` counts the lines that were read."""

    trades: TradeColumns
    rows: int
    malformed: list[Malformed]
    sha256: str

    @property
    def repeated(self) -> int:
        """Rows whose id another row of the file has as well."""
        return self.rows - len(self.trades)


class Archive:
    """Reads one archive; retries what may pass."""

    def __init__(
        self, base_url: str, *, attempts: int = ATTEMPTS, first_wait_s: float = FIRST_WAIT_S
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._attempts = attempts
        self._first_wait_s = first_wait_s
        self._client = httpx.AsyncClient(
            base_url=self.base_url,
            timeout=httpx.Timeout(30, connect=10),
            follow_redirects=True,
            trust_env=urlsplit(base_url).hostname not in LOOPBACK,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def dump(self, symbol: str, day: date, received: Received = lambda done, total: None) -> Dump:
        """A day's trades; raises `NotInArchive`, `ArchiveAway` and `DumpDamaged`."""
        path = dump_path(symbol, day)
        with tempfile.TemporaryFile() as file:
            sha256 = await self._verified(path, file, received)
            start_ms = start_of(day)
            trades, malformed, rows = [], list[Malformed](), 0
            try:
                for slice_ in parse_dump(csv_chunks(file), start_ms, start_ms + DAY_MS):
                    trades.append(slice_.trades)
                    malformed += slice_.malformed
                    rows += len(slice_.trades)
                    await asyncio.sleep(0)
            except DumpError as error:
                raise DumpDamaged(f"{self.base_url}{path}: {error}") from error
        return Dump(TradeColumns.concat(trades).by_id(), rows, malformed, sha256)

    async def _verified(self, path: str, file: BinaryIO, received: Received) -> str:
        """Write the zip to `file`; its SHA-256, which is what the archive says it is."""
        for left in reversed(range(DOWNLOADS)):
            expected = _checksum_in(await self._retried(lambda: self._text(f"{path}.CHECKSUM")))
            found = await self._retried(lambda: self._download(path, file, received))
            if expected == found:
                return found
            if expected is not None and left:
                log.info("dump differs from its checksum", path=path, next="downloading both again")
        raise DumpDamaged(
            f"{self.base_url}{path}: SHA-256 is {found}, its CHECKSUM says {expected or 'none'}; "
            "nothing was taken from it"
        )

    async def _retried(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` brings, asked again after a growing while where the archive is away."""
        for attempt in range(self._attempts - 1):
            try:
                return await ask()
            except ArchiveAway as error:
                wait_s = self._first_wait_s * 2**attempt
                log.info("archive away", error=str(error), retry_s=wait_s)
                await asyncio.sleep(wait_s)
        return await ask()

    async def _text(self, path: str) -> str:
        async with self._reply(path) as reply:
            return (await reply.aread()).decode(errors="replace")

    async def _download(self, path: str, file: BinaryIO, received: Received) -> str:
        file.seek(0)
        file.truncate()
        digest, done = hashlib.sha256(), 0
        async with self._reply(path) as reply:
            length = reply.headers.get("Content-Length", "")
            total = int(length) if length.isdigit() else None
            async for chunk in reply.aiter_raw(CHUNK_BYTES):
                file.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                received(done, total)
        return digest.hexdigest()

    @asynccontextmanager
    async def _reply(self, path: str) -> AsyncIterator[httpx.Response]:
        try:
            async with self._client.stream("GET", path, headers={"Accept-Encoding": "identity"}) as reply:
                if reply.status_code == httpx.codes.NOT_FOUND:
                    raise NotInArchive(f"{self.base_url}{path}: not there (yet)")
                if reply.status_code != httpx.codes.OK:
                    raise ArchiveAway(f"{self.base_url}{path}: status {reply.status_code}")
                yield reply
        except httpx.HTTPError as error:
            raise ArchiveAway(f"{self.base_url}{path}: {str(error) or type(error).__name__}") from error


_SHA256 = re.compile(r"[0-9a-f]{64}")


def _checksum_in(text: str) -> str | None:
    """The SHA-256 of a line `<hex>  <name>`; None where there is none."""
    found = _SHA256.match(text.strip().lower())
    return found[0] if found else None


def csv_chunks(file: BinaryIO, most_bytes: int = MOST_CSV_BYTES) -> Iterator[bytes]:
    """The bytes of the one CSV in a zip; raises `DumpError`, for one that is larger than `most_bytes` too."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) != 1:
                raise DumpError(f"a zip of {len(members)} files, expected one")
            if members[0].file_size > most_bytes:
                raise DumpError(f"a CSV of {members[0].file_size} bytes, expected at most {most_bytes}")
            with archive.open(members[0]) as csv:
                while chunk := csv.read(CHUNK_BYTES):
                    yield chunk
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DumpError(f"no zip that can be read: {error}") from error
