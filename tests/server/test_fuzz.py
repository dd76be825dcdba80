"""Whatever is sent to any endpoint gets a right status, and the server serves on with its memory back."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from starlette.routing import Route

from server.app import create_app
from server.settings import Settings
from tests import processes
from tests.server.shots import Shot, Shots
from tests.serving import RawSse, connected

AT_ONCE = 8
ANSWER_S = 30
# What caches, pools of connections and the recorder's own hour may hold more than at the start.
KEPT_BYTES = 24 << 20

Answers = Counter[tuple[str, int | None]]


def every_path(tmp_path: Path) -> list[str]:
    """The paths of the app, those with parameters filled in, and one that there is not."""
    app = create_app(Settings(symbols=["BTCUSDT"], data_dir=tmp_path / "for-its-routes"))
    paths = {route.path for route in app.routes if isinstance(route, Route)}
    return [*sorted(path.replace("{path:path}", "BTCUSDT/profile/24h") for path in paths), "/no/such/path"]


async def fire(shot: Shot, port: int) -> int | None:
    """The status that came back; None where the connection ended without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(shot.data)
        with suppress(OSError):  # the server may have refused before it had read all
            await writer.drain()
            if shot.cut:
                writer.write_eof()
        async with asyncio.timeout(ANSWER_S):
            line = await reader.readline()
            while line in (b"\r\n", b"\n"):
                line = await reader.readline()
    except OSError:
        return None
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return int(line.split()[1]) if line.startswith(b"HTTP/1.") else None


async def listen(session: RawSse) -> None:
    """What a session hears is JSON-RPC whatever was said in it."""
    with suppress(EOFError, OSError):
        while True:
            assert json.loads(await session.event())["jsonrpc"] == "2.0"


async def bombard(url: str, shots: Shots, count: int) -> Answers:
    """Fire `count` shots, `AT_ONCE` at a time, some of them into a session that is open meanwhile."""
    port, answers = int(url.rpartition(":")[2]), Answers()
    left = iter(range(count))

    async def shooter() -> None:
        async with RawSse(url) as session:
            messages = await session.event()
            hearing = asyncio.create_task(listen(session))
            for _ in left:
                shot = shots.next(messages)
                status = await fire(shot, port)
                answers[shot.kind, status] += 1
                right = status in shot.status if shot.status else status is None or status < 500
                assert right, f"{shot.kind}: {status} to {shot.data[:400]!r}"
                if hearing.done():
                    hearing.result()
            hearing.cancel()

    async with asyncio.TaskGroup() as shooters:
        for _ in range(AT_ONCE):
            shooters.create_task(shooter())
    return answers


async def answers_ordinarily(url: str) -> None:
    for transport in ("sse", "mcp"):
        async with connected(url, transport) as client:
            result = await client.call_tool("get_data_coverage", {})
            assert not result.is_error


def private_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208  names alone


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[tuple[processes.Process, str]]:
    with (
        processes.exchange() as urls,
        processes.server(urls, tmp_path / "ledger", WARMUP_HOURS="1") as served,
    ):
        yield served


@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.long)])
def test_nothing_that_is_sent_is_answered_wrongly_or_leaves_anything_behind(
    serving: tuple[processes.Process, str], tmp_path: Path, count: int
) -> None:
    process, url = serving
    pid, shots = process.child.pid, Shots(count, every_path(tmp_path))

    async def run() -> None:
        await answers_ordinarily(url)
        await bombard(url, shots, count // 4)  # fills what is kept for good
        before = private_bytes(pid), open_files(pid)
        answers = await bombard(url, shots, count - count // 4)
        await answers_ordinarily(url)
        async with asyncio.timeout(60):
            while private_bytes(pid) > before[0] + KEPT_BYTES or open_files(pid) > before[1] + 2:  # noqa: ASYNC110
                await asyncio.sleep(0.5)
        after = private_bytes(pid), open_files(pid)
        print(f"{before} {after} {sorted(answers.items(), key=str)}")  # noqa: T201  shown with -s

    asyncio.run(run())
    wrong = [line[-3_000:] for line in process.lines if "Traceback" in line or '"level": "error"' in line]
    assert not wrong, "\n".join(wrong)
