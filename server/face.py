"""The MCP server that clients see: tools, search, resources, prompts, completions.

Invariant: lists name the symbols that are recorded at the moment they are asked for.
"""

from importlib.metadata import version
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, GetPromptResult, InputRequiredResult, Resource, Tool

from server.pages import Address, Pages
from server.prompts import add_prompts
from server.resources import PLAIN, add_resources
from server.site import base_url, page_url
from server.tools.catalogue import add_tools
from server.tools.search import add_search
from server.tools.tape import Tape

INSTRUCTIONS = (
    "tapedeck keeps every aggregate trade of the recorded symbols and answers from them. Prices and volumes "
    "are exact decimal strings. Quote the levels given and no others; a summary that begins with PARTIAL: is "
    "made of incomplete data, and meta.coverage says what is missing. "
    "get_key_levels says where a price stands, get_data_coverage what is recorded and since when."
)
# Beyond so many, descriptions would be about symbols and little else.
MOST_NAMED = 20


class TapeServer(MCPServer):
    """An MCP server over a tape, and its pages."""

    def __init__(
        self, tape: Tape, public_url: str | None = None, local_url: str = "", **options: Any
    ) -> None:
        super().__init__(
            "tapedeck",
            title="tapedeck",
            version=version("tapedeck"),
            instructions=INSTRUCTIONS,
            website_url=public_url,
            log_level="WARNING",
            **options,
        )
        self.tape = tape
        self.pages = Pages(self, self._symbols)

        def link(ctx: Context, address: Address) -> str:
            return page_url(base_url(public_url, ctx.request_context.request, local_url), address)

        add_tools(self, tape)
        add_search(self, self.pages, link)
        add_resources(self, self.pages)
        add_prompts(self, self._symbols)

    def _symbols(self) -> list[str]:
        """Those that are recorded, then those that are only kept."""
        recorded = sorted(self.tape.recording.symbols)
        return [*recorded, *sorted(set(self.tape.ledger.symbols) - set(recorded))]

    async def list_tools(self) -> list[Tool]:
        """The tools, those about a symbol with the symbols there are."""
        named = named_symbols(self._symbols())
        return [
            tool.model_copy(update={"description": f"{tool.description} {named}"})
            if "symbol" in tool.input_schema.get("properties", {})
            else tool
            for tool in await super().list_tools()
        ]

    async def get_prompt(
        self, name: str, arguments: dict[str, Any] | None = None, context: Context | None = None
    ) -> GetPromptResult | InputRequiredResult:
        """The prompt; one that there is not, or whose arguments are wrong, is the client's error."""
        try:
            return await super().get_prompt(name, arguments, context)
        except ValueError as error:
            raise MCPError(INVALID_PARAMS, str(error)) from error

    async def list_resources(self) -> list[Resource]:
        """The definitions, and the usual pages of the first symbols; templates and search reach all."""
        listed = self._symbols()[:MOST_NAMED]
        markets = [
            Resource(
                uri=address.uri,
                name=address.path,
                title=self.pages.title(address),
                description="As of now.",
                mime_type=PLAIN,
            )
            for address in self.pages.addresses()
            if address.subject in listed
        ]
        return [*markets, *await super().list_resources()]


def named_symbols(symbols: list[str]) -> str:
    """The symbols as a description names them."""
    if not symbols:
        return "No symbol is recorded yet."
    more = f" and {len(symbols) - MOST_NAMED} more" if len(symbols) > MOST_NAMED else ""
    return f"Recorded: {', '.join(symbols[:MOST_NAMED])}{more}."
