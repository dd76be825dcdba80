"""A question ends at its next record once nobody wants it, and a hundred are answered at once."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from mcp import Client
from mcp_types import TextContent

from server.bounds import Bounds
from server.tools.refusals import Refusal
from server.tools.work import Work, step
from tests.server.faces import END_MS, HOUR_MS, Face, face
from tests.serving import INITIALIZE, RawSse, call, connected, request, served

WINDOW = {"duration_hours": 20, "start_time": None, "end_time": None, "session": None}


@pytest.fixture
def sealed(tmp_path: Path) -> Iterator[Face]:
    """A face whose hours are in blocks, so that questions read records."""
    with face(tmp_path) as shown:
        shown.ledger.seal(END_MS + HOUR_MS)
        yield shown


def test_a_question_reads_no_further_once_it_is_not_wanted(sealed: Face) -> None:
    work = Work(60)
    with work.begun(), sealed.mcp.tape.question(symbol="BTCUSDT", **WINDOW) as question:
        chunks = question.trades()
        next(chunks)
        read = work.steps
        work.stop()
        with pytest.raises(Refusal, match="TIME_LIMIT"):
            list(chunks)
        assert work.steps == read + 1


def test_a_question_out_of_time_ends_with_a_code(sealed: Face) -> None:
    now = iter([0.0, *[1.0] * 5, *[9.0] * 50])
    work = Work(5, clock=lambda: next(now))
    with work.begun(), sealed.mcp.tape.question(symbol="BTCUSDT", **WINDOW) as question:
        with pytest.raises(Refusal, match="TIME_LIMIT: the answer was not ready within 5 s, after"):
            list(question.trades())
        assert 3 <= work.steps <= 8


def test_without_a_limit_a_step_is_nothing_and_a_work_is_known_in_its_context_alone() -> None:
    step()
    with Work(0).begun():
        other = threading.Thread(target=step)
        other.start()
        other.join()
        with pytest.raises(Refusal):
            step()


@pytest.mark.anyio
@pytest.mark.parametrize("tool", ["get_volume_profile", "get_liquidity_vacuums"])
async def test_a_real_tool_keeps_to_the_limit(sealed: Face, tool: str) -> None:
    async with (
        served(sealed.mcp, Bounds(call_s=0.000_001), bus=sealed.bus) as server,
        connected(server.url, "sse") as client,
    ):
        refused = await client.call_tool(
            tool, {"symbol": "BTCUSDT", "duration_hours": 20.5, "detail": "full"}
        )
    content = refused.content[0]
    assert isinstance(content, TextContent)
    assert refused.is_error
    assert content.text.startswith("TIME_LIMIT: ")


@pytest.mark.anyio
async def test_progress_counts_the_records_of_a_real_question(sealed: Face) -> None:
    told: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    async with Client(sealed.mcp) as client:
        await client.call_tool("get_volume_profile", {"symbol": "BTCUSDT"}, progress_callback=hear)
    assert told == []  # in memory nothing bounds a call
    async with served(sealed.mcp, bus=sealed.bus) as server, connected(server.url, "mcp") as remote:
        await remote.call_tool("get_volume_profile", {"symbol": "BTCUSDT"}, progress_callback=hear)
    assert told[0] == 0


@pytest.mark.anyio
async def test_a_hundred_sessions_that_ask_at_once_are_all_answered(sealed: Face) -> None:
    async def ask(stream: RawSse, http: httpx.AsyncClient, url: str) -> str:
        messages = url + await stream.event()
        initialized = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        await http.post(messages, json=request(0, "initialize", **INITIALIZE))
        await stream.event()
        await http.post(messages, json=initialized)
        question = call(1, "get_volume_profile", symbol="BTCUSDT", duration_hours=1)
        assert (await http.post(messages, json=question)).status_code == 202
        return await stream.event()

    async with (
        served(sealed.mcp, Bounds(call_s=100), bus=sealed.bus) as server,
        httpx.AsyncClient(trust_env=False, timeout=60) as http,
        AsyncExitStack() as stack,
    ):
        streams = [await stack.enter_async_context(RawSse(server.url)) for _ in range(100)]
        answers = await asyncio.gather(*(ask(stream, http, server.url) for stream in streams))
    assert all('"isError":false' in answer and "POC" in answer for answer in answers)
