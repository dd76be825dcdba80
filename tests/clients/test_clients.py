"""The clients that people use, as they are, against both transports: tools, resources, prompts, progress,
errors."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp_types import TextContent, TextResourceContents

from server.pages import TOPICS
from tests.clients.node import fastmcp, module, node, run, said
from tests.server.faces import Face, face
from tests.serving import Served, connected, served

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]
TRANSPORTS = ["sse", "mcp"]
TOOLS = {"get_volume_profile", "get_liquidity_vacuums", "get_data_coverage", "search", "fetch"}
PROFILE = "BTCUSDT spot, 24 h to "


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Face]:
    with face(tmp_path) as each:
        yield each


@pytest.fixture
async def server(shown: Face) -> AsyncIterator[Served]:
    async with served(shown.mcp, bus=shown.bus) as each:
        yield each


def assert_seen(seen: dict[str, Any]) -> None:
    """What every client sees."""
    assert set(seen["tools"]) >= TOOLS
    assert seen["profile"].startswith(PROFILE)
    assert seen["progress"][0] == 0
    refused, words = seen["refused"]
    assert refused
    assert words.startswith("SYMBOL_UNKNOWN: 'NOSUCH' is not recorded; recorded are BTCUSDT, ETHUSDT")
    assert seen["resource"].startswith(PROFILE)
    assert "get_volume_profile" in seen["prompt"]


async def seen_by(client: Client) -> dict[str, Any]:
    """The same through the official Python client."""
    progress: list[float] = []

    async def hear(progress_: float, total: float | None, message: str | None) -> None:
        progress.append(progress_)

    profile = await client.call_tool("get_volume_profile", {"symbol": "btc/usdt"}, progress_callback=hear)  # type: ignore[arg-type]
    refused = await client.call_tool("get_volume_profile", {"symbol": "NOSUCH"})
    resource = (await client.read_resource("tapedeck://BTCUSDT/profile/24h")).contents[0]
    prompt = (await client.get_prompt("morning_brief", {"symbol": "BTCUSDT"})).messages[0]
    words = refused.content[0]
    assert isinstance(words, TextContent)
    assert isinstance(resource, TextResourceContents)
    assert isinstance(prompt.content, TextContent)
    assert profile.structured_content is not None
    return {
        "tools": [tool.name for tool in (await client.list_tools()).tools],
        "profile": profile.structured_content["summary"],
        "progress": progress,
        "refused": [refused.is_error, words.text],
        "resource": resource.text,
        "prompt": prompt.content.text,
    }


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
async def test_the_official_python_client(server: Served, transport: str, era: str) -> None:
    async with connected(server.url, transport, era) as client:
        assert_seen(await seen_by(client))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_typescript_client(server: Served, shown: Face, transport: str) -> None:
    async def trade_once_it_listens() -> None:
        subscriptions = server.transports.subscriptions
        while not subscriptions.watched:  # noqa: ASYNC110  another process subscribes
            await asyncio.sleep(0.05)
        await subscriptions.round()
        shown.trade("ETHUSDT", 340_000, lots=10**9)

    trading = asyncio.create_task(trade_once_it_listens())
    seen = await said(node(), "typescript.mjs", server.url, transport)
    await trading
    assert_seen(seen)
    assert seen["completed"] == ["ETHUSDT"]
    assert seen["updated"] == "tapedeck://ETHUSDT/profile/24h"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_inspector(server: Served, transport: str) -> None:
    inspector = module("@modelcontextprotocol", "inspector", "clients", "launcher", "build", "index.js")
    options = ("--transport", "sse" if transport == "sse" else "http", "--method")

    async def asked(method: str, *more: str) -> Any:
        return await said(
            node(), inspector, "--cli", f"{server.url}/{transport}", *options, method, *more, told=""
        )

    assert {tool["name"] for tool in (await asked("tools/list"))["tools"]} >= TOOLS
    profile = await asked("tools/call", "--tool-name", "get_volume_profile", "--tool-arg", "symbol=btc/usdt")
    assert profile["structuredContent"]["summary"].startswith(PROFILE)
    uri = "tapedeck://BTCUSDT/profile/24h"
    assert (await asked("resources/read", "--uri", uri))["contents"][0]["text"].startswith(PROFILE)
    templates = (await asked("resources/templates/list"))["resourceTemplates"]
    assert {each["name"] for each in templates} == {f"{topic}_of_symbol" for topic in TOPICS}
    prompt = await asked("prompts/get", "--prompt-name", "morning_brief", "--prompt-args", "symbol=BTCUSDT")
    assert "get_volume_profile" in json.dumps(prompt)
    refused = ("--tool-name", "get_volume_profile", "--tool-arg", "symbol=NOSUCH")
    status, out, err = await run(
        node(), inspector, "--cli", f"{server.url}/{transport}", *options, "tools/call", *refused
    )
    assert status == 5
    assert "SYMBOL_UNKNOWN" in out + err


@pytest.mark.parametrize("transport", ["sse-only", "http-only"])
async def test_mcp_remote(server: Served, transport: str) -> None:
    path = "sse" if transport == "sse-only" else "mcp"
    remote = [module("mcp-remote", "dist", "proxy.js"), f"{server.url}/{path}", "--allow-http"]
    parameters = StdioServerParameters(command=node(), args=[*remote, "--transport", transport])
    async with Client(parameters) as client:
        assert_seen(await seen_by(client))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_fastmcp(server: Served, transport: str) -> None:
    assert_seen(await said(fastmcp(), "fastmcp_client.py", server.url, transport))


# How much of a model's memory an answer takes


ASKED = {
    "get_volume_profile": {"symbol": "BTCUSDT"},
    "get_liquidity_vacuums": {"symbol": "BTCUSDT", "stop_hint": "both"},
    "get_data_coverage": {"symbol": "BTCUSDT"},
    "search": {"query": "btc value area"},
    "fetch": {"id": "BTCUSDT/profile/24h"},
}


@pytest.mark.parametrize(("detail", "most"), [("summary", 1_000), ("full", 4_000)])
async def test_an_answer_keeps_to_its_budget_of_tokens(shown: Face, detail: str, most: int) -> None:
    texts: dict[str, str] = {}
    async with Client(shown.mcp) as client:
        for tool in (await client.list_tools()).tools:
            takes_detail = "detail" in tool.input_schema["properties"]
            if not takes_detail and detail == "full":
                continue
            arguments = ASKED.get(tool.name, {"symbol": "BTCUSDT"}) | (
                {"detail": detail} if takes_detail else {}
            )
            result = await client.call_tool(tool.name, arguments)
            content = result.content[0]
            assert isinstance(content, TextContent)
            assert not result.is_error, content.text
            texts[f"{tool.name} as text"] = content.text
            texts[f"{tool.name} as structure"] = json.dumps(result.structured_content, separators=(",", ":"))
    counts = await said(node(), "tokens.mjs", told=json.dumps([*texts.values()]))
    assert {name: count for name, count in zip(texts, counts, strict=True) if count > most} == {}
