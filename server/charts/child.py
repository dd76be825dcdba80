"""The process that draws: pictures come on standard input, PNGs go to standard output, one for one.

Invariant: it ends when its input does, so never outlives the server; it holds nothing of the server's, takes
only so much memory, and leaves after a while without work.

A message is its length in 4 bytes, big-endian, and MessagePack: a picture, or a reply.
"""

import os
import resource
import select
import sys
from contextlib import suppress
from typing import BinaryIO

import msgspec

from server.charts.replies import HEADER, Reply, packed_reply

IDLE_S = 300
MEMORY_BYTES = 1 << 30
NICENESS = 10


def main() -> None:
    out = _own_output()
    # A server may not let go of priorities and limits; then there are its own.
    with suppress(OSError, ValueError):
        os.nice(NICENESS)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    _serve(sys.stdin.buffer, out)


def _own_output() -> BinaryIO:
    """Standard output for replies alone: what a library prints goes where errors go."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return out


def _serve(requests: BinaryIO, replies: BinaryIO) -> None:
    while select.select([requests], [], [], IDLE_S)[0]:
        header = requests.read(HEADER.size)
        if len(header) < HEADER.size:
            return
        reply = packed_reply(_reply(requests.read(HEADER.unpack(header)[0])))
        replies.write(HEADER.pack(len(reply)) + reply)
        replies.flush()


def _reply(message: bytes) -> Reply:
    from server.charts.drawing import png_of  # matplotlib, once there is something to draw
    from server.charts.picture import unpacked

    try:
        return Reply(png=png_of(unpacked(message)))
    except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError, msgspec.MsgspecError) as error:
        return Reply(error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
