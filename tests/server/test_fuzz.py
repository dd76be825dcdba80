"""Whatever is sent to any endpoint gets a right status, and the server serves on with its memory back."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from starlette.routing import Route

from server.app import create_app
from server.settings import Settings
from tests import processes
from tests.access.served import TOKEN, TOKENS, bearer
from tests.ports import free_port
from tests.server.shots import Shot, Shots
from tests.serving import RawSse

AT_ONCE = 8
ANSWER_S = 30
# What caches, pools of connections and the recorder's own hour may hold more than at the start.
KEPT_BYTES = 24 << 20

Answers = Counter[tuple[str, int | None]]


# Who is let in: everybody of this machine; or holders of tokens, and who knows the passphrase.
OPEN: dict[str, str] = {}
GUARDED = {"auth_tokens": TOKENS, "oauth_passphrase": "a passphrase of six or more words"}


def every_path(tmp_path: Path, access: dict[str, str]) -> list[str]:
    """The paths of the app, those with parameters filled in, and one that there is not."""
    settings = Settings(symbols=["BTCUSDT"], data_dir=tmp_path / "for-its-routes", **access)  # type: ignore[arg-type]
    app = create_app(settings)
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


def is_right(shot: Shot, status: int | None) -> bool:
    if status == 503:
        return b" /readyz" in shot.data  # it may have a reason
    return status in shot.status if shot.status else status is None or status < 500


async def bombard(url: str, sources: Sequence[Shots], count: int, headers: dict[str, str]) -> Answers:
    """Fire `count` shots, `AT_ONCE` at a time, some of them into a session that is open meanwhile."""
    port, answers = int(url.rpartition(":")[2]), Answers()
    left = iter(range(count))

    async def shooter() -> None:
        async with RawSse(url, headers=headers) as session:
            messages = await session.event()
            hearing = asyncio.create_task(listen(session))
            for number in left:
                shot = sources[number % len(sources)].next(messages)
                status = await fire(shot, port)
                answers[shot.kind, status] += 1
                assert is_right(shot, status), f"{shot.kind}: {status} to {shot.data[:400]!r}"
                if hearing.done():
                    hearing.result()
            hearing.cancel()

    async with asyncio.TaskGroup() as shooters:
        for _ in range(AT_ONCE):
            shooters.create_task(shooter())
    return answers


async def answers_ordinarily(url: str, headers: dict[str, str]) -> None:
    async with (
        Client(sse_client(f"{url}/sse", headers=headers, timeout=60)) as over_sse,
        httpx2.AsyncClient(headers=headers, trust_env=False) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http)) as over_http,
    ):
        for client in (over_sse, over_http):
            assert not (await client.call_tool("get_data_coverage", {})).is_error


def private_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208  names alone


@contextmanager
def serving(directory: Path, access: dict[str, str]) -> Iterator[tuple[processes.Process, str]]:
    settings = {name.upper(): value for name, value in access.items()}
    settings |= {"WARMUP_HOURS": "1", "PORT": str(free_port())}
    with processes.exchange() as urls, processes.server(urls, directory, **settings) as served:
        yield served


@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("access", [OPEN, GUARDED], ids=["open", "guarded"])
def test_nothing_that_is_sent_is_answered_wrongly_or_leaves_anything_behind(
    tmp_path: Path, access: dict[str, str], count: int
) -> None:
    paths, headers = every_path(tmp_path, access), bearer(TOKEN) if access else {}
    strangers, holders = Shots(count, paths), Shots(count + 1, paths, list(headers.items()))

    async def run(url: str, pid: int) -> None:
        await answers_ordinarily(url, headers)
        await bombard(url, [strangers, holders], count // 4, headers)  # fills what is kept for good
        before = private_bytes(pid), open_files(pid)
        answers = await bombard(url, [strangers, holders], count - count // 4, headers)
        await answers_ordinarily(url, headers)
        async with asyncio.timeout(60):
            while private_bytes(pid) > before[0] + KEPT_BYTES or open_files(pid) > before[1] + 2:  # noqa: ASYNC110
                await asyncio.sleep(0.5)
        after = private_bytes(pid), open_files(pid)
        print(f"{before} {after} {sorted(answers.items(), key=str)}")  # noqa: T201  shown with -s

    with serving(tmp_path / "ledger", access) as (process, url):
        asyncio.run(run(url, process.child.pid))
    wrong = [line[-3_000:] for line in process.lines if "Traceback" in line or '"level": "error"' in line]
    assert not wrong, "\n".join(wrong)
    said = "".join(process.lines)
    assert not [secret for secret in (TOKEN, *access.values()) if secret in said]
