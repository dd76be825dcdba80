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


def hour_in(trades_key: bytes) -> int:
    """The UTC hour, counted from 1970, of a second-batch's key."""
    return int(trades_key.rpartition(b":")[2]) // HOUR_MS


def gap(symbol: str, first_id: int) -> bytes:
    return f"gaps:{symbol}:{first_id}".encode()


def state(symbol: str) -> bytes:
    return f"state:{symbol}".encode()


def instrument(symbol: str) -> bytes:
    return f"meta:{symbol}".encode()
