"""Pages as MCP resources: a template for each topic, and each definition by itself."""

from functools import partial

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError

from server.definitions import Definition, definitions
from server.pages import SCHEME, TOPICS, Address, Pages, Topic, UnknownPage

MARKDOWN = "text/markdown"
PLAIN = "text/plain"
WINDOW = "; window such as 24h, 1h or today"


def add_resources(mcp: MCPServer, pages: Pages) -> None:
    """Give the server its resources."""
    for definition in definitions().values():
        _add_definition(mcp, definition)
    for topic in TOPICS.values():
        _add_topic(mcp, pages, topic)


def _add_definition(mcp: MCPServer, definition: Definition) -> None:
    @mcp.resource(
        f"{SCHEME}definitions/{definition.slug}",
        name=f"definition_{definition.slug.replace('-', '_')}",
        title=definition.title,
        description="What the numbers mean.",
        mime_type=MARKDOWN,
    )
    def read() -> str:
        return f"# {definition.title}\n\n{definition.text}\n"


def _add_topic(mcp: MCPServer, pages: Pages, topic: Topic) -> None:
    register = partial(
        mcp.resource,
        name=f"{topic.name}_of_symbol",
        title=f"{topic.title} of a symbol",
        description=f"The answer of {topic.tool}, as of now{WINDOW if topic.windowed else ''}.",
        mime_type=PLAIN,
    )
    uri = f"{SCHEME}{{symbol}}/{topic.name}"
    if topic.windowed:

        @register(f"{uri}/{{window}}")
        async def of_window(symbol: str, window: str) -> str:
            return await _text(pages, Address(symbol, topic.name, window))
    else:

        @register(uri)
        async def of_symbol(symbol: str) -> str:
            return await _text(pages, Address(symbol, topic.name))


async def _text(pages: Pages, address: Address) -> str:
    try:
        return (await pages.page(address)).text
    except UnknownPage as unknown:
        missing = str(unknown).startswith(("SYMBOL_UNKNOWN", "WINDOW_INVALID"))
        raise (ResourceNotFoundError if missing else ResourceError)(str(unknown)) from unknown
