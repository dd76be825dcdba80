"""One websocket connection: opened once, received into a bounded ring of its own until it ends.

Invariant: what the socket brings goes into the ring as it comes in, and waits for nobody; any end of the
socket is a disconnect, 1000 and 1001 included. What does not fit into the ring is counted, and the hole it
leaves is found by its ids.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, cast
from urllib.parse import quote, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode

from collectors.binance import stream_name
from collectors.clock import Clock
from collectors.continuity import Voucher
from collectors.figures import LinkFigures

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# Eight seconds of 20,000 messages a second.
MOST_TEXTS = 160_000
MOST_BYTES = 32 * 2**20
# A text beyond this ends the connection; the exchange's are some 200 bytes, or a few KiB by mistake.
MOST_IN_TEXT = 8 * 2**20
# Some 300 messages, 2 ms of the event loop.
PIECE = 64 * 2**10
OPEN_S = 5.0
CLOSE_S = 1.0
PING_S = 20.0
# What came so long ago says nothing of how late a symbol is.
SILENT_MS = 60_000

_TEXT, _BINARY, _CONT, _CLOSE = Opcode.TEXT, Opcode.BINARY, Opcode.CONT, Opcode.CLOSE
_DATA = frozenset({_TEXT, _BINARY, _CONT})
_numbers = itertools.count(1)


class Ring:
    """Texts on their way from a socket to the parser; the oldest are given up when it is full.

    `filled` is set whenever there is something to take; rings may share it. Times are steady ones.
    """

    def __init__(self, filled: asyncio.Event, most_texts: int, most_bytes: int) -> None:
        self._texts: deque[tuple[bytes, int]] = deque()
        self._filled = filled
        self._most_texts = most_texts
        self._most_bytes = most_bytes
        self._dropped = 0
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._texts)

    def put(self, text: bytes, received_ms: int) -> None:
        self._texts.append((text, received_ms))
        self.bytes += len(text)
        while self.bytes > self._most_bytes or len(self._texts) > self._most_texts:
            self.bytes -= len(self._texts.popleft()[0])
            self._dropped += 1
        self._filled.set()

    def take_dropped(self) -> int:
        """How many texts were given up since the last call."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def take(self, limit: int) -> tuple[list[bytes], int | None]:
        """Up to `limit` texts, oldest first, and when the last of them was received."""
        texts = self._texts
        taken = [texts.popleft() for _ in range(min(limit, len(texts)))]
        self.bytes -= sum(len(text) for text, _ in taken)
        return [text for text, _ in taken], taken[-1][1] if taken else None


