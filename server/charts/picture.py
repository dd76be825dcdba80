"""What a picture shows: columns and marks, as plain values on their way to the process that draws.

Invariant: whatever a reader may quote is text at the precision of the answer; numbers only say where to draw.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

Kind = Literal["profile", "vacuums", "levels", "flow"]
# What a mark stands for, which decides how it looks.
Role = Literal["poc", "value", "vwap", "last", "vacuum", "tail", "hvn", "lvn", "level", "stop"]
Side = Literal["buy", "sell"]
Floats = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PriceBars:
    """(bars,) columns of equal stretches of time, ascending; a stretch without a trade has none.

    `delta` is what takers bought less what they sold.
    """

    width_ms: int
    start_ms: tuple[int, ...]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    delta: Floats


@dataclass(frozen=True, slots=True)
class PriceRows:
    """Volume by row of price from `low` upwards, (rows,) columns."""

    low: float
    size: float
    buy: Floats
    sell: Floats


@dataclass(frozen=True, slots=True)
class Mark:
    """A price, or a range up to the upper edge of its highest tick; without a label it is only shown."""

    role: Role
    low: float
    high: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """[start_ms, end_ms) of which nothing, or not everything, is known."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class LargePrint:
    """A print that stood out; `share` is its notional over that of the largest."""

    time_ms: int
    price: float
    side: Side
    share: float


@dataclass(frozen=True, slots=True)
class Picture:
    """All that one picture shows.

    `warnings` say why its levels may change. `focus` is the range of prices that it is about, the window's
    where it is None. `limits` are volumes of a row that are marked among the rows, `limits_words` says as
    what. `flow_end` is the running delta at the window's end.
    """

    kind: Kind
    title: str
    subtitle: str
    warnings: tuple[str, ...]
    start_ms: int
    end_ms: int
    as_of_ms: int
    decimals: int
    volume_unit: str
    bars: PriceBars
    rows: PriceRows
    marks: tuple[Mark, ...]
    gaps: tuple[Span, ...] = ()
    prints: tuple[LargePrint, ...] = ()
    focus: tuple[float, float] | None = None
    limits: Floats = ()
    limits_words: str = ""
    flow_end: str = ""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Picture)


def packed(picture: Picture) -> bytes:
    return _encoder.encode(picture)


def unpacked(message: bytes) -> Picture:
    """The picture; raises `msgspec.MsgspecError` for what is none."""
    return _decoder.decode(message)
