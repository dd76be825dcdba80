"""Names of the ledger's records; in byte order, so that a symbol's seconds lie one after the other.

Invariant: a symbol is closed by ":", so that BTCUSDT and BTCUSDC, or BTC and BTCUSDT, never mix.
"""

import re
from functools import lru_cache
from typing import NamedTuple

SCHEMA = b"meta:schema"
SOURCE = b"meta:source"
# After every other key: an iterator that ends before it has been cut short by damage.
END = b"\xff"

SECOND_MS = 1000
HOUR_MS = 3_600_000


def second_of(time_ms: int) -> int:
    """The start of the UTC second that holds `time_ms`."""
    return time_ms - time_ms % SECOND_MS


def trades(symbol: str, second_ms: int) -> bytes:
    """Key of the second-batch of the trades made in [second_ms, second_ms + 1000)."""
    return f"trades:{symbol}:{second_ms:013d}".encode()


def lost(key: bytes) -> bytes:
    """Key under which a damaged record is kept once its place is needed."""
    return b"lost:" + key


def state(symbol: str) -> bytes:
    return f"state:{symbol}".encode()


def instrument(symbol: str) -> bytes:
    return f"meta:{symbol}".encode()


def block(symbol: str, hour_ms: int, part: int = 0) -> bytes:
    """Key of a sealed hour, or of a further part of one that holds too many trades for one block."""
    return f"blocks:{_hour(symbol, hour_ms, part)}".encode()


def rollup(symbol: str, hour_ms: int, part: int = 0) -> bytes:
    return f"rollup:{_hour(symbol, hour_ms, part)}".encode()


def candles(symbol: str, hour_ms: int, part: int = 0) -> bytes:
    return f"candles:{_hour(symbol, hour_ms, part)}".encode()


def _hour(symbol: str, hour_ms: int, part: int) -> str:
    return f"{symbol}:{hour_ms:013d}" + (f":{part}" if part else "")


def hour_of(time_ms: int) -> int:
    """The start of the UTC hour that holds `time_ms`."""
    return time_ms - time_ms % HOUR_MS


class Name(NamedTuple):
    """What a key says: its family, and the symbol, the second or hour and the part where it has them."""

    family: str
    symbol: str = ""
    time_ms: int | None = None
    part: int = 0

    @property
    def hour_ms(self) -> int | None:
        return None if self.time_ms is None else hour_of(self.time_ms)


_SYMBOL = r"([^:\x00-\x20\x7f-\xff]+)"
_SECONDS = re.compile(rf"trades:{_SYMBOL}".encode())
_FORMS = (
    (re.compile(rf"(blocks|rollup|candles):{_SYMBOL}:(\d{{13}})(?::([1-9]\d{{0,5}}))?".encode()), HOUR_MS),
    (re.compile(rf"(state|meta):{_SYMBOL}".encode()), 1),
)


def symbol_of_second(key: bytes) -> str | None:
    """The symbol in the key of a second-batch; None where it is none."""
    seconds, _, number = key.rpartition(b":")
    if len(number) == 13 and number.isdigit() and number.endswith(b"000"):
        return _symbol_in(seconds)
    return None


@lru_cache(maxsize=1024)
def _symbol_in(seconds: bytes) -> str | None:
    """The symbol whose seconds begin with these bytes: most keys, by far, and few symbols."""
    found = _SECONDS.fullmatch(seconds)
    return found[1].decode() if found else None


def parsed(key: bytes) -> Name | None:
    """What a key says; None where it is none of ours. One behind `lost:` is named by the key it had."""
    if key == END:
        return Name("end")
    symbol = symbol_of_second(key)
    if symbol is not None:
        return Name("trades", symbol, int(key[-13:]))
    if key.startswith(b"lost:"):
        was = parsed(key.removeprefix(b"lost:"))
        return Name("lost") if was is None else was._replace(family="lost")
    for form, grid in _FORMS:
        found = form.fullmatch(key)
        if found:
            family, symbol, *numbers = (text.decode() if text else "" for text in found.groups())
            time_ms, part = ([int(text or 0) for text in numbers] + [0, 0])[:2]
            if time_ms % grid:
                return None
            return Name(family, symbol, time_ms if numbers else None, part)
    return None
