"""The archive's client on real sockets: what is verified, what is retried, what is refused."""

import asyncio
import hashlib
import io
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from collectors.archive import Archive, ArchiveAway, DumpDamaged, NotInArchive, csv_chunks
from collectors.binance import DAY_MS, dump_path, start_of
from collectors.dump import DumpError
from collectors.exchange import Exchange, Habits
from collectors.exchange.archive import dump_csv, zipped
from storage.trades import TradeColumns
from tests.clock import wall_ms
from tests.markets import PrintedMarket, printed_market
from tests.tapes import rows_of, run_of

SYMBOL = "BTCUSDT"
SLOW = 0.005  # some 7,800 trades a day
DAY = datetime.fromtimestamp(wall_ms() / 1000, UTC).date() - timedelta(days=2)
NAME = "BTCUSDT-aggTrades-2026-11-20"
PAST = date(2026, 11, 20)
PATH = dump_path(SYMBOL, PAST)


def slow_market() -> PrintedMarket:
    return printed_market(SYMBOL, 1, SLOW, start_of(DAY), start_of(DAY) + DAY_MS)


def truth(market: PrintedMarket, day: date) -> TradeColumns:
    return market.trades(SYMBOL, start_of(day), start_of(day) + DAY_MS)


@asynccontextmanager
async def archive_with(habits: Habits) -> AsyncIterator[tuple[Archive, PrintedMarket]]:
    market = slow_market()
    async with Exchange(market, clock=wall_ms) as exchange, Archive(exchange.rest_url) as archive:
        exchange.archive_habits = habits
        yield archive, market


@pytest.mark.parametrize(
    "habits",
    [
        Habits(),
        Habits(header=True, truth=("false", "true")),
        Habits(microseconds=False),
        Habits(shuffled=True),
    ],
)
def test_a_day_is_what_the_exchange_printed_whatever_its_file_looks_like(habits: Habits) -> None:
    async def run() -> None:
        async with archive_with(habits) as (archive, market):
            received: list[tuple[int, int | None]] = []
            dump = await archive.dump(SYMBOL, DAY, lambda done, total: received.append((done, total)))
            assert rows_of(dump.trades) == rows_of(truth(market, DAY))
            assert (dump.rows, dump.repeated, dump.malformed) == (len(dump.trades), 0, [])
            done, total = received[-1]
            assert done == total

    asyncio.run(run())


def test_a_truncated_day_gives_what_it_has() -> None:
    async def run() -> None:
        async with archive_with(Habits(kept=0.4)) as (archive, market):
            dump = await archive.dump(SYMBOL, DAY)
            printed = rows_of(truth(market, DAY))
            assert rows_of(dump.trades) == printed[: round(len(printed) * 0.4)]

    asyncio.run(run())


def test_a_file_that_differs_from_its_checksum_gives_nothing() -> None:
    async def run() -> None:
        async with archive_with(Habits(wrong_checksum=True)) as (archive, _):
            with pytest.raises(DumpDamaged, match="its CHECKSUM says"):
                await archive.dump(SYMBOL, DAY)

    asyncio.run(run())


def test_a_day_that_is_not_published_is_not_there() -> None:
    async def run() -> None:
        async with archive_with(Habits(published_after_ms=3 * DAY_MS)) as (archive, _):
            with pytest.raises(NotInArchive):
                await archive.dump(SYMBOL, DAY)
            with pytest.raises(NotInArchive):
                await archive.dump("NOPE", DAY)
            with pytest.raises(NotInArchive):
                await archive.dump(SYMBOL, date(2010, 1, 1))

    asyncio.run(run())


# -- an archive that answers what it is told to -----------------------------------------------------------

Answer = Callable[[str, int], tuple[int, bytes]]


@asynccontextmanager
async def archive_that(answers: Answer) -> AsyncIterator[tuple[Archive, list[str]]]:
    """An archive whose n-th request for a path is answered by `answers(path, n)`; and what was asked."""
    asked: list[str] = []

    async def respond(_: ServerConnection, request: Request) -> Response:
        asked.append(request.path)
        status, body = answers(request.path, asked.count(request.path))
        headers = Headers({"Content-Length": str(len(body)), "Connection": "close"})
        return Response(status, HTTPStatus(status).phrase, headers, body)

    async def never(_: ServerConnection) -> None: ...

    async with serve(never, "127.0.0.1", 0, process_request=respond) as server:
        port = server.sockets[0].getsockname()[1]
        async with Archive(f"http://127.0.0.1:{port}", attempts=3, first_wait_s=0.01) as archive:
            yield archive, asked


def checksum(body: bytes) -> bytes:
    return f"{hashlib.sha256(body).hexdigest()}  {NAME}.zip\n".encode()


