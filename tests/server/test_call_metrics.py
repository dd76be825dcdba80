"""Every call is counted once: by its tool, by what came of it, with its time and the size of its answer."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp.server import MCPServer
from mcp_types import TextContent
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from analytics.errors import Refused
from server.bounds import NAMES, Bounds
from server.loop_gap import LoopGap
from server.tools.answers import tokens_of
from server.tools.refusals import CODES, Refusal
from server.transport_metrics import TransportMetrics
from tests.processes import ROOT
from tests.server.faces import Face, face
from tests.serving import INITIALIZE, RawSse, Served, call, connected, request, served

pytestmark = pytest.mark.anyio
TRANSPORTS = ["sse", "mcp"]


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Face]:
    with face(tmp_path) as shown:
        yield shown


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        yield client


def value(collector: Collector, name: str, **labels: str) -> float:
    """What a scrape finds; 0 where there is no such series."""
    registry = CollectorRegistry()
    registry.register(collector)
    return registry.get_sample_value(name, labels) or 0.0


def calls(server: Served, tool: str, outcome: str) -> float:
    return value(server.transports.calls.metrics, "tapedeck_calls_total", tool=tool, outcome=outcome)


async def until(holds: Any) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110  there is no event for it
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_calls_are_counted_by_tool_and_outcome(shown: Face, transport: str) -> None:
    async with served(shown.mcp) as server, connected(server.url, transport) as client:
        for arguments in ({"symbol": "BTCUSDT"}, {"symbol": "BTCUSDT"}, {"symbol": "NONE"}, {}):
            await client.call_tool("get_volume_profile", arguments)
        assert calls(server, "get_volume_profile", "ok") == 2
        assert calls(server, "get_volume_profile", "SYMBOL_UNKNOWN") == 1
        assert calls(server, "get_volume_profile", "invalid") == 1
        metrics = server.transports.calls.metrics
        assert value(metrics, "tapedeck_call_seconds_count", tool="get_volume_profile") == 4
        assert 0 < value(metrics, "tapedeck_call_seconds_sum", tool="get_volume_profile") < 4 * 20


async def test_names_that_clients_make_up_share_one_label(shown: Face) -> None:
    async with served(shown.mcp) as server, connected(server.url, "sse") as client:
        for name in ("get_rich", "get_richer", 'x"} 1\n'):
            await client.call_tool(name, {})
        tools = {
            sample.labels["tool"]
            for metric in server.transports.calls.metrics.collect()
            for sample in metric.samples
        }
        assert tools == {tool.name for tool in await shown.mcp.list_tools()} | {
            "unknown",
            "pages",
            "resources/read",
            "prompts/get",
            "completion/complete",
        }
        assert calls(server, "unknown", "invalid") == 3


async def test_the_size_of_an_answer_is_that_of_its_text(shown: Face) -> None:
    texts = []
    async with served(shown.mcp) as server, connected(server.url, "sse") as client:
        for symbol in ("BTCUSDT", "ETHUSDT", "NONE"):
            result = await client.call_tool("get_key_levels", {"symbol": symbol})
            assert isinstance(result.content[0], TextContent)
            texts += [] if result.is_error else [result.content[0].text]
        metrics = server.transports.calls.metrics
        assert len(texts) == value(metrics, "tapedeck_answer_tokens_count", tool="get_key_levels") == 2
        tokens = value(metrics, "tapedeck_answer_tokens_sum", tool="get_key_levels")
        assert tokens == sum(tokens_of(text) for text in texts)
        size = value(metrics, "tapedeck_answer_bytes_total", tool="get_key_levels")
        assert size == sum(len(text.encode()) for text in texts)


async def test_pages_and_resources_are_counted_as_what_they_are(shown: Face, http: httpx.AsyncClient) -> None:
    async with served(shown.mcp) as server, connected(server.url, "sse") as client:
        await client.read_resource("tapedeck://BTCUSDT/profile/24h")
        assert (await http.get(f"{server.url}/pages/BTCUSDT/profile/24h")).status_code == 200
        assert (await http.get(f"{server.url}/pages/NONE/profile/24h")).status_code == 404
        assert calls(server, "resources/read", "ok") == 1
        assert calls(server, "pages", "ok") == 1
        assert calls(server, "pages", "SYMBOL_UNKNOWN") == 1


class Gate:
    """Tools that wait and crash."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.mcp = MCPServer("gate", log_level="CRITICAL")
        self.mcp.tool()(self.wait)
        self.mcp.tool()(self.crash)

    async def wait(self) -> str:
        """Until the gate opens."""
        await self.open.wait()
        return "through"

    async def crash(self) -> str:
        """A defect."""
        raise ZeroDivisionError


