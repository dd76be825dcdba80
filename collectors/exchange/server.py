"""The stand-in on one loopback port: plain GETs are REST or dumps, upgrades are websocket links.

Invariant: a link that reads slowly, or not at all, is dropped; it never delays another.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, cast

import structlog
from websockets.asyncio.server import Server, ServerConnection, broadcast
from websockets.asyncio.server import serve as serve_websocket
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State

from collectors.binance import DEFAULT_WEIGHT_LIMIT, stream_name
from collectors.exchange.archive import Habits, StandInArchive, is_archive_address
from collectors.exchange.market import Market
from collectors.exchange.rest import Reply, Tape, WeightMeter, respond
from collectors.exchange.streams import (
    RateWindow,
    Slice,
    StreamRefused,
    Subscriptions,
    is_stream_address,
    opened,
)

log = structlog.get_logger()

Clock = Callable[[], int]
HOUR_MS = 3_600_000
# A clock that jumps is followed in steps of this, so that sockets can drain between them.
LONGEST_SLICE_MS = 1000
# How long a daily dump may take to be made and sent.
DUMP_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How the exchange treats its clients; the defaults are Binance's, smaller ones make tests short."""

    weight_per_minute: int = DEFAULT_WEIGHT_LIMIT
    ping_interval_s: float = 20.0
    pong_timeout_s: float = 60.0
    messages_per_s: int = 5
    connects_per_5_min: int = 300
    link_lifetime_s: float = 24 * 3600.0
    send_buffer_bytes: int = 4 * 2**20
    close_timeout_s: float = 2.0


