"""What a client finds besides the get_ tools: search, fetch, pages, resources, prompts, completions, news."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolResult,
    PromptReference,
    ResourceTemplateReference,
    TextContent,
    TextResourceContents,
)

import analytics.thin
from server.definitions import definitions
from server.pages import TOPICS, Address, UnknownPage, address_of
from server.tools.search import matches
from tests.server.faces import Face, face
from tests.serving import connected, served

pytestmark = pytest.mark.anyio
TRANSPORTS = ["sse", "mcp"]
OLD_METHOD = pytest.mark.filterwarnings("ignore:resources.*is removed")


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Face]:
    with face(tmp_path) as each:
        yield each


def text_of(result: CallToolResult) -> str:
    content = result.content[0]
    assert isinstance(content, TextContent)
    return content.text


def structure_of(result: CallToolResult) -> dict[str, Any]:
    """The structure, which the text repeats and nothing else."""
    assert not result.is_error, text_of(result)
    structure: dict[str, Any] | None = result.structured_content
    assert structure is not None
    assert [json.loads(text_of(result))] == [structure]
    assert len(result.content) == 1
    return structure


# search and fetch


async def test_search_has_the_shape_that_deep_research_requires(shown: Face) -> None:
    async with Client(shown.mcp) as client:
        found = structure_of(await client.call_tool("search", {"query": "bitcoin value area"}))
    assert list(found) == ["results"]
    assert all(list(result) == ["id", "title", "url"] and all(result.values()) for result in found["results"])
    assert found["results"][0]["id"] == "BTCUSDT/profile/24h"


async def test_fetch_has_the_shape_that_deep_research_requires(shown: Face) -> None:
    async with Client(shown.mcp) as client:
        for result in structure_of(await client.call_tool("search", {"query": "btc"}))["results"]:
            page = structure_of(await client.call_tool("fetch", {"id": result["id"]}))
            assert list(page) == ["id", "title", "text", "url", "metadata"]
            assert {name: page[name] for name in result} == result
            assert page["text"]


async def test_a_fetched_market_has_the_numbers_of_the_tool(shown: Face) -> None:
    async with Client(shown.mcp) as client:
        page = structure_of(await client.call_tool("fetch", {"id": "BTCUSDT/profile/24h"}))
        profile = await client.call_tool("get_volume_profile", {"symbol": "BTCUSDT"})
    answer = profile.structured_content
    assert answer is not None
    assert page["text"].startswith(answer["summary"])
    assert f"levels poc low: {answer['levels']['poc']['low']}" in page["text"]
    assert page["metadata"]["as_of"] == answer["meta"]["as_of"]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("Where is ETH thin?", "ETHUSDT/vacuums/24h"),
        ("eth/usdt liquidity", "ETHUSDT/vacuums/24h"),
        ("is the Bitcoin data complete", "BTCUSDT/coverage"),
        ("what does speed_ratio mean", "definitions/vacuum-visits-and-speed"),
        ("PARTIAL", "definitions/coverage-and-partial"),
        ("what is VWAP", "definitions/vwap-and-sigma"),
    ],
)
async def test_the_best_page_comes_first(shown: Face, query: str, first: str) -> None:
    assert matches(query, shown.mcp.pages.addresses())[0].path == first


@pytest.mark.parametrize("query", ["", "zzzz", "%!?"])
async def test_what_nothing_is_about_finds_nothing(shown: Face, query: str) -> None:
    assert matches(query, shown.mcp.pages.addresses()) == []


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("DOGEUSDT/profile/24h", "SYMBOL_UNKNOWN"),
        ("BTCUSDT/profile/9999h", "WINDOW_INVALID"),
        ("BTCUSDT/weather", "PAGE_UNKNOWN"),
        ("definitions/nothing", "PAGE_UNKNOWN"),
        ("", "PAGE_UNKNOWN"),
    ],
)
async def test_a_page_that_there_is_not_is_refused_with_a_code(shown: Face, written: str, code: str) -> None:
    async with Client(shown.mcp) as client:
        refused = await client.call_tool("fetch", {"id": written})
    assert refused.is_error
    assert text_of(refused).startswith(f"{code}: ")


# Pages in a browser


@pytest.mark.parametrize("public_url", [None, "https://tape.example.com/tape"])
async def test_the_url_of_a_result_leads_to_its_page(tmp_path: Path, public_url: str | None) -> None:
    options = {} if public_url is None else {"public_url": public_url}
    with face(tmp_path, **options) as shown:
        async with (
            served(shown.mcp, bus=shown.bus, public_url=public_url) as server,
            connected(server.url, "sse") as client,
            httpx.AsyncClient(trust_env=False, timeout=60) as http,
        ):
            for query in ("btc profile", "stop hint"):
                found = structure_of(await client.call_tool("search", {"query": query}))["results"][0]
                url = found["url"]
                assert url.startswith(public_url or server.url)
                page = await http.get(url.replace("https://tape.example.com", server.url))
                assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
                assert found["title"] in page.text


async def test_the_list_of_pages_leads_to_each(shown: Face) -> None:
    async with (
        served(shown.mcp, bus=shown.bus) as server,
        httpx.AsyncClient(trust_env=False, timeout=60) as http,
    ):
        index = await http.get(f"{server.url}/pages")
        links = re.findall(r'href="([^"]+)"', index.text)
        assert len(links) == 2 * len(TOPICS) + len(definitions())
        for link in links:
            assert (await http.get(server.url + link)).status_code == 200


async def test_what_stands_in_an_address_is_text_and_a_foreign_host_gets_nothing(shown: Face) -> None:
    async with (
        served(shown.mcp, bus=shown.bus) as server,
        httpx.AsyncClient(trust_env=False, timeout=60) as http,
    ):
        page = await http.get(f"{server.url}/pages/<script>alert(1)</script>/profile")
        assert page.status_code == 404
        assert "<script>" not in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        for path in ("/pages", "/pages/BTCUSDT/coverage"):
            foreign = await http.get(server.url + path, headers={"Host": "evil.example.com"})
            assert foreign.status_code == 421


# Resources


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
async def test_resources_are_listed_and_read(shown: Face, transport: str, era: str) -> None:
    async with served(shown.mcp, bus=shown.bus) as server, connected(server.url, transport, era) as client:
        uris = [str(resource.uri) for resource in (await client.list_resources()).resources]
        assert "tapedeck://BTCUSDT/profile/24h" in uris
        assert "tapedeck://definitions/volume-profile" in uris
        templates = [
            each.uri_template for each in (await client.list_resource_templates()).resource_templates
        ]
        assert templates == [
            "tapedeck://{symbol}/profile/{window}",
            "tapedeck://{symbol}/vacuums/{window}",
            "tapedeck://{symbol}/levels/{window}",
            "tapedeck://{symbol}/coverage",
        ]
        for uri in (*uris, "tapedeck://btc/profile/1h", "tapedeck://ETHUSDT/vacuums/today"):
            content = (await client.read_resource(uri)).contents[0]
            assert isinstance(content, TextResourceContents)
            assert content.text
        with pytest.raises(MCPError, match="SYMBOL_UNKNOWN"):
            await client.read_resource("tapedeck://DOGEUSDT/profile/24h")


@pytest.mark.parametrize("path", ["BTCUSDT/profile/24h", "BTCUSDT/coverage", "definitions/symbols"])
def test_an_address_is_the_same_as_path_and_as_uri(path: str) -> None:
    address = address_of(path)
    assert address.path == path
    assert address_of(address.uri) == address


def test_an_address_without_a_window_means_the_usual_one() -> None:
    assert address_of("BTCUSDT/profile") == Address("BTCUSDT", "profile", "24h")
    with pytest.raises(UnknownPage):
        address_of("BTCUSDT/coverage/24h")


def test_the_definitions_name_the_thresholds_of_the_code() -> None:
    texts = {slug: each.text for slug, each in definitions().items()}
    thin, origin = (analytics.thin.DEFAULT_THRESHOLD_PCT[rule] for rule in ("thin", "origin"))
    assert f"under {thin} % of the mean" in texts["liquidity-vacuum"]
    assert f"under {origin} % of the median" in texts["liquidity-vacuum"]


# News


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_who_listens_to_a_profile_hears_when_its_poc_moves(shown: Face, transport: str) -> None:
    uri = "tapedeck://BTCUSDT/profile/24h"
    async with (
        served(shown.mcp, bus=shown.bus) as server,
        connected(server.url, transport, "2026-07-28") as client,
        client.listen(resource_subscriptions=[uri]) as news,
        asyncio.timeout(60),
    ):
        subscriptions = server.transports.subscriptions
        assert subscriptions.watched == [uri]
        await subscriptions.round()
        shown.trade("BTCUSDT", 6_200_000, lots=1)
        await subscriptions.round()
        shown.trade("BTCUSDT", 6_200_000, lots=10**9)
        await subscriptions.round()
        event = await anext(aiter(news))
        assert event.uri == uri  # type: ignore[union-attr]


@OLD_METHOD
async def test_a_subscriber_of_the_handshake_era_hears_too_and_leaves_nothing(shown: Face) -> None:
    uri = "tapedeck://ETHUSDT/profile/24h"
    heard: asyncio.Queue[Any] = asyncio.Queue()

    async def hear(message: Any) -> None:
        heard.put_nowait(message)

    async with served(shown.mcp, bus=shown.bus) as server, asyncio.timeout(60):
        subscriptions = server.transports.subscriptions
        async with connected(server.url, "sse", "legacy", message_handler=hear) as client:
            await client.session.subscribe_resource(uri)
            await subscriptions.round()
            shown.trade("ETHUSDT", 340_000, lots=10**9)
            await subscriptions.round()
            notification = await heard.get()
            assert notification.params.uri == uri
            await client.session.unsubscribe_resource(uri)
            assert subscriptions.watched == []
            await client.session.subscribe_resource(uri)
        while subscriptions.watched:  # noqa: ASYNC110  it ends with the connection
            await asyncio.sleep(0.01)


@OLD_METHOD
async def test_what_is_no_page_cannot_be_subscribed_to(shown: Face) -> None:
    async with served(shown.mcp, bus=shown.bus) as server, connected(server.url, "sse", "legacy") as client:
        with pytest.raises(MCPError, match="is no page"):
            await client.session.subscribe_resource("tapedeck://BTCUSDT/weather")


# Prompts and completions


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("morning_brief", {"symbol": "BTCUSDT"}),
        ("stop_placement", {"symbol": "BTCUSDT", "side": "long"}),
        ("breakout_check", {"symbol": "BTCUSDT", "direction": "down"}),
    ],
)
async def test_a_prompt_names_tools_and_options_that_exist(
    shown: Face, name: str, arguments: dict[str, str]
) -> None:
    async with Client(shown.mcp) as client:
        assert name in [prompt.name for prompt in (await client.list_prompts()).prompts]
        message = (await client.get_prompt(name, arguments)).messages[0]
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert isinstance(message.content, TextContent)
        text = message.content.text
        named = set(re.findall(r"get_[a-z_]+", text))
        assert named
        assert named <= tools.keys()
        options = set(re.findall(r"\b([a-z_]+)=", text))
        assert options <= {option for tool in named for option in tools[tool].input_schema["properties"]}
        assert "BTCUSDT" in text


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("no_such_prompt", {}, "Unknown prompt: no_such_prompt"),
        ("morning_brief", {}, "symbol"),
    ],
)
async def test_a_prompt_that_cannot_be_written_is_the_clients_error(
    shown: Face, name: str, arguments: dict[str, str], words: str
) -> None:
    async with Client(shown.mcp) as client:
        with pytest.raises(MCPError, match=words) as refused:
            await client.get_prompt(name, arguments)
    assert refused.value.error.code == INVALID_PARAMS


async def test_symbols_and_windows_are_completed(shown: Face) -> None:
    async with Client(shown.mcp) as client:
        prompt = PromptReference(type="ref/prompt", name="morning_brief")
        template = ResourceTemplateReference(type="ref/resource", uri="tapedeck://{symbol}/profile/{window}")
        begun = await client.complete(prompt, {"name": "symbol", "value": "eth"})
        assert begun.completion.values == ["ETHUSDT"]
        everything = await client.complete(template, {"name": "symbol", "value": ""})
        assert everything.completion.values == ["BTCUSDT", "ETHUSDT"]
        windows = await client.complete(template, {"name": "window", "value": "1"})
        assert windows.completion.values == ["1h", "168h"]
        assert (await client.complete(prompt, {"name": "mood", "value": ""})).completion.values == []


# The catalogue


async def test_names_are_such_as_every_host_takes(shown: Face) -> None:
    async with Client(shown.mcp) as client:
        listed = (await client.list_tools()).tools, (await client.list_prompts()).prompts
    for each in (*listed[0], *listed[1]):
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", each.name)
    for tool in listed[0]:
        assert tool.title
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint
        assert tool.output_schema is not None


async def test_descriptions_name_the_symbols_that_are_recorded_now(shown: Face) -> None:
    async with Client(shown.mcp) as client:

        async def described(tool: str) -> str:
            return next(
                each.description or "" for each in (await client.list_tools()).tools if each.name == tool
            )

        assert (await described("get_volume_profile")).endswith("Recorded: BTCUSDT, ETHUSDT.")
        shown.recorded.symbols += [f"S{number}USDT" for number in range(30)]
        assert (await described("get_volume_profile")).endswith(" and 12 more.")
        assert "Recorded" not in await described("search")
