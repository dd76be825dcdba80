"""Names of the ledger's records; in byte order, so that a symbol's seconds lie one after the other.

Invariant: a symbol is closed by ":", so that BTCUSDT and BTCUSDC, or BTC and BTCUSDT, never mix.
"""

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


def time_in(key: bytes) -> int:
    """The second or hour in the key of a second-batch, a block or a rollup, in UTC milliseconds.

    The key may stand behind `lost:`.
    """
    return int(key.removeprefix(b"lost:").split(b":")[2])


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


def sealed_hour(name: str) -> tuple[str, int, int]:
    """Symbol, hour and part of a block's or rollup's key, its family taken off."""
    symbol, hour_ms, *part = name.split(":")
    return symbol, int(hour_ms), int(part[0]) if part else 0
