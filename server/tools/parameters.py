"""The parameters of the tools as a model sees them, each said once.

Invariant: schemas are wide, and the tools check ranges themselves, so that a caller reads a coded error and
not a validator's.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from mcp_types import CallToolResult
from pydantic import Field, WithJsonSchema

NUMBER = WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}]})
NUMBER_OR_NULL = WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}, {"type": "null"}]})
TEXT = WithJsonSchema({"type": "string"})
TEXT_OR_NULL = WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "null"}]})

Symbol = Annotated[Any, TEXT, Field(description="recorded symbol as people write it: BTCUSDT, btc/usdt, btc")]
DurationHours = Annotated[
    Any,
    NUMBER,
    Field(
        description="window length in hours up to end_time, 0.0167 (a minute) to 168; ignored with start_time"
    ),
]
DurationOrAll = Annotated[
    Any,
    NUMBER_OR_NULL,
    Field(
        description="window length in hours up to end_time, 0.0167 (a minute) to 168; with no window at all "
        "168, which holds the days before"
    ),
]
StartTime = Annotated[
    Any, TEXT_OR_NULL, Field(description="window start, ISO-8601 UTC such as 2026-11-22T12:00:00Z")
]
EndTime = Annotated[Any, TEXT_OR_NULL, Field(description="window end (exclusive), ISO-8601 UTC; default now")]
Session = Annotated[
    Any,
    TEXT_OR_NULL,
    Field(
        description="instead of times: today, yesterday, or the latest asia (00-08 UTC), london (08-16), "
        "new_york (13:30-20)"
    ),
]
RowSize = Annotated[
    Any,
    NUMBER_OR_NULL,
    Field(
        description="height of a price row in quote units, a multiple of the tick; default fits the window"
    ),
]
Bar = Annotated[
    Any,
    TEXT_OR_NULL,
    Field(description="length of a footprint bar in whole minutes: 1m, 30m, 4h; default 1/48 of the window"),
]
ImbalanceRatio = Annotated[
    Any, NUMBER, Field(description="how many times one side of a diagonal pair outweighs the other, 1 to 100")
]
DetailLevel = Annotated[Any, TEXT, Field(description="summary, or full for tables and more entries")]
IncludeChart = Annotated[Any, WithJsonSchema({"type": "boolean"}), Field(description="true adds a PNG of it")]

LONGEST_HOURS = 168

Tool = Callable[..., Awaitable[CallToolResult]]


def _window(
    symbol: Symbol,
    duration_hours: DurationHours = 24,
    start_time: StartTime = None,
    end_time: EndTime = None,
    session: Session = None,
) -> None:
    """The parameters by which every tool is asked about a window."""


def _long_window(
    symbol: Symbol,
    duration_hours: DurationOrAll = None,
    start_time: StartTime = None,
    end_time: EndTime = None,
    session: Session = None,
) -> None:
    """The same, of a tool that looks back over days unless it is told otherwise."""


def over_window(tool: Tool) -> Tool:
    """The tool with a window's parameters in its signature, where the SDK reads its schema.

    It is called with them in a dict, `window`, and with options of its own. Some clients send null for every
    option that was not chosen: that is its default.
    """
    return _with_window(tool, inspect.signature(_window), hours=24)


def over_long_window(tool: Tool) -> Tool:
    """The same; with no window at all it is the last 168 h."""
    return _with_window(tool, inspect.signature(_long_window), hours=LONGEST_HOURS)


def _with_window(tool: Tool, window: inspect.Signature, *, hours: int) -> Tool:
    own = inspect.signature(tool)
    options = [option for option in own.parameters.values() if option.name != "window"]
    parameters = [*window.parameters.values(), *options]
    defaults = {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}
    defaults["duration_hours"] = hours

    @functools.wraps(tool)
    async def asked(**given: Any) -> CallToolResult:
        chosen = {name: defaults.get(name) if value is None else value for name, value in given.items()}
        return await tool({name: chosen.pop(name) for name in window.parameters}, **chosen)

    asked.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return asked
