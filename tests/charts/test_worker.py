"""The process that draws: started when asked for, replaced when it died, ended with its owner."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from server.charts import worker
from server.charts.picture import Mark, Picture, PriceBars, PriceRows
from server.charts.worker import ChartFailed, Charts

PNG = b"\x89PNG"
WITHIN_S = 60
# Replies as the real one does, at once and with nothing drawn; a picture's title says what to do otherwise.
STAND_IN = """
import os, sys, time
from server.charts.picture import unpacked
from server.charts.replies import HEADER, Reply, packed_reply
while len(header := sys.stdin.buffer.read(HEADER.size)) == HEADER.size:
    title = unpacked(sys.stdin.buffer.read(HEADER.unpack(header)[0])).title
    if title == "hang":
        time.sleep(600)
    if title == "die":
        print("no more ink", file=sys.stderr, flush=True)
        os._exit(3)
    if title == "huge":
        sys.stdout.buffer.write(HEADER.pack(2**31))
    if title == "garbage":
        sys.stdout.buffer.write(HEADER.pack(3) + b"abc")
    told = ",".join(sorted(os.environ)) if title == "environment" else str(os.getpid())
    reply = packed_reply(Reply(png=told.encode()))
    sys.stdout.buffer.write(HEADER.pack(len(reply)) + reply)
    sys.stdout.buffer.flush()
    if title == "leave":
        os._exit(0)
