"""The errors that a model reads and corrects itself by: `CODE: what happened; what is valid; what to try`."""

from mcp.server.mcpserver.exceptions import ToolError


class Refusal(ToolError):
    """A question without an answer; its text reaches the model as it is.

    Codes: SYMBOL_UNKNOWN, WINDOW_INVALID, OPTION_INVALID, ROW_SIZE_INVALID, ROW_TOO_FINE, NO_TRADES,
    WARMING_UP, STORE_UNAVAILABLE.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
