"""Ask a tapedeck what a client would, over both transports, and fail unless the answers are whole.

Usage: python smoke_test.py URL         a running server: its coverage, and a profile if it has trades
       python smoke_test.py --demo      this installation's own demo, started for the purpose

A server that asks for credentials is asked with the bearer token in SMOKE_TOKEN. Without one all that is
looked at is that it answers, and that it refuses strangers.

Invariant: it runs with nothing but an installed tapedeck, outside a checkout, and ends whatever it started.
"""

import argparse
import asyncio
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

WITHIN_S = 60.0
MARK = "MCP over SSE"


class Failed(Exception):
    """What was asked and what was wrong with the answer."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask a tapedeck over SSE and Streamable HTTP.")
    parser.add_argument("url", nargs="?", help="base address of a running server")
    parser.add_argument("--demo", action="store_true", help="start this installation's demo and ask that")
    parser.add_argument("--within", type=float, default=WITHIN_S, metavar="S", help="seconds it may take")
    given = parser.parse_args()
    if bool(given.url) == given.demo:
        parser.error("give either a URL or --demo")
    try:
        if given.demo:
            with demo(given.within) as url:
                asyncio.run(check(url, given.within, must_have_trades=True))
        else:
            asyncio.run(check(given.url.rstrip("/"), given.within, must_have_trades=False))
    except Exception as error:  # whatever it is, this tapedeck does not answer as it should
        print(f"smoke test failed: {_reason(error)}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def demo(within_s: float) -> Iterator[str]:
    """The demo of the installation that this Python belongs to; its address."""
    command = [str(Path(sys.executable).with_name("tapedeck")), "demo", "--port", "0"]
    own = {name: value for name, value in os.environ.items() if not name.startswith("TAPEDECK_")}
    with (
        tempfile.TemporaryDirectory(prefix="tapedeck-smoke-") as directory,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=directory, env=own
        ) as child,
    ):
        try:
            yield _announced(child, within_s)
        finally:
            child.terminate()
            child.wait(15)


def _announced(child: subprocess.Popen[str], within_s: float) -> str:
    """The address that the demo announces; its output is read on, so that it never waits for a reader."""
    said: queue.Queue[str] = queue.Queue()

    def listen() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            said.put(line)
        said.put("")

    threading.Thread(target=listen, daemon=True).start()
    lines: list[str] = []
    while True:
        try:
            line = said.get(timeout=within_s)
        except queue.Empty:
            raise Failed(f"the demo announced nothing within {within_s:g} s") from None
        if not line:
            raise Failed(f"the demo ended: {''.join(lines[-5:]).strip()}")
        lines.append(line)
        if MARK in line:
            return line.split()[-1].removesuffix("/sse")


async def check(url: str, within_s: float, *, must_have_trades: bool) -> None:
    """Raises `Failed` or `TimeoutError`."""
    credential = os.environ.get("SMOKE_TOKEN")
    headers = {"Authorization": f"Bearer {credential}"} if credential else {}
    async with asyncio.timeout(within_s), httpx2.AsyncClient(headers=headers, timeout=within_s) as http:
        if not credential and await _is_guarded(http, url):
            print("smoke test: it answers, and asks for credentials; SMOKE_TOKEN has none", flush=True)
            return
        streamable = streamable_http_client(f"{url}/mcp", http_client=http)
        for name, target in (
            ("SSE", sse_client(f"{url}/sse", headers=headers)),
            ("Streamable HTTP", streamable),
        ):
            async with Client(target) as client:
                summary = await _asked(client, must_have_trades=must_have_trades)
            print(f"smoke test over {name}: {summary}", flush=True)


async def _is_guarded(http: httpx2.AsyncClient, url: str) -> bool:
    """Whether it refuses strangers. Raises `Failed` where it does not answer at all."""
    health = await http.get(f"{url}/healthz")
    if health.status_code != 200:
        raise Failed(f"/healthz answers {health.status_code}")
    return (await http.get(f"{url}/pages")).status_code == 401


async def _asked(client: Client, *, must_have_trades: bool) -> str:
    """The summary of a profile; of the coverage where a server has no trades yet."""
    offered = {tool.name for tool in (await client.list_tools()).tools}
    if not {"get_data_coverage", "get_volume_profile"} <= offered:
        raise Failed(f"tools/list has only {sorted(offered)}")
    while True:
        coverage = await _answer(client, "get_data_coverage")
        symbols = [part["symbol"] for part in coverage["symbols"] if part["trades"]]
        if symbols:
            profile = await _answer(client, "get_volume_profile", symbol=symbols[0])
            if not profile["meta"]["coverage"]["trades"]:
                raise Failed(f"a profile of {symbols[0]} without trades")
            return str(profile["summary"])
        if not must_have_trades:
            return str(coverage["summary"])
        await asyncio.sleep(0.2)


async def _answer(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    answer: dict[str, Any] | None = result.structured_content
    if result.is_error or not answer:
        raise Failed(f"{tool} answered {result.content[:1]}")
    return answer


def _reason(error: Exception) -> str:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main())
