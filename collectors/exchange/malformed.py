"""Frames that are none: one function from a kind and a sound payload to what comes over the wire.

Invariant: no kind makes another sound event.
"""

from collections.abc import Callable

from collectors.exchange.events import edited, without
from collectors.exchange.faults import Malformation

OVERSIZED_BYTES = 2 * 2**20


def malformed(kind: Malformation, payload: bytes) -> bytes:
    """`binary` frames hold the payload; it is the frame that is wrong."""
    return _MAKE[kind](payload)


def _truncated(payload: bytes) -> bytes:
    return payload[: len(payload) // 2]


def _not_a_number(payload: bytes) -> bytes:
    return edited(payload, p="NaN")


def _huge(payload: bytes) -> bytes:
    """An id that a double cannot hold, though 64 bits can."""
    return edited(payload, a=2**53 + 1)


def _beyond_64_bits(payload: bytes) -> bytes:
    return edited(payload, a=0).replace(b'"a":0', b'"a":%d' % 2**70, 1)


def _string_for_int(payload: bytes) -> bytes:
    return edited(payload, a="12345", T="now")


def _oversized(payload: bytes) -> bytes:
    return edited(payload, q="9" * OVERSIZED_BYTES)


def _invalid_utf8(payload: bytes) -> bytes:
    return payload[:-1] + b',"x":"\xff\xfe"}'


def _non_ascii_symbol(payload: bytes) -> bytes:
    return edited(payload, s="币安人生USDT")


_MAKE: dict[Malformation, Callable[[bytes], bytes]] = {
    "truncated": _truncated,
    "empty": lambda _payload: b"",
    "binary": lambda payload: payload,
    "array": lambda payload: b"[" + payload + b"]",
    "null": lambda _payload: b"null",
    "nan": _not_a_number,
    "huge": _huge,
    "beyond_64_bits": _beyond_64_bits,
    "missing_key": lambda payload: without(payload, "p"),
    "string_for_int": _string_for_int,
    "oversized": _oversized,
    "invalid_utf8": _invalid_utf8,
    "non_ascii_symbol": _non_ascii_symbol,
}