class Link(ServerConnection):
    """One websocket connection: what it is subscribed to, and the tasks that it ends with."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.subscriptions = Subscriptions()
        self.greeting: str | None = None
        self.incoming: RateWindow | None = None
        self._ending: asyncio.Task[None] | None = None

    def process_event(self, event: Any) -> None:
        if self._is_too_much(event):
            self.end(CloseCode.POLICY_VIOLATION, "Too many requests")
        else:
            super().process_event(event)

    def _is_too_much(self, event: Any) -> bool:
        counted = isinstance(event, Frame) and event.opcode in _COUNTED
        return counted and self.incoming is not None and not self.incoming.admits(self.loop.time())

    def end(self, code: int, reason: str) -> None:
        """Starts the closing handshake, once."""
        if self._ending is None:
            log.info("link closed", code=code, reason=reason)
            self._ending = self.loop.create_task(self.close(code, reason))

    def reset(self) -> None:
        """Drops the TCP connection without a goodbye: the peer reads a reset."""
        self.subscriptions.since_ms.clear()
        reset(self.transport)

    @property
    def unsent_bytes(self) -> int:
        return self.transport.get_write_buffer_size()


_COUNTED = (Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.PONG)


# struct linger, on and of no time: closing sends RST. Its fields are shorts on Windows.
_LINGER_NOT = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


def reset(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()


class Exchange:
    """`async with Exchange(market, clock=...)`: serves until the block ends.

    `clock` gives the exchange's time, UTC ms; trades are printed when it passes them. History reaches
    `history_hours` back from the moment the exchange opens. `rest_down` makes REST reset every connection;
    `archive_habits` says how the daily dumps look, which go back to the market's beginning.
    """

    def __init__(
        self,
        market: Market,
        *,
        clock: Clock,
        host: str = "127.0.0.1",
        port: int = 0,
        history_hours: float = 24,
        poll_s: float = 0.025,
        limits: Limits | None = None,
    ) -> None:
        self.market = market
        self.limits = limits or Limits()
        self.rest_down = False
        self.archive_habits = Habits()
        self._archive = StandInArchive(market)
        self.weights = WeightMeter(self.limits.weight_per_minute)
        self._clock, self._host, self._port = clock, host, port
        self._history_ms = round(history_hours * HOUR_MS)
        self._poll_s = poll_s
        self._links: set[Link] = set()
        self._connects = RateWindow(self.limits.connects_per_5_min, 300.0)

    @property
    def links(self) -> int:
        return len(self._open_links())

    @property
    def rest_url(self) -> str:
        return f"http://{_host_in_url(self._host)}:{self._port}"

    @property
    def stream_url(self) -> str:
        return f"ws://{_host_in_url(self._host)}:{self._port}"

    async def __aenter__(self) -> Self:
        self._printed_ms = self._clock()
        self._floor_ms = self._printed_ms - self._history_ms
        self._server = await self._listening()
        self._port = self._server.sockets[0].getsockname()[1]
        self._printing = asyncio.create_task(self._keep_printing())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._printing.cancel()
        await asyncio.wait([self._printing])
        self._server.close()
        await self._server.wait_closed()

    async def disconnect_all(self, code: int | None = 1001, reason: str = "") -> None:
        """Ends every link and waits until it has ended: with a close frame, or a TCP reset for None."""
        links = self._open_links()
        for link in links:
            if code is None:
                link.reset()
            else:
                link.end(code, reason)
        await asyncio.gather(*(link.wait_closed() for link in links))

    def _open_links(self) -> list[Link]:
        return [link for link in self._links if link.state is State.OPEN]

    async def _listening(self) -> Server:
        return await serve_websocket(
            cast("Callable[[ServerConnection], Awaitable[None]]", self._serve_link),
            self._host,
            self._port,
            process_request=cast(
                "Callable[[ServerConnection, Request], Awaitable[Response | None]]", self._admit
            ),
            create_connection=Link,
            compression=None,
            open_timeout=DUMP_S,
            ping_interval=None,  # its payload is four random bytes; the exchange sends the time
            close_timeout=self.limits.close_timeout_s,
            write_limit=self.limits.send_buffer_bytes,
        )

    # -- requests and links

    async def _admit(self, link: Link, request: Request) -> Response | None:
        """None lets the websocket handshake go on."""
        if is_stream_address(request.path) and "Upgrade" in request.headers:
            return self._open(link, request.path)
        if self.rest_down:
            reset(link.transport)
            await link.wait_closed()
            return _response(Reply(503, b""), self._clock())
        if is_archive_address(request.path):
            link.close_timeout = DUMP_S  # a large body is on its way for longer than a goodbye
            now_ms, habits = self._clock(), self.archive_habits
            found = await asyncio.to_thread(self._archive.respond, request.path, now_ms, habits)
            return _response(found, now_ms)
        tape = Tape(self.market, self._floor_ms, self._clock())
        reply = respond(tape, self.weights, request.method, request.path, request.headers)
        return _response(reply, tape.now_ms)

    def _open(self, link: Link, target: str) -> Response | None:
        if not self._connects.admits(link.loop.time()):
            return _response(Reply(429, b"", {"Retry-After": "300"}), self._clock())
        try:
            link.subscriptions, link.greeting = opened(target, self._clock())
        except StreamRefused as refusal:
            return _response(Reply(400, str(refusal).encode(), {"Content-Type": "text/plain"}), self._clock())
        return None

    async def _serve_link(self, link: Link) -> None:
        self._links.add(link)
        link.incoming = RateWindow(self.limits.messages_per_s, 1.0)
        lifetime = link.loop.call_later(
            self.limits.link_lifetime_s, link.end, CloseCode.GOING_AWAY, "going away"
        )
        pinging = asyncio.create_task(self._keep_pinging(link))
        try:
            with suppress(ConnectionClosed):
                await self._answer_requests(link)
        finally:
            self._links.discard(link)
            lifetime.cancel()
            pinging.cancel()
            await asyncio.wait([pinging])

    async def _answer_requests(self, link: Link) -> None:
        if link.greeting is not None:
            await link.send(link.greeting)
        async for text in link:
            await link.send(link.subscriptions.answer(text, self._clock()))

    async def _keep_pinging(self, link: Link) -> None:
        """A ping carries the time; a pong answers it and the earlier ones, if it copies the payload."""
        payload = 0
        while True:
            await asyncio.sleep(self.limits.ping_interval_s)
            payload = max(payload + 1, self._clock())
            try:
                pong = cast("asyncio.Future[float]", await link.ping(f"{payload:013d}"))
            except ConnectionClosed:
                return
            deadline = link.loop.call_later(
                self.limits.pong_timeout_s, link.end, CloseCode.POLICY_VIOLATION, "Pong timeout"
            )
            pong.add_done_callback(partial(_answered, deadline))

    # -- the tape

    async def _keep_printing(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._poll_s)
                await self._print_until(self._clock())
        except Exception:
            log.exception("the stand-in stopped printing trades")

    async def _print_until(self, now_ms: int) -> None:
        while self._printed_ms < now_ms:
            until_ms = min(now_ms, self._printed_ms + LONGEST_SLICE_MS)
            self._print_slice(self._printed_ms, until_ms)
            self._printed_ms = until_ms
            await asyncio.sleep(0)

    def _print_slice(self, after_ms: int, until_ms: int) -> None:
        links = self._open_links()
        trades = {
            symbol: self.market.trades(symbol, after_ms + 1, until_ms + 1)
            for symbol in _subscribed(self.market.symbols, links)
        }
        slice_ = Slice(trades, after_ms, until_ms)
        for link in links:
            for frame in slice_.frames(link.subscriptions):
                broadcast([link], frame, text=True)
            if link.unsent_bytes > self.limits.send_buffer_bytes:
                log.warning("slow link dropped", unsent_bytes=link.unsent_bytes)
                link.reset()


def _subscribed(symbols: Iterable[str], links: Iterable[Link]) -> list[str]:
    streams = set().union(*(link.subscriptions.since_ms for link in links))
    return [symbol for symbol in symbols if stream_name(symbol) in streams]


def _answered(deadline: asyncio.TimerHandle, _pong: "asyncio.Future[float]") -> None:
    deadline.cancel()


def _response(reply: Reply, now_ms: int) -> Response:
    """As a websockets response; it cannot keep the connection alive, and says so."""
    headers = {
        "Content-Type": "application/json;charset=UTF-8",
        "Date": formatdate(now_ms / 1000, usegmt=True),
        "Content-Length": str(len(reply.body)),
        "Connection": "close",
    }
    return Response(
        reply.status, HTTPStatus(reply.status).phrase, Headers(headers | reply.headers), reply.body
    )


def _host_in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
