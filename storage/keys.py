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

# What the records of a sealed hour's part are, beginning with the one that its trades are in.
SEALED_FAMILIES = ("blocks", "rollup", "candles")


def span(family: str, symbol: str | None = None) -> tuple[bytes, bytes]:
    """First and stop of a family's keys, all of them or those of a symbol."""
    prefix = family if symbol is None else f"{family}:{symbol}"
    return f"{prefix}:".encode(), f"{prefix};".encode()


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


def absence(symbol: str, first_id: int) -> bytes:
    """Key of ids, from `first_id` on, that the exchange lacks."""
    return f"gaps:{symbol}:{first_id:019d}".encode()


def instrument(symbol: str) -> bytes:
    return f"meta:{symbol}".encode()


def block(symbol: str, hour_ms: int, part: int = 0) -> bytes:
    """Key of a sealed hour, or of a further part of one that holds too many trades for one block."""
    return f"blocks:{_hour(symbol, hour_ms, part)}".encode()


def rollup(symbol: str, hour_ms: int, part: int = 0) -> bytes:
    return f"rollup:{_hour(symbol, hour_ms, part)}".encode()


def candles(symbol: str, hour_ms: int, part: int = 0) -> bytes:
    return f"candles:{_hour(symbol, hour_ms, part)}".encode()


def conflict(symbol: str, hour_ms: int, agg_trade_id: int) -> bytes:
    """Key of another content under the id of a trade that was made in that hour."""
    return f"conflict:{symbol}:{hour_ms:013d}:{agg_trade_id}".encode()


def _hour(symbol: str, hour_ms: int, part: int) -> str:
    return f"{symbol}:{hour_ms:013d}" + (f":{part}" if part else "")


def hour_of(time_ms: int) -> int:
    """The start of the UTC hour that holds `time_ms`."""
    return time_ms - time_ms % HOUR_MS


class Name(NamedTuple):
    """What a key says: its family, and the symbol, the second or hour, the part and the id where it has
    them."""

    family: str
    symbol: str = ""
    time_ms: int | None = None
    part: int = 0
    first_id: int | None = None

    @property
    def hour_ms(self) -> int | None:
        return None if self.time_ms is None else hour_of(self.time_ms)


_SYMBOL = r"([^:\x00-\x20\x7f-\xff]+)"
_SECONDS = re.compile(rf"trades:{_SYMBOL}".encode())
_FORMS = (
    (re.compile(rf"(blocks|rollup|candles):{_SYMBOL}:(\d{{13}})(?::([1-9]\d{{0,5}}))?".encode()), HOUR_MS),
    (re.compile(rf"(state|meta):{_SYMBOL}".encode()), 1),
)
_ABSENCE = re.compile(rf"gaps:{_SYMBOL}:(\d{{19}})".encode())
_CONFLICT = re.compile(rf"conflict:{_SYMBOL}:(\d{{13}}):(0|[1-9]\d{{0,18}})".encode())


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
    absent = _ABSENCE.fullmatch(key)
    if absent:
        return Name("gaps", absent[1].decode(), first_id=int(absent[2]))
    contradicted = _CONFLICT.fullmatch(key)
    if contradicted:
        hour_ms = int(contradicted[2])
        known = Name("conflict", contradicted[1].decode(), hour_ms, first_id=int(contradicted[3]))
        return None if hour_ms % HOUR_MS else known
    for form, grid in _FORMS:
        found = form.fullmatch(key)
        if found:
            family, symbol, *numbers = (text.decode() if text else "" for text in found.groups())
            time_ms, part = ([int(text or 0) for text in numbers] + [0, 0])[:2]
            if time_ms % grid:
                return None
            return Name(family, symbol, time_ms if numbers else None, part)
    return None