TAPE = run_of(1, 50, start_ms=start_of(PAST))
FILE = zipped(f"{NAME}.csv", dump_csv(TAPE, PAST, Habits()))


def test_an_archive_that_is_away_for_a_moment_is_asked_again() -> None:
    statuses = [503, 429, 200]

    async def run() -> None:
        async with archive_that(
            lambda path, n: (statuses[n - 1], checksum(FILE) if path.endswith("M") else FILE)
        ) as (archive, asked):
            assert rows_of((await archive.dump(SYMBOL, PAST)).trades) == rows_of(TAPE)
            assert asked.count(PATH) == 3

    asyncio.run(run())


def test_an_archive_that_stays_away_is_named_with_its_status() -> None:
    async def run() -> None:
        async with archive_that(lambda path, n: (503, b"")) as (archive, asked):
            with pytest.raises(ArchiveAway, match="status 503"):
                await archive.dump(SYMBOL, PAST)
            assert len(asked) == 3
        async with Archive("http://127.0.0.1:9", attempts=2, first_wait_s=0.01) as archive:
            with pytest.raises(ArchiveAway):
                await archive.dump(SYMBOL, PAST)

    asyncio.run(run())


def test_a_file_that_is_replaced_between_its_two_requests_is_fetched_again() -> None:
    changed = zipped(f"{NAME}.csv", dump_csv(run_of(1, 60, start_ms=start_of(PAST)), PAST, Habits()))

    def answers(path: str, n: int) -> tuple[int, bytes]:
        if path.endswith(".CHECKSUM"):
            return 200, checksum(FILE if n == 1 else changed)
        return 200, changed

    async def run() -> None:
        async with archive_that(answers) as (archive, _):
            assert len((await archive.dump(SYMBOL, PAST)).trades) == 60

    asyncio.run(run())


def test_nothing_is_left_of_a_longer_file_that_differed_from_the_checksum() -> None:
    longer = zipped(f"{NAME}.csv", dump_csv(run_of(1, 600, start_ms=start_of(PAST)), PAST, Habits()))

    def answers(path: str, n: int) -> tuple[int, bytes]:
        if path.endswith(".CHECKSUM"):
            return 200, checksum(FILE)
        return 200, longer if n == 1 else FILE

    async def run() -> None:
        assert len(longer) > len(FILE)
        async with archive_that(answers) as (archive, _):
            assert rows_of((await archive.dump(SYMBOL, PAST)).trades) == rows_of(TAPE)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (FILE[:-30], "no zip"),
        (b"<html>sorry</html>", "no zip"),
        (zipped("x.csv", b"<p>no dump</p>\n" * 2000), "are no aggTrades"),
        (zipped("x.csv", bytes(1 << 17)), "no line end"),
    ],
)
def test_a_file_that_is_as_its_checksum_says_and_yet_no_dump_is_refused(body: bytes, why: str) -> None:
    async def run() -> None:
        async with archive_that(lambda path, n: (200, checksum(body) if path.endswith("M") else body)) as (
            archive,
            _,
        ):
            with pytest.raises(DumpDamaged, match=why):
                await archive.dump(SYMBOL, PAST)

    asyncio.run(run())


def test_a_checksum_file_without_a_checksum_verifies_nothing() -> None:
    async def run() -> None:
        async with archive_that(lambda path, n: (200, b"<html>" if path.endswith("M") else FILE)) as (
            archive,
            _,
        ):
            with pytest.raises(DumpDamaged, match="CHECKSUM says none"):
                await archive.dump(SYMBOL, PAST)

    asyncio.run(run())


def test_a_zip_that_would_grow_beyond_all_bounds_is_refused_before_it_does() -> None:
    bomb = io.BytesIO(zipped("x.csv", bytes(1 << 20)))
    with pytest.raises(DumpError, match="1048576 bytes, expected at most 1000"):
        list(csv_chunks(bomb, most_bytes=1000))


def test_a_zip_of_several_files_is_refused() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", b"1")
        archive.writestr("b.csv", b"2")
    with pytest.raises(DumpError, match="2 files"):
        list(csv_chunks(file))


def test_a_repeated_id_counts_once_and_is_told() -> None:
    twice = TradeColumns.concat([TAPE, TAPE.take(slice(0, 3))])
    body = zipped(f"{NAME}.csv", dump_csv(twice, PAST, Habits()))

    async def run() -> None:
        async with archive_that(lambda path, n: (200, checksum(body) if path.endswith("M") else body)) as (
            archive,
            _,
        ):
            dump = await archive.dump(SYMBOL, PAST)
            assert rows_of(dump.trades) == rows_of(TAPE)
            assert dump.repeated == 3

    asyncio.run(run())
