"""Both transports on real sockets: what a stream looks like, what is refused, what a client leaves behind."""

import asyncio
import gc
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
from mcp.server import MCPServer
from mcp_types import CallToolResult, TextContent

from server.bounds import Bounds
from server.tools.refusals import Refusal
from server.tools.work import step
from tests.serving import INITIALIZE, RawSse, Served, call, connected, request, served

pytestmark = pytest.mark.anyio
TRANSPORTS = ["sse", "mcp"]
ERAS = ["legacy", "2026-07-28"]
MEBIBYTE = 1 << 20


class Gate:
    """A server with tools that wait, work and talk, and what has become of their calls."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.waiting = 0
        self.working = 0
        self.worked = 0
        self.enough = threading.Event()
        self.mcp = MCPServer("gate", log_level="ERROR")
        self.mcp.tool()(self.wait)
        self.mcp.tool()(self.work)
        self.mcp.tool()(self.large)

    async def wait(self) -> str:
        """Until the gate opens."""
        self.waiting += 1
        try:
            await self.open.wait()
        finally:
            self.waiting -= 1
        return "through"

    async def work(self, records: int) -> CallToolResult:
        """Read records in a worker thread, a millisecond each, until it is enough."""
        try:
            read = await anyio.to_thread.run_sync(self._read, records)
        except Refusal as refusal:
            return refusal.result()
        return CallToolResult(content=[TextContent(type="text", text=f"{read} read")])

    def _read(self, records: int) -> int:
        self.working += 1
        try:
            for read in range(records):
                if self.enough.is_set():
                    return read
                time.sleep(0.001)
                self.worked += 1
                step()
        finally:
            self.working -= 1
        return records

    async def large(self, characters: int) -> CallToolResult:
        """So much text."""
        return CallToolResult(content=[TextContent(type="text", text="x" * characters)])


async def eventually(holds: Callable[[], Any], within_s: float = 60) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110  what is looked at is of many kinds
            await asyncio.sleep(0.01)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        yield client


async def opened(stream: RawSse, http: httpx.AsyncClient, server: Served) -> str:
    """An initialised session; the address of its messages."""
    messages = server.url + await stream.event()
    for message in (
        request(0, "initialize", **INITIALIZE),
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
    ):
        assert (await http.post(messages, json=message)).status_code == 202
    assert "serverInfo" in await stream.event()
    return messages


# What a stream looks like


async def test_a_stream_names_its_endpoint_and_asks_not_to_be_kept_or_gathered() -> None:
    async with served(Gate().mcp) as server, RawSse(server.url) as stream:
        head = stream.head.lower()
        assert head.startswith("http/1.1 200")
        assert "content-type: text/event-stream" in head
        assert "cache-control: no-store, no-transform" in head
        assert "x-accel-buffering: no" in head
        assert (await stream.event()).startswith("/messages?session_id=")


async def test_a_silent_stream_carries_comments() -> None:
    async with served(Gate().mcp, Bounds(keep_alive_s=0.05)) as server, RawSse(server.url) as stream:
        await stream.event()
        assert b": keep-alive" in await stream.line_until(": keep-alive\r\n")


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
async def test_another_method_opens_no_session(http: httpx.AsyncClient, method: str) -> None:
    async with served(Gate().mcp) as server:
        response = await http.request(method, f"{server.url}/sse")
        assert response.status_code == (200 if method == "HEAD" else 405)
        assert len(server.transports.sessions) == 0


# Behind a proxy


async def test_a_trusted_proxy_says_which_prefix_it_took_off() -> None:
    async with (
        served(Gate().mcp, trusted=("127.0.0.0/8",)) as server,
        RawSse(server.url, headers={"X-Forwarded-Prefix": "/tape/"}) as stream,
    ):
        assert (await stream.event()).startswith("/tape/messages?session_id=")


async def test_a_prefix_from_anybody_else_changes_nothing() -> None:
    async with (
        served(Gate().mcp, trusted=("10.0.0.1",)) as server,
        RawSse(server.url, headers={"X-Forwarded-Prefix": "/tape"}) as stream,
    ):
        assert (await stream.event()).startswith("/messages?session_id=")


@pytest.mark.parametrize("left_on", [True, False])
async def test_the_path_of_the_public_address_may_be_left_on_or_taken_off(left_on: bool) -> None:
    async with (
        served(Gate().mcp, public_url="https://tape.example.com/tape") as server,
        RawSse(server.url, path="/tape/sse" if left_on else "/sse") as stream,
    ):
        assert (await stream.event()).startswith("/tape/messages?session_id=")


@pytest.mark.parametrize("path", ["/sse", "/mcp"])
async def test_the_host_that_a_trusted_proxy_was_asked_for_is_checked(
    http: httpx.AsyncClient, path: str
) -> None:
    async with served(Gate().mcp, trusted=("127.0.0.1",), hosts=("tape.example.com",)) as server:
        for host, status in (("evil.example.com", 421), ("tape.example.com", None)):
            headers = {"X-Forwarded-Host": host, "Accept": "application/json, text/event-stream"}
            async with http.stream("GET", server.url + path, headers=headers) as response:
                assert (response.status_code == 421) == (status == 421)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("era", ERAS)
async def test_both_transports_serve_both_eras_below_a_prefix(transport: str, era: str) -> None:
    async with (
        served(Gate().mcp, public_url="https://tape.example.com/tape") as server,
        connected(f"{server.url}/tape", transport, era) as client,
    ):
        assert [tool.name for tool in (await client.list_tools()).tools] == ["wait", "work", "large"]


# What is refused


async def test_no_more_sessions_are_opened_than_there_is_room_for(http: httpx.AsyncClient) -> None:
    async with served(Gate().mcp, Bounds(sessions=1)) as server:
        async with RawSse(server.url) as stream:
            await stream.event()
            refused = await http.get(f"{server.url}/sse")
            assert (refused.status_code, refused.text.split(",")[0]) == (503, "1 sessions are open")
        await eventually(lambda: not len(server.transports.sessions))
        async with RawSse(server.url) as stream:
            assert await stream.event()


async def test_a_session_of_streamable_http_that_nobody_uses_is_forgotten(http: httpx.AsyncClient) -> None:
    headers = {"Accept": "application/json, text/event-stream"}

    async def begin(server: Served) -> httpx.Response:
        opening = request(0, "initialize", **INITIALIZE)
        return await http.post(f"{server.url}/mcp", json=opening, headers=headers)

    async with served(Gate().mcp, Bounds(sessions=1)) as server:
        assert [(await begin(server)).status_code for _ in range(2)] == [200, 503]
    async with served(Gate().mcp, Bounds(sessions=1, idle_s=0.3)) as server:
        session = {"Mcp-Session-Id": (await begin(server)).headers["mcp-session-id"]}
        await eventually(lambda: server.transports.http_sessions == 0)
        said = await http.post(f"{server.url}/mcp", json=call(1, "wait"), headers=headers | session)
        assert said.status_code == 404
        assert (await begin(server)).status_code == 200


async def test_a_flood_in_one_session_is_refused_and_ends_with_it(http: httpx.AsyncClient) -> None:
    gate = Gate()
    async with served(gate.mcp, Bounds(unanswered=3)) as server:
        async with RawSse(server.url) as stream:
            messages = await opened(stream, http, server)
            statuses = [(await http.post(messages, json=call(i, "wait"))).status_code for i in range(1, 6)]
            assert statuses == [202, 202, 202, 429, 429]
            await eventually(lambda: gate.waiting == 3)
            cancelled = {"method": "notifications/cancelled", "params": {"requestId": 1}, "jsonrpc": "2.0"}
            await http.post(messages, json=cancelled)
            await eventually(lambda: gate.waiting == 2)
            assert (await http.post(messages, json=call(9, "wait"))).status_code == 202
        await eventually(lambda: not len(server.transports.sessions))
        await eventually(lambda: gate.waiting == 0)
        assert (await http.post(messages, json=call(10, "wait"))).status_code == 404


async def test_a_flood_in_one_session_of_streamable_http_is_refused(http: httpx.AsyncClient) -> None:
    gate = Gate()
    headers = {"Accept": "application/json, text/event-stream"}
    async with served(gate.mcp, Bounds(unanswered=2)) as server:
        target = f"{server.url}/mcp"
        begun = await http.post(target, json=request(0, "initialize", **INITIALIZE), headers=headers)
        headers["Mcp-Session-Id"] = begun.headers["mcp-session-id"]
        calls = [
            asyncio.create_task(http.post(target, json=call(i, "wait"), headers=headers)) for i in (1, 2)
        ]
        await eventually(lambda: gate.waiting == 2)
        refused = await http.post(target, json=call(3, "wait"), headers=headers)
        assert (refused.status_code, refused.text[:16]) == (429, "2 requests await")
        ping = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert (await http.post(target, json=ping, headers=headers)).status_code == 202
        gate.open.set()
        assert [response.status_code for response in await asyncio.gather(*calls)] == [200, 200]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_calls_beyond_what_the_server_takes_get_a_coded_refusal(transport: str) -> None:
    gate = Gate()
    async with (
        served(gate.mcp, Bounds(calls=1)) as server,
        connected(server.url, transport) as client,
        connected(server.url, "sse") as other,
    ):
        first = asyncio.create_task(client.call_tool("wait", {}))
        await eventually(lambda: gate.waiting == 1)
        refused = await other.call_tool("wait", {})
        assert refused.is_error
        assert text_of(refused).startswith("TOO_MANY_CALLS: 1 calls are under way")
        gate.open.set()
        assert text_of(await first) == "through"


def text_of(result: CallToolResult) -> str:
    content = result.content[0]
    assert isinstance(content, TextContent)
    return content.text


async def test_an_answer_that_hosts_would_cut_is_refused() -> None:
    async with (
        served(Gate().mcp, Bounds(answer_chars=1_000)) as server,
        connected(server.url, "sse") as client,
    ):
        assert not (await client.call_tool("large", {"characters": 1_000})).is_error
        refused = await client.call_tool("large", {"characters": 1_001})
        assert text_of(refused).startswith("ANSWER_TOO_LARGE: the answer has 1001 characters")


@pytest.mark.parametrize("path", ["/messages", "/mcp"])
async def test_a_body_too_large_or_too_late_is_refused_and_a_cut_one_costs_nothing(
    http: httpx.AsyncClient, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}

    async def target_of(server: Served, stream: RawSse) -> str:
        return server.url + (await stream.event() if path == "/messages" else path)

    async with (
        served(Gate().mcp, Bounds(body_s=0.2)) as server,
        RawSse(server.url) as stream,
        half_a_body(await target_of(server, stream)) as reader,
    ):
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
    async with served(Gate().mcp, Bounds(body_bytes=1_000)) as server, RawSse(server.url) as stream:
        target = await target_of(server, stream)
        large = await http.post(target, content=b"x" * 2_000, headers=headers)
        assert (large.status_code, large.text) == (413, "the body is larger than 1000 bytes")
        wrong = await http.post(target, content=b"{nonsense", headers=headers)
        assert wrong.status_code == 400
        async with half_a_body(target):
            pass
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@asynccontextmanager
async def half_a_body(target: str) -> AsyncIterator[asyncio.StreamReader]:
    """The beginning of a request; in the end the client is gone."""
    host, _, rest = target.removeprefix("http://").partition(":")
    port, _, path = rest.partition("/")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /{path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: 500\r\n\r\n{{".encode())
    await writer.drain()
    yield reader
    writer.transport.abort()


# What a client leaves behind


def rss() -> int:
    with open("/proc/self/statm") as statm:  # noqa: PTH123  one line of the kernel's
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  numbers, not paths


async def test_a_reader_that_never_reads_is_dropped_and_its_memory_freed(http: httpx.AsyncClient) -> None:
    gate = Gate()
    bounds = Bounds(send_s=0.5, answer_chars=10 * MEBIBYTE)
    async with served(gate.mcp, bounds) as server:
        async with RawSse(server.url) as stream:
            messages = await opened(stream, http, server)
            stream.writer.transport.pause_reading()  # type: ignore[attr-defined]
            statuses: list[int] = []
            while len(server.transports.sessions):
                asked = call(len(statuses), "large", characters=4 * MEBIBYTE)
                statuses.append((await http.post(messages, json=asked)).status_code)
                await asyncio.sleep(0.02)
        assert statuses[0] == 202
        assert set(statuses) <= {202, 404, 429}
        assert bounds.reached["reader"] == 1
        await eventually(lambda: server.transports.calls.under_way == 0)
        async with connected(server.url, "sse") as client:
            assert len((await client.list_tools()).tools) == 3


async def left_behind(
    cycles: int, once: Callable[[int], Awaitable[None]], server: Served
) -> dict[str, float]:
    """What `cycles` of connecting and dying leave, against the state before, each in units of its own."""
    for number in range(10):
        await once(number)
    await eventually(lambda: not len(server.transports.sessions))
    gc.collect()
    before = (len(asyncio.all_tasks()), descriptors(), rss())
    for number in range(cycles):
        await once(number)
    await eventually(lambda: not len(server.transports.sessions))
    await eventually(lambda: len(asyncio.all_tasks()) <= before[0])
    await eventually(lambda: descriptors() <= before[1])
    gc.collect()
    return {"memory": rss() - before[2], "sessions": len(server.transports.sessions)}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("cycles", [100, pytest.param(1_000, marks=pytest.mark.long)])
async def test_connecting_and_dying_leaves_nothing(http: httpx.AsyncClient, cycles: int) -> None:
    gate = Gate()

    async def once(number: int) -> None:
        async with RawSse(server.url) as stream:
            messages = await opened(stream, http, server)
            if number % 2:
                await http.post(messages, json=call(1, "wait"))
            if number % 3:
                stream.vanish()

    async with served(gate.mcp) as server:
        left = await left_behind(cycles, once, server)
        await eventually(lambda: gate.waiting == 0)
        assert left["memory"] < 8 * MEBIBYTE
        assert server.transports.calls.under_way == 0


# Long work


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("era", ERAS)
async def test_who_asks_for_progress_is_told_how_much_was_read(transport: str, era: str) -> None:
    gate = Gate()
    told: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        assert (total, message) == (None, f"{progress:g} records read")
        told.append(progress)
        if progress:
            gate.enough.set()

    async with served(gate.mcp) as server, connected(server.url, transport, era) as client:
        result = await client.call_tool("work", {"records": 60_000}, progress_callback=hear)
    assert text_of(result) == f"{gate.worked} read"
    assert told[0] == 0
    assert told == sorted(set(told))
    assert 0 < told[-1] <= gate.worked


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("era", ERAS)
async def test_a_call_that_its_client_gives_up_stops_working(transport: str, era: str) -> None:
    gate = Gate()
    async with served(gate.mcp) as server, connected(server.url, transport, era) as client:
        async with anyio.create_task_group() as asking:
            asking.start_soon(client.call_tool, "work", {"records": 60_000})
            await eventually(lambda: gate.working == 1)
            asking.cancel_scope.cancel()
        await eventually(lambda: gate.working == 0)
        assert gate.worked < 20_000
        assert text_of(await client.call_tool("work", {"records": 1})) == "1 read"


async def test_a_client_that_vanishes_stops_its_call(http: httpx.AsyncClient) -> None:
    gate = Gate()
    async with served(gate.mcp) as server:
        async with RawSse(server.url) as stream:
            messages = await opened(stream, http, server)
            await http.post(messages, json=call(1, "work", records=60_000))
            await eventually(lambda: gate.working == 1)
            stream.vanish()
        await eventually(lambda: gate.working == 0)
        assert gate.worked < 20_000


@pytest.mark.parametrize("tool", ["wait", "work"])
async def test_a_call_that_takes_too_long_ends_with_a_code(tool: str) -> None:
    gate = Gate()
    async with served(gate.mcp, Bounds(call_s=0.3)) as server, connected(server.url, "sse") as client:
        refused = await client.call_tool(tool, {"records": 60_000} if tool == "work" else {})
        assert refused.is_error
        assert text_of(refused).startswith("TIME_LIMIT: the answer was not ready within 0.3 s")
        await eventually(lambda: gate.working == gate.waiting == 0)


# The stop


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("era", ERAS)
async def test_a_call_under_way_at_a_stop_is_answered(transport: str, era: str) -> None:
    gate = Gate()
    async with (
        served(gate.mcp, Bounds(grace_s=20)) as server,
        connected(server.url, transport, era) as client,
    ):
        await client.list_tools()
        answer = asyncio.create_task(client.call_tool("wait", {}))
        await eventually(lambda: gate.waiting == 1)
        server.closing.begin()
        gate.open.set()
        assert text_of(await answer) == "through"


async def test_a_stop_ends_streams_and_turns_newcomers_away(http: httpx.AsyncClient) -> None:
    async with served(Gate().mcp) as server, RawSse(server.url) as stream:
        await opened(stream, http, server)
        server.closing.begin()
        with pytest.raises(EOFError):
            await stream.event()
        for path in ("/sse", "/mcp"):
            refused = await http.get(server.url + path)
            assert (refused.status_code, refused.text) == (503, "the server is stopping")
