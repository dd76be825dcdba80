"""What the drawing process answers, and how messages to and from it are framed."""

import struct
from dataclasses import dataclass

import msgspec

HEADER = struct.Struct(">I")
# No reply and no request is longer.
MOST_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Reply:
    """A PNG, or why there is none."""

    png: bytes | None = None
    error: str | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Reply)


def packed_reply(reply: Reply) -> bytes:
    return _encoder.encode(reply)


def unpacked_reply(message: bytes) -> Reply:
    """The reply; raises `msgspec.MsgspecError` for what is none."""
    return _decoder.decode(message)
