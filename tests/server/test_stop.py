"""The stop of whole processes with streams open: in time, clean, whatever serves the app."""

import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest
from mcp import Client

from tests import processes
from tests.serving import RawSse, connected

COMMANDS = {
    "serve": ["-m", "server.cli", "serve"],
    "uvicorn": ["-m", "uvicorn", "--factory", "server.app:from_env", "--port", "0"],
}


def address(command: str, process: processes.Process) -> str:
    if command == "serve":
        return process.until("MCP over SSE at ").split("MCP over SSE at ")[1].split("/sse")[0]
    return process.until("Uvicorn running on ").split("Uvicorn running on ")[1].split()[0]


async def listening(client: Client, heard: asyncio.Event) -> None:
    """An open `subscriptions/listen`, until the server ends it."""
    async with client.listen(tools_list_changed=True) as subscription:
        heard.set()
        async for _ in subscription:
            pass


@pytest.mark.parametrize(("command", "transport"), [("serve", "sse"), ("uvicorn", "mcp")])
def test_a_stop_with_open_streams_takes_less_than_5_s_and_leaves_no_traceback(
    tmp_path: Path, command: str, transport: str
) -> None:
    async def run(process: processes.Process, url: str) -> tuple[int, float]:
        async with AsyncExitStack() as stack:
            for _ in range(3):
                stream = await stack.enter_async_context(RawSse(url))
                await stream.event()
            legacy = await stack.enter_async_context(connected(url, "mcp", "legacy"))
            await legacy.list_tools()
            modern = await stack.enter_async_context(connected(url, transport, "2026-07-28"))
            heard = asyncio.Event()
            listens = asyncio.create_task(listening(modern, heard))
            await asyncio.wait_for(heard.wait(), 20)
            status, took_s = await asyncio.to_thread(process.stop, signal.SIGTERM)
            with anyio.move_on_after(20):
                await asyncio.gather(listens, return_exceptions=True)
            assert listens.done()
        return status, took_s

    with processes.exchange() as urls:
        environment = processes.environment_for(urls, tmp_path / "l")
        with processes.start(sys.executable, *COMMANDS[command], environment=environment) as process:
            url = address(command, process)
            status, took_s = asyncio.run(run(process, url))
    assert took_s < 5
    assert status == (0 if command == "serve" else -signal.SIGTERM)
    assert [line for line in process.lines if "Traceback" in line or "rror" in line] == []
