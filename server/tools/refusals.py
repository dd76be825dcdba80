"""The errors that a model reads and corrects itself by: `CODE: what happened; what is valid; what to try`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # commands refuse too, and need not wait for the SDK's types
    from mcp_types import CallToolResult

CODES = frozenset(
    {
        "SYMBOL_UNKNOWN",
        "WINDOW_INVALID",
        "OPTION_INVALID",
        "ROW_SIZE_INVALID",
        "ROW_TOO_FINE",
        "NO_TRADES",
        "WARMING_UP",
        "STORE_UNAVAILABLE",
        "TIME_LIMIT",
        "TOO_MANY_CALLS",
        "ANSWER_TOO_LARGE",
        "PAGE_UNKNOWN",
    }
)


class Refusal(Exception):
    """A question without an answer; its code is one of `CODES`."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code

    def result(self) -> "CallToolResult":
        """What the model reads: the SDK's own tool errors begin with a sentence, this one with its code."""
        from mcp_types import CallToolResult, TextContent

        return CallToolResult(is_error=True, content=[TextContent(type="text", text=str(self))])