class _Receiver(ClientConnection):
    """Puts messages into the ring as their bytes come in: no task, no queue and no decoding in between.

    A slow parser therefore delays neither pongs nor the socket; the ring is the bound.
    """

    def __init__(self, *args: Any, ring: Ring, clock: Clock, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.over = asyncio.Event()
        self.received = 0
        self._ring = ring
        self._clock = clock
        self._received_ms = 0
        self._parts: list[bytes] = []
        self._pieces: deque[bytes] = deque()

    def data_received(self, data: bytes) -> None:
        """What comes in at once is taken in pieces between which others have their turn."""
        self._received_ms = self._clock.steady_ms()
        if len(data) <= PIECE and not self._pieces:
            super().data_received(data)
            return
        self._pieces.extend(data[at : at + PIECE] for at in range(0, len(data), PIECE))
        self.transport.pause_reading()
        self._take_piece()

    def _take_piece(self) -> None:
        if self._pieces:
            super().data_received(self._pieces.popleft())
            self.loop.call_soon(self._take_piece)
        else:
            self.transport.resume_reading()

    def _take_pieces(self) -> None:
        while self._pieces:
            super().data_received(self._pieces.popleft())

    def eof_received(self) -> None:
        self._take_pieces()
        super().eof_received()

    def process_event(self, event: Any) -> None:
        if isinstance(event, Frame):
            if event.opcode in _DATA:
                self._take(event)
                return
            if event.opcode is _CLOSE:
                self.over.set()
        super().process_event(event)

    def _take(self, frame: Frame) -> None:
        text = frame.data
        if not (frame.fin and frame.opcode is not _CONT):
            self._parts.append(bytes(text))
            if not frame.fin:
                return
            text, self._parts = b"".join(self._parts), []
        self.received += 1
        self._ring.put(cast(bytes, text), self._received_ms)  # or a bytearray, which nobody changes

    def connection_lost(self, exc: Exception | None) -> None:
        self._take_pieces()
        super().connection_lost(exc)
        self.over.set()


@dataclass(slots=True)
class Delivered:
    """The ids that a connection brought of a symbol: the first one ever, and the newest; when an event of it
    came last, and how late that was."""

    first_id: int
    newest_id: int
    received_ms: int = 0
    lag_ms: int | None = None


@dataclass(slots=True, eq=False)
class Connection:
    """A connection that is up, or was; what the stream found in it is noted here.

    It was opened, and is to end, at moments of the steady clock.
    """

    host: str
    symbols: Sequence[str]
    ring: Ring
    voucher: Voucher
    opened_ms: int
    ends_ms: int
    _socket: _Receiver
    number: int = field(default_factory=lambda: next(_numbers))
    delivered: dict[str, Delivered] = field(default_factory=dict)
    # From the newest event to its receipt; and what of it is left, give or take the same for all connections,
    # where a trade's own time is taken from the steady clock's: all links say the same of a trade.
    lag_ms: int | None = None
    trade_lag_ms: int | None = None
    shuts_down: bool = False

    @property
    def is_up(self) -> bool:
        return not self._socket.over.is_set()

    def lag_of(self, symbol: str, now_ms: int) -> int | None:
        """How late the newest event of the symbol was; of one that is silent, the newest of any."""
        brought = self.delivered.get(symbol)
        is_silent = brought is None or now_ms - brought.received_ms > SILENT_MS
        return self.lag_ms if brought is None or is_silent else brought.lag_ms

    @property
    def received(self) -> int:
        """How many messages it brought."""
        return self._socket.received

    def age_s(self, now_ms: int) -> float:
        return (now_ms - self.opened_ms) / 1000

    def figures(self, now_ms: int) -> LinkFigures:
        return LinkFigures(
            host=self.host,
            number=self.number,
            symbols=len(self.symbols),
            age_s=self.age_s(now_ms),
            lag_ms=self.lag_ms,
            received=self.received,
            waiting=len(self.ring),
            waiting_bytes=self.ring.bytes,
        )

    async def ended(self) -> int:
        """Wait for its end; the close code, 1006 where there was none."""
        await self._socket.over.wait()
        closed = self._socket.protocol.close_rcvd or self._socket.protocol.close_sent
        return int(closed.code) if closed else 1006

    async def close(self) -> None:
        """Close the socket; what comes in until it is closed is received still."""
        await self._socket.close()
        self._socket.over.set()


async def open_connection(
    url: str, symbols: Sequence[str], filled: asyncio.Event, clock: Clock
) -> Connection:
    """One combined-stream connection to `url` for all `symbols`.

    Raises what the handshake fails with: `InvalidHandshake`, `OSError`, `TimeoutError`.
    """
    proxy: Literal[True] | None = None if urlsplit(url).hostname in LOOPBACK else True
    ring = Ring(filled, MOST_TEXTS, MOST_BYTES)
    socket = await connect(
        url + stream_path(symbols),
        create_connection=partial(_Receiver, ring=ring, clock=clock),  # type: ignore[arg-type]  # a factory
        proxy=proxy,
        compression=None,
        max_size=MOST_IN_TEXT,
        open_timeout=OPEN_S,
        close_timeout=CLOSE_S,
        ping_interval=PING_S,
        # A pong may sit behind much data: whether the connection is good, what it brings decides.
        ping_timeout=None,
    )
    assert isinstance(socket, _Receiver)
    now_ms = clock.steady_ms()
    host = urlsplit(url).netloc
    return Connection(host, symbols, ring, Voucher(now_ms), now_ms, now_ms, socket)


def stream_path(symbols: Sequence[str]) -> str:
    """The address of the combined stream of these symbols."""
    return f"/stream?streams={quote('/'.join(map(stream_name, symbols)), safe='/@')}"