async def test_a_crash_in_a_tool_is_counted_as_a_defect() -> None:
    async with served(Gate().mcp) as server, connected(server.url, "mcp") as client:
        assert (await client.call_tool("crash", {})).is_error
        assert calls(server, "crash", "failed") == 1


async def test_a_call_that_takes_too_long_is_counted_by_its_code() -> None:
    async with served(Gate().mcp, Bounds(call_s=0.05)) as server, connected(server.url, "sse") as client:
        await client.call_tool("wait", {})
        assert calls(server, "wait", "TIME_LIMIT") == 1


async def test_a_call_whose_client_is_gone_is_counted_as_cancelled(http: httpx.AsyncClient) -> None:
    async with served(Gate().mcp) as server:
        async with RawSse(server.url) as stream:
            await http.post(await initialised(stream, http, server), json=call(1, "wait"))
            await until(lambda: server.transports.calls.under_way == 1)
            stream.vanish()
        await until(lambda: calls(server, "wait", "cancelled") == 1)


async def initialised(stream: RawSse, http: httpx.AsyncClient, server: Served) -> str:
    """The address of the session's messages."""
    messages = server.url + await stream.event()
    await http.post(messages, json=request(0, "initialize", **INITIALIZE))
    await http.post(messages, json={"jsonrpc": "2.0", "method": "notifications/initialized"})
    await stream.event()
    return messages


async def test_sessions_and_bounds_that_clients_ran_into_are_told(http: httpx.AsyncClient) -> None:
    bounds = Bounds(sessions=1, unanswered=1, calls=1, body_bytes=1_000)
    gate = Gate()
    async with served(gate.mcp, bounds) as server, RawSse(server.url) as stream:
        messages = await initialised(stream, http, server)
        told = TransportMetrics(server.transports, bounds)
        assert [value(told, "tapedeck_bounds_reached_total", bound=name) for name in NAMES] == [0] * 6
        await http.post(messages, json=call(1, "wait"))
        await until(lambda: server.transports.calls.under_way == 1)
        assert (await http.post(messages, json=call(2, "wait"))).status_code == 429
        assert (await http.get(f"{server.url}/sse")).status_code == 503
        assert (await http.post(messages, json="x" * 1_001)).status_code == 413
        mcp = f"{server.url}/mcp"
        headers = {"accept": "application/json, text/event-stream"}
        opening = request(0, "initialize", **INITIALIZE)
        first = await http.post(mcp, json=opening, headers=headers)
        assert first.status_code == 200
        assert (await http.post(mcp, json=opening, headers=headers)).status_code == 503
        headers["mcp-session-id"] = first.headers["mcp-session-id"]
        assert "TOO_MANY_CALLS" in (await http.post(mcp, json=call(1, "wait"), headers=headers)).text
        assert {name: value(told, "tapedeck_bounds_reached_total", bound=name) for name in NAMES} == {
            "sessions": 2,
            "unanswered": 1,
            "calls": 1,
            "body_bytes": 1,
            "body_time": 0,
            "reader": 0,
        }
        for transport in ("sse", "http"):
            assert value(told, "tapedeck_sessions", transport=transport) == 1
            assert value(told, "tapedeck_sessions_limit", transport=transport) == 1
        assert value(told, "tapedeck_calls_under_way") == value(told, "tapedeck_calls_limit") == 1
        gate.open.set()


async def test_a_loop_that_stands_still_shows() -> None:
    gap = LoopGap()
    with gap.watching():
        await until(lambda: value(gap, "tapedeck_loop_gap_seconds_count") > 0)
        late = value(gap, "tapedeck_loop_gap_seconds_sum")
        time.sleep(0.2)  # noqa: ASYNC251  it is the point
        await until(lambda: value(gap, "tapedeck_loop_gap_seconds_sum") - late > 0.15)
    told = value(gap, "tapedeck_loop_gap_seconds_count")
    assert told - value(gap, "tapedeck_loop_gap_seconds_bucket", le="0.15") >= 1
    await asyncio.sleep(0)
    assert value(gap, "tapedeck_loop_gap_seconds_count") == told


def test_every_code_that_is_raised_is_one_of_the_labels() -> None:
    sources = "".join(path.read_text() for path in sorted((ROOT / "server").rglob("*.py")))
    raised = set(re.findall(r"Refusal\(\s*\"([A-Z_]+)\"", sources))
    raised |= {refused.code for refused in Refused.__subclasses__()}
    assert raised == CODES
    assert Refusal("NO_TRADES", "none").code in CODES
