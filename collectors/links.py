"""One websocket link: connect, read into a bounded ring, and connect again whatever ended it.

Invariant: the reader does nothing but receive; any end of the socket is a disconnect, 1000 and 1001
included; what does not fit into the ring is counted, and the hole it leaves is found by its ids.
"""

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

log = structlog.get_logger()

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 15.0
# A link that is up but silent for longer does not prove that nothing was missed.
SILENT_S = 5.0
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Ring:
    """Texts on their way from the links to the parser; the oldest are given up when it is full."""

    def __init__(self, size: int = 200_000) -> None:
        self._texts: deque[str | bytes] = deque()
        self._size = size
        self._filled = asyncio.Event()
        self._dropped = 0

    def put(self, text: str | bytes) -> None:
        if len(self._texts) == self._size:
            self._texts.popleft()
            self._dropped += 1
        self._texts.append(text)
        self._filled.set()

    def take_dropped(self) -> int:
        """How many texts were given up since the last call."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    async def wait(self) -> None:
        """Until there is something to take."""
        await self._filled.wait()

    def take(self, limit: int) -> list[str | bytes]:
        """Up to `limit` texts, oldest first."""
        taken = [self._texts.popleft() for _ in range(min(limit, len(self._texts)))]
        if not self._texts:
            self._filled.clear()
        return taken


@dataclass(slots=True)
class LinkState:
    """What is known of a link from outside."""

    url: str
    connected: bool = False
    connects: int = 0
    received: int = 0
    connected_at_s: float = math.inf
    received_at_s: float = -math.inf


class StreamLink:
    """One combined-stream link to `base_url` for all `streams`; `connected` is called when it comes up."""

    def __init__(
        self, base_url: str, streams: Sequence[str], ring: Ring, connected: Callable[["StreamLink"], None]
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._url = f"{self._base_url}/stream?streams={'/'.join(streams)}"
        self._ring = ring
        self._connected = connected
        self.state = LinkState(self._base_url)

    def covers_from(self, moment_s: float) -> bool:
        """Whether the link has been up since before that moment (event loop's time) and goes on bringing."""
        silent_s = asyncio.get_running_loop().time() - self.state.received_at_s
        return self.state.connected and self.state.connected_at_s <= moment_s and silent_s < SILENT_S

    async def run(self, stop: asyncio.Event) -> None:
        """Hold the link open until `stop`; texts received until then are all in the ring on return."""
        delay = Backoff()
        while not stop.is_set():
            retry_after_s: float | None = None
            received_before = self.state.received
            try:
                await self._hold_one(stop)
                if not stop.is_set():
                    log.warning("link ended", url=self._base_url, code=1000)
            except InvalidStatus as refusal:
                retry_after_s = _retry_after(refusal)
                log.warning("link refused", url=self._base_url, status=refusal.response.status_code)
            except ConnectionClosed as end:
                log.warning("link ended", url=self._base_url, code=end.rcvd.code if end.rcvd else 1006)
            except (OSError, TimeoutError, InvalidHandshake) as error:
                log.warning("link failed", url=self._base_url, error=str(error) or type(error).__name__)
            if self.state.received > received_before:
                delay.reset()
            await _wait(stop, retry_after_s if retry_after_s is not None else delay.next())

    async def _hold_one(self, stop: asyncio.Event) -> None:
        """One connection from its handshake to its end, or until `stop`."""
        proxy: Literal[True] | None = None if urlsplit(self._base_url).hostname in LOOPBACK else True
        async with connect(
            self._url, proxy=proxy, compression=None, max_queue=None, open_timeout=10, close_timeout=1
        ) as socket:
            loop = asyncio.get_running_loop()
            self.state.connected = True
            self.state.connected_at_s = loop.time()
            self.state.connects += 1
            log.info("link connected", url=self._base_url, connects=self.state.connects)
            self._connected(self)
            closer = asyncio.create_task(_close_on(stop, socket))
            try:
                async for text in socket:
                    self._ring.put(text)
                    self.state.received += 1
                    self.state.received_at_s = loop.time()
            finally:
                closer.cancel()
                self.state.connected = False


class Backoff:
    """Delays that double up to a limit, with full jitter; data alone resets them."""

    def __init__(self) -> None:
        self._limit_s = FIRST_DELAY_S

    def next(self) -> float:
        delay_s = random.uniform(0, self._limit_s)
        self._limit_s = min(self._limit_s * 2, LONGEST_DELAY_S)
        return delay_s

    def reset(self) -> None:
        self._limit_s = FIRST_DELAY_S


async def _close_on(stop: asyncio.Event, socket: ClientConnection) -> None:
    """Close the socket on `stop`; what it has received by then is still read."""
    await stop.wait()
    await socket.close()


def _retry_after(refusal: InvalidStatus) -> float | None:
    value = refusal.response.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
