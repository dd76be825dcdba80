"""Binance's wire format: what is common to websocket texts, REST bodies and dumps.

Invariant: a number leaves here exactly as it came or not at all. Prices and quantities are integers at
8 decimals (`EXPONENT`), times UTC milliseconds; what does not fit is named, never rounded.
"""

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np

from storage.trades import INT64_MAX, IntArray

EXPONENT = 8
UNIT = 10**EXPONENT
DEFAULT_WEIGHT_LIMIT = 6000
EXCERPT = 200
DAY_MS = 86_400_000
EPOCH = date(1970, 1, 1)
# Milliseconds of today are about 1.7e12, microseconds 1.7e15.
MICROSECONDS_FROM = 10**14

# msgspec reports bad UTF-8 in bytes and lone surrogates in str as the UnicodeErrors that they are, and JSON
# nested beyond the interpreter's limit as RecursionError.
UNDECODABLE = (msgspec.DecodeError, UnicodeError, RecursionError)

decode_any = msgspec.json.Decoder().decode


class WireError(ValueError):
    """Bytes that are not what the exchange documents; says what was read and what was expected.

    WireError
    ├── NotJson          HTML, an empty or a truncated body
    ├── UnexpectedShape  JSON, but not the documented object or array, or a field out of its range
    └── InexactDecimal   a price or quantity that 64 bits at 8 decimals do not hold exactly
    """


class NotJson(WireError):
    pass


class UnexpectedShape(WireError):
    pass


class InexactDecimal(WireError):
    pass


@dataclass(frozen=True, slots=True)
class Malformed:
    """A text that gave no trade though it should have: why, and its first 200 characters."""

    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class ApiError:
    """The exchange's own refusal; `request_id` names the websocket request that it answers."""

    code: int
    msg: str
    request_id: int | str | None = None


def api_error(reply: dict[str, Any]) -> ApiError | None:
    """An error reply in either shape: `{"code", "msg"}` or `{"error": {"code", "msg"}}`."""
    error = reply.get("error", reply)
    if not isinstance(error, dict):
        return None
    code, msg, request_id = error.get("code"), error.get("msg"), reply.get("id")
    if not (isinstance(code, int) and isinstance(msg, str)):
        return None
    return ApiError(code, msg, request_id if isinstance(request_id, int | str) else None)


def excerpt(text: str | bytes) -> str:
    if isinstance(text, str):
        return text[:EXCERPT]
    return text[: 4 * EXCERPT].decode(errors="replace")[:EXCERPT]


# -- numbers and times ------------------------------------------------------------------------------------


_DECIMAL = re.compile(r"([0-9]+)(?:\.([0-9]+))?")


def units(text: str) -> int:
    """A plain decimal in units of 1e-8, exactly; raises InexactDecimal."""
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise InexactDecimal(f"read {text[:40]!r}, expected a decimal >= 0 such as '0.00100000'")
    whole, fraction = match[1].lstrip("0"), (match[2] or "").rstrip("0")
    if len(fraction) > EXPONENT:
        raise InexactDecimal(f"read {text[:40]!r}, expected at most {EXPONENT} decimals")
    value = int(whole + fraction.ljust(EXPONENT, "0")) if len(whole) < 12 else INT64_MAX + 1
    if value > INT64_MAX:
        raise InexactDecimal(f"read {text[:40]!r}, expected at most {decimal_string(INT64_MAX, EXPONENT)}")
    return value


def in_ms(time: int) -> int:
    return time // 1000 if time >= MICROSECONDS_FROM else time


def plain_decimal(value: int) -> Decimal:
    """Units of 1e-8 as a Decimal without trailing zeros or an exponent above 0: 0.01, 1, 10."""
    return Decimal(f"{Decimal(value).scaleb(-EXPONENT).normalize():f}")


def decimal_strings(values: IntArray, exponent: int) -> list[str]:
    """Each with 8 decimals, 0 as the bare "0" that the exchange writes in rows it marked invalid."""
    factor = 10**exponent
    whole, fraction = np.divmod(values, factor)
    fraction *= 10 ** (EXPONENT - exponent)
    texts = [f"{w}.{f:08d}" for w, f in zip(whole.tolist(), fraction.tolist(), strict=True)]
    return texts if values.all() else ["0" if text == "0.00000000" else text for text in texts]


def decimal_string(n: int, exponent: int) -> str:
    """`n * 10**-exponent` with 8 decimals, as the exchange writes it; `exponent` is at most 8."""
    whole, fraction = divmod(n, 10**exponent)
    return f"{whole}.{fraction * 10 ** (EXPONENT - exponent):08d}"


# -- names ------------------------------------------------------------------------------------------------


def stream_name(symbol: str) -> str:
    return f"{symbol.lower()}@aggTrade"


def dump_path(symbol: str, day: date) -> str:
    """Where the archive has a day's aggTrades; beside it lies the same with `.CHECKSUM`."""
    return f"/data/spot/daily/aggTrades/{symbol}/{symbol}-aggTrades-{day.isoformat()}.zip"


def start_of(day: date) -> int:
    """The day's first millisecond, UTC."""
    return (day - EPOCH).days * DAY_MS
