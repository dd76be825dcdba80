"""What the server knows, as pages that have an address: one set for search, for resources and for browsers.

Invariant: a page about a market is the answer of a tool, asked now; a page that a search names can be read.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mcp.server import MCPServer
from mcp_types import CallToolResult, TextContent

from server.definitions import definitions

SCHEME = "tapedeck://"
WINDOWS = ("1h", "4h", "24h", "168h", "today", "yesterday", "asia", "london", "new_york")
USUAL_WINDOW = "24h"


@dataclass(frozen=True, slots=True)
class Topic:
    """What can be asked of any symbol: the tool that answers, and the part of its answer that makes news."""

    name: str
    title: str
    tool: str
    words: frozenset[str]
    news: Callable[[Mapping[str, Any]], Any]
    windowed: bool = True


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TOPICS = {
    topic.name: topic
    for topic in (
        Topic(
            "profile",
            "Volume profile",
            "get_volume_profile",
            _words("volume profile poc point control value area vah val vwap fair price levels"),
            lambda answer: answer["levels"]["poc"]["low"],
        ),
        Topic(
            "vacuums",
            "Liquidity vacuums",
            "get_liquidity_vacuums",
            _words("liquidity vacuum vacuums thin gap gaps air pocket pockets stop breakout void"),
            lambda answer: [vacuum["id"] for vacuum in answer["vacuums"]],
        ),
        Topic(
            "levels",
            "Key levels",
            "get_key_levels",
            _words("key level levels naked poc open session sessions support resistance where price stands"),
            lambda answer: answer["standing"],
        ),
        Topic(
            "coverage",
            "Data coverage",
            "get_data_coverage",
            _words("coverage data complete missing recorded recording since history gaps partial"),
            lambda answer: [(part["complete"], part["missing"]) for part in answer["symbols"]],
            windowed=False,
        ),
    )
}


class UnknownPage(Exception):
    """No page has this address."""


@dataclass(frozen=True, slots=True)
class Address:
    """Which page: of a symbol a topic and, where it has one, a window; or of the definitions a section."""

    subject: str
    topic: str
    window: str | None = None

    @property
    def path(self) -> str:
        return "/".join(part for part in (self.subject, self.topic, self.window) if part)

    @property
    def uri(self) -> str:
        return SCHEME + self.path

    @property
    def is_definition(self) -> bool:
        return self.subject == "definitions"


def address_of(written: str) -> Address:
    """The address in a path, a resource's URI or a search result's id. Raises `UnknownPage`."""
    subject, *rest = written.removeprefix(SCHEME).strip("/").split("/")
    if subject == "definitions" and len(rest) == 1 and rest[0] in definitions():
        return Address(subject, rest[0])
    topic = TOPICS.get(rest[0]) if rest else None
    if subject and topic and len(rest) <= 1 + topic.windowed:
        return Address(subject, topic.name, (rest[1:] or [USUAL_WINDOW])[0] if topic.windowed else None)
    known = ", ".join(TOPICS)
    raise UnknownPage(f"{written[:100]!r} is no page; a symbol has {known}, as in BTCUSDT/profile/24h")


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it is now: its text for people, and the whole answer where it is one."""

    address: Address
    title: str
    text: str
    answer: dict[str, Any] | None = None


class Pages:
    """The pages of one server."""

    def __init__(self, mcp: MCPServer, symbols: Callable[[], Iterable[str]]) -> None:
        self._mcp = mcp
        self._symbols = symbols

    def addresses(self) -> list[Address]:
        """The usual ones: those that a search finds and a list shows."""
        of_symbols = [
            Address(symbol, topic.name, USUAL_WINDOW if topic.windowed else None)
            for symbol in self._symbols()
            for topic in TOPICS.values()
        ]
        return of_symbols + [Address("definitions", slug) for slug in definitions()]

    def title(self, address: Address) -> str:
        if address.is_definition:
            return definitions()[address.topic].title
        window = f", {address.window}" if address.window else ""
        return f"{address.subject} {TOPICS[address.topic].title.lower()}{window}"

    async def page(self, address: Address) -> Page:
        """The page as of now. Raises `UnknownPage` with the tool's own words where it has no answer."""
        if address.is_definition:
            definition = definitions()[address.topic]
            return Page(address, definition.title, definition.text)
        answer = await self.answer(address)
        return Page(address, self.title(address), readable(answer), answer)

    async def answer(self, address: Address) -> dict[str, Any]:
        """What the topic's tool answers."""
        arguments = {"symbol": address.subject, **_window(address.window)}
        result = await self._mcp.call_tool(TOPICS[address.topic].tool, arguments)
        assert isinstance(result, CallToolResult)
        if result.is_error or result.structured_content is None:
            raise UnknownPage("".join(part.text for part in result.content if isinstance(part, TextContent)))
        answer: dict[str, Any] = result.structured_content
        return answer


def _window(window: str | None) -> dict[str, str]:
    if window is None:
        return {}
    hours = re.fullmatch(r"([0-9.]+)h", window)
    return {"duration_hours": hours[1]} if hours else {"session": window}


def readable(answer: Mapping[str, Any]) -> str:
    """An answer as lines that people read: the summary, then a line for each fact."""
    facts = {name: value for name, value in answer.items() if name != "summary"}
    return "\n".join([answer["summary"], "", *_lines(facts, "")])


def _lines(value: Any, name: str) -> Iterable[str]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _lines(part, f"{name} {key}".strip())
    elif isinstance(value, list) and any(isinstance(part, Mapping | list) for part in value):
        for number, part in enumerate(value, 1):
            yield from _lines(part, f"{name} {number}")
    elif isinstance(value, str) and "\n" in value:
        yield f"{name}:\n{value}"
    else:
        yield f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
