"""The errors that a model reads and corrects itself by: `CODE: what happened; what is valid; what to try`."""

from typing import Literal

from mcp.server.mcpserver.exceptions import ToolError

Code = Literal[
    "SYMBOL_UNKNOWN",
    "WINDOW_INVALID",
    "OPTION_INVALID",
    "NO_TRADES",
    "WARMING_UP",
    "STORE_UNAVAILABLE",
    "ROW_SIZE_INVALID",
    "ROW_TOO_FINE",
]


class Refusal(ToolError):
    """A question without an answer; its text reaches the model as it is."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
