"""search and fetch: what deep research asks of a server, in the shapes that it requires.

Invariant: every result can be fetched, and its URL leads to a page of this server.
"""

import json
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp_types import CallToolResult, TextContent, ToolAnnotations
from pydantic import BaseModel, Field

from server.definitions import definitions
from server.pages import TOPICS, Address, Pages, UnknownPage, address_of
from server.tools.answers import Shape
from server.tools.refusals import Refusal

READ_ONLY = ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
MOST_RESULTS = 10
MOST_WORDS = 40
# What people call the assets that they ask about most.
NAMES = {
    "bitcoin": "BTC",
    "ethereum": "ETH",
    "ether": "ETH",
    "solana": "SOL",
    "ripple": "XRP",
    "cardano": "ADA",
    "dogecoin": "DOGE",
    "litecoin": "LTC",
    "binance coin": "BNB",
}

SEARCH = (
    "Find pages about a recorded market (volume profile, liquidity vacuums, data coverage of a symbol, as "
    "of now) and about what the numbers mean. Returns ids for fetch. When you can call the get_ tools, call "
    "them instead: they take a window and options."
)
FETCH = (
    "The text of a page that search found, by its id, such as BTCUSDT/profile/24h or "
    "definitions/value-area-vah-val. A page about a market is made when it is fetched."
)

Link = Callable[[Context, Address], str]


class Result(Shape):
    id: str
    title: str
    url: str


class Results(Shape):
    """Pages, the best first."""

    results: list[Result]


class Document(Shape):
    """A page: `text` is all of it."""

    id: str
    title: str
    text: str
    url: str
    metadata: dict[str, Any] = Field(description="of a market: when and from what it was made")


def add_search(mcp: MCPServer, pages: Pages, link: Link) -> None:
    """Give the server search and fetch over `pages`; `link` is a page's URL for the caller."""

    @mcp.tool(title="Search", description=SEARCH, annotations=READ_ONLY)
    async def search(
        query: Annotated[str, Field(description="words, such as: bitcoin value area")], ctx: Context
    ) -> Annotated[CallToolResult, Results]:
        found = matches(query, pages.addresses())[:MOST_RESULTS]
        return _as_json(
            Results(
                results=[Result(id=each.path, title=pages.title(each), url=link(ctx, each)) for each in found]
            )
        )

    @mcp.tool(title="Fetch", description=FETCH, annotations=READ_ONLY)
    async def fetch(
        id: Annotated[str, Field(description="id of a search result")],
        ctx: Context,
    ) -> Annotated[CallToolResult, Document]:
        try:
            page = await pages.page(address_of(id))
        except UnknownPage as unknown:
            return _refused(str(unknown)).result()
        meta = (page.answer or {}).get("meta", {})
        metadata = {name: meta[name] for name in ("symbol", "market", "window", "as_of") if name in meta}
        return _as_json(
            Document(
                id=page.address.path,
                title=page.title,
                text=page.text,
                url=link(ctx, page.address),
                metadata=metadata,
            )
        )


def matches(query: str, addresses: list[Address]) -> list[Address]:
    """The pages that have something of the query, the best first; of one symbol where it names one."""
    words = re.findall(r"[a-z0-9]+", query.lower())[:MOST_WORDS]
    symbols = {address.subject for address in addresses if not address.is_definition}
    named = named_symbols(query, words, symbols)
    scored = [
        (_score(address, frozenset(words), named), -place, address) for place, address in enumerate(addresses)
    ]
    return [address for score, _, address in sorted(scored, key=lambda each: each[:2], reverse=True) if score]


def named_symbols(query: str, words: list[str], symbols: set[str]) -> set[str]:
    """Those of `symbols` that the query speaks of: by symbol, base asset, or what people call it."""
    written = {word.upper() for word in words} | {
        first.upper() + second.upper() for first, second in pairwise(words)
    }
    bases = {base for name, base in NAMES.items() if name in query.lower()}
    bases |= {word for word in written if 2 <= len(word) <= 6}
    exact = written & symbols
    return exact or {symbol for symbol in symbols if any(symbol.startswith(base) for base in bases)}


def _score(address: Address, words: frozenset[str], named: set[str]) -> int:
    if address.is_definition:
        definition = definitions()[address.topic]
        in_title = words & frozenset(re.findall(r"[a-z0-9]+", definition.title.lower()))
        in_text = words & frozenset(re.findall(r"[a-z0-9]{3,}", definition.text.lower()))
        return 3 * len(in_title) + len(in_text - COMMON)
    if named and address.subject not in named:
        return 0
    of_topic = len(words & TOPICS[address.topic].words)
    return (5 if named else 0) + 3 * of_topic


COMMON = frozenset(
    re.findall(
        "[a-z]+",
        """
    the and for not with that where what when how are was has its this which
    from now can does
""",
    )
)


def _refused(text: str) -> Refusal:
    """A tool's own coded refusal as it is; else that there is no such page."""
    code, found, rest = text.partition(": ")
    if found and re.fullmatch(r"[A-Z_]+", code):
        return Refusal(code, rest)
    return Refusal("PAGE_UNKNOWN", f"{text}; try an id that search has found")


def _as_json(answer: BaseModel) -> CallToolResult:
    """As structure, and as one text of the same JSON: deep research reads nothing else."""
    structured = answer.model_dump(mode="json")
    text = json.dumps(structured, ensure_ascii=False, separators=(",", ":"))
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=structured)