"""
STANDS_IN = (sys.executable, "-c", STAND_IN)


def picture(title: str = "a picture") -> Picture:
    one = (1.0, 2.0)
    return Picture(
        "profile", title, "", (), 0, 120_000, 119_000, 2, "BTC",
        PriceBars(60_000, (0, 60_000), one, one, one, one, one),
        PriceRows(1.0, 0.5, one, one),
        (Mark("poc", 1.0, 1.5, "POC 1.00"), Mark("last", 2.0, 2.0, "last 2.00")),
    )  # fmt: skip


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not holds():  # noqa: ASYNC110  a process has no event for it
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def open_files_of(pid: int | None) -> list[str]:
    return [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]


def run(test: Callable[[], object]) -> None:
    asyncio.run(asyncio.wait_for(test(), WITHIN_S))  # type: ignore[arg-type]


def test_pictures_are_drawn_by_one_process_that_ends_with_its_owner() -> None:
    async def test() -> None:
        charts = Charts(limit_s=WITHIN_S)
        async with charts:
            assert charts.pid is None
            first = await charts.png(picture(), WITHIN_S)
            pid = charts.pid
            assert pid is not None
            assert first.startswith(PNG)
            assert await charts.png(picture(), WITHIN_S) == first
            assert charts.pid == pid
        assert not alive(pid)
        with pytest.raises(ChartFailed, match="the server is ending"):
            await charts.png(picture())

    run(test)


def test_it_holds_nothing_of_ours_open_and_knows_no_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAPEDECK_AUTH_TOKENS", "secret")
    held = (tmp_path / "LOCK").open("w")
    os.set_inheritable(held.fileno(), True)

    async def test() -> None:
        async with Charts(STANDS_IN) as charts:
            names = (await charts.png(picture("environment"))).decode().split(",")
            assert not [name for name in names if name.startswith("TAPEDECK")]
            open_files = open_files_of(charts.pid)
            assert len(open_files) == 3
            assert str(tmp_path / "LOCK") not in open_files
            assert os.getsid(charts.pid or 0) == charts.pid

    with held:
        run(test)


@pytest.mark.parametrize("manner", ["die", "huge", "garbage"])
def test_one_that_fails_is_replaced(manner: str) -> None:
    async def test() -> None:
        async with Charts(STANDS_IN) as charts:
            before = await charts.png(picture())
            with pytest.raises(ChartFailed, match="the process that draws ended"):
                await charts.png(picture(manner))
            assert await charts.png(picture()) != before

    run(test)


def test_one_that_has_left_meanwhile_is_not_noticed() -> None:
    async def test() -> None:
        async with Charts(STANDS_IN) as charts:
            pid = int(await charts.png(picture("leave")))
            await until(lambda: not alive(pid))
            assert int(await charts.png(picture())) != pid

    run(test)


def test_one_that_takes_too_long_is_killed() -> None:
    async def test() -> None:
        async with Charts(STANDS_IN) as charts:
            pid = int(await charts.png(picture()))
            with pytest.raises(ChartFailed, match=r"not drawn within 0\.2 s"):
                await charts.png(picture("hang"), 0.2)
            await until(lambda: not alive(pid))
            assert int(await charts.png(picture())) != pid

    run(test)


def test_killed_ones_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def test() -> None:
        async with Charts(STANDS_IN) as charts:
            for _ in range(3):
                with pytest.raises(ChartFailed):
                    await charts.png(picture("hang"), 0.1)
            await charts.png(picture())
            assert len(os.listdir(tmp_path)) == 1  # noqa: PTH208  names alone

    run(test)
    assert list(tmp_path.iterdir()) == []


def test_the_log_has_the_last_words_of_one_that_ended() -> None:
    async def test() -> None:
        with structlog.testing.capture_logs() as logs:
            async with Charts(STANDS_IN) as charts:
                with pytest.raises(ChartFailed):
                    await charts.png(picture("die"))
                await charts.png(picture())
        assert [entry["said"] for entry in logs if "said" in entry] == ["no more ink\n"]

    run(test)


def test_one_that_starts_while_its_owner_ends_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[asyncio.subprocess.Process] = []
    start = asyncio.create_subprocess_exec

    async def test() -> None:
        charts = Charts(STANDS_IN)

        async def starting(*command: str, **options: Any) -> asyncio.subprocess.Process:
            started.append(await start(*command, **options))
            await charts.close()
            return started[-1]

        monkeypatch.setattr(asyncio, "create_subprocess_exec", starting)
        with pytest.raises(ChartFailed, match="the server is ending"):
            await charts.png(picture())
        assert not alive(started[0].pid)

    run(test)


def test_one_whose_picture_nobody_waits_for_is_killed() -> None:
    async def test() -> None:
        async with Charts(STANDS_IN) as charts:
            pid = int(await charts.png(picture()))
            asked = asyncio.create_task(charts.png(picture("hang")))
            await asyncio.sleep(0)
            await until(lambda: charts._turn.locked())
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            await until(lambda: not alive(pid))
            assert int(await charts.png(picture())) != pid

    run(test)


def test_pictures_wait_for_each_other_up_to_a_bound() -> None:
    async def test() -> None:
        async with Charts(STANDS_IN) as charts:
            asked = [asyncio.create_task(charts.png(picture())) for _ in range(worker.MOST_WAITING + 2)]
            drawn = await asyncio.gather(*asked, return_exceptions=True)
            assert len({png for png in drawn if isinstance(png, bytes)}) == 1
            assert [str(one) for one in drawn if isinstance(one, ChartFailed)] == [
                "8 others are being drawn"
            ] * 2

    run(test)


def test_one_that_cannot_be_started_is_a_failed_picture() -> None:
    async def test() -> None:
        async with Charts(("/no/such/program",)) as charts:
            with pytest.raises(ChartFailed):
                await charts.png(picture())

    run(test)


def test_a_picture_that_cannot_be_drawn_leaves_the_process_as_it_was() -> None:
    broken = Picture(
        "profile", "t", "", (), 0, 1, 1, 2, "BTC",
        PriceBars(1, (), (), (), (), (), ()), PriceRows(0.0, 1.0, (), ()), (),
    )  # fmt: skip

    async def test() -> None:
        async with Charts(limit_s=WITHIN_S) as charts:
            with pytest.raises(ChartFailed, match="could not be drawn"):
                await charts.png(broken, WITHIN_S)
            pid = charts.pid
            assert (await charts.png(picture(), WITHIN_S)).startswith(PNG)
            assert charts.pid == pid

    run(test)


def test_it_ends_when_its_owner_is_killed() -> None:
    owner = (
        "import asyncio, sys\n"
        "from server.charts.worker import Charts\n"
        "from tests.charts.test_worker import STANDS_IN, picture\n"
        "async def main():\n"
        "    charts = Charts(STANDS_IN)\n"
        "    await charts.png(picture())\n"
        "    print('pid', charts.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )

    async def test() -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", owner, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        assert process.stdout is not None
        line = b"log"
        while line and not line.startswith(b"pid "):
            line = await process.stdout.readline()
        pid = int(line.split()[1])
        assert alive(pid)
        process.kill()
        await process.wait()
        await until(lambda: not alive(pid))

    run(test)


def test_it_ends_when_there_is_nothing_to_do() -> None:
    idle = (sys.executable, "-c", "from server.charts import child\nchild.IDLE_S = 0.1\nchild.main()")

    async def test() -> None:
        process = await asyncio.create_subprocess_exec(
            *idle, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert await process.wait() == 0
        process.stdin.close() if process.stdin else None

    run(test)
