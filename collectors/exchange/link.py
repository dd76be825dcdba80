"""One websocket link: events on their way through delays and buffers to the socket, pings and their answers.

Invariant: what is posted leaves in order, as the link's manner allows; nothing here waits for the peer.
"""

import asyncio
import math
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from websockets.asyncio.server import ServerConnection
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State

from collectors.exchange.distort import Way
from collectors.exchange.events import Ending, Event
from collectors.exchange.heartbeat import Heartbeat
from collectors.exchange.limits import Limits
from collectors.exchange.manner import Manner
from collectors.exchange.outlet import Outlet
from collectors.exchange.report import Breach, LinkReport
from collectors.exchange.streams import RateWindow, Subscriptions

log = structlog.get_logger()

_COUNTED = (Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.PONG)
# struct linger, on and of no time: closing sends RST. Its fields are shorts on Windows.
_LINGER_NOT = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


class Link(ServerConnection):
    """What it is subscribed to, what waits to be sent, and what is known of its client."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.subscriptions = Subscriptions()
        self.greeting: str | None = None
        self.is_silent = False
        self._ending: asyncio.Task[None] | None = None
        self._is_over = False
        self._is_served = False

    def begin(
        self, report: LinkReport, limits: Limits, clock: Callable[[], int], way: Way,
        punish: Callable[["Link", Breach, bool], None],
    ) -> None:  # fmt: skip
        """The handshake is done: from here on the link is one of the exchange's."""
        self.report, self.way = report, way
        self.manner = Manner(ping_interval_s=limits.ping_interval_s)
        self._limits, self._clock, self._punish = limits, clock, punish
        self._incoming = RateWindow(limits.messages_per_s, 1.0)
        self._outbox: deque[tuple[float, Event]] = deque()
        self._replies: deque[tuple[float, bytes]] = deque()
        self._outlet = Outlet(self.transport, report.opened_ms)
        self._heartbeat = Heartbeat(report.number, report.opened_ms)
        self._hindered_ms = self._burdened_ms = -math.inf
        self._kept_up_ms: float = report.opened_ms
        self._is_served = True

    @property
    def number(self) -> int:
        return self.report.number

    @property
    def is_open(self) -> bool:
        return self.state is State.OPEN and not self._is_over

    # -- out

    def post(self, events: Sequence[Event], now_ms: int) -> None:
        """Sends the events, or lets them wait as the manner says."""
        if self.is_open:
            self._outbox.extend((now_ms + self.manner.delay_ms, event) for event in events)
            self._release(now_ms)

    def post_payloads(self, payloads: Sequence[bytes], now_ms: int, oldest_ms: int) -> None:
        """The quick way for whatever no fault touches; `is_waiting` says whether it is open."""
        self._write_payloads(payloads)
        self._set_lag(now_ms - oldest_ms)

    @property
    def is_waiting(self) -> bool:
        """Whether events have to queue behind others."""
        return bool(self._outbox) or self.manner.holds or self.manner.delay_ms > 0 or self.manner.parts > 1

    def reply(self, text: str) -> None:
        delay_s = self.manner.ack_delay_s
        if delay_s == 0:
            self._write_payloads([text.encode()])
        elif delay_s is not None:
            self._replies.append((self._clock() + delay_s * 1000, text.encode()))

    def _release(self, now_ms: int) -> None:
        """Sends what is due; nothing overtakes."""
        while self._replies and self._replies[0][0] <= now_ms:
            self._write_payloads([self._replies.popleft()[1]])
        due: list[Event] = []
        while self._outbox and self._outbox[0][0] <= now_ms and not self.manner.holds:
            due.append(self._outbox.popleft()[1])
        self._note_lag(now_ms, due)
        self._write_events(due)

    def _note_lag(self, now_ms: int, sent: Sequence[Event]) -> None:
        first = sent[0] if sent else self._outbox[0][1] if self._outbox else None
        if first is not None:
            self._set_lag(now_ms - first.time_ms)

    def _set_lag(self, lag_ms: int) -> None:
        self.report.lag_ms = max(0, lag_ms)
        self.report.most_lag_ms = max(self.report.most_lag_ms, self.report.lag_ms)

    def _write_payloads(self, payloads: Sequence[bytes]) -> None:
        if self.is_open:
            for payload in payloads:
                self.protocol.send_text(payload)
            self.report.events += len(payloads)
            self.send_data()

    def _write_events(self, events: Sequence[Event]) -> None:
        for event in events:
            if not self.is_open:
                return
            if event.ending is not None and event.ending.how == "mid_frame":
                self._break_off(event.payload)
                return
            self._write_event(event)
            if event.ending is not None:
                self.finish(event.ending)
        if events and self.is_open:
            self.send_data()

    def _write_event(self, event: Event) -> None:
        self.report.events += 1
        if len(event.payload) > self._limits.send_buffer_bytes // 4:
            self._burdened_ms = self._clock()
        send = self.protocol.send_binary if event.is_binary else self.protocol.send_text
        parts = self.manner.parts
        if parts == 1:
            send(event.payload)
            return
        size = -(-len(event.payload) // parts) or 1
        cuts = [event.payload[at : at + size] for at in range(0, len(event.payload), size)] or [b""]
        for i, cut in enumerate(cuts):
            go = send if i == 0 else self.protocol.send_continuation
            go(cut, fin=i == len(cuts) - 1)
            self.send_data()

    def send_data(self) -> None:
        """What is due at one moment leaves as one write; frozen or trickling, it waits for its turn."""
        if not self._is_served:
            super().send_data()
            return
        pieces = self.protocol.data_to_send()
        self._outlet.put(b"".join(pieces))
        self.report.bytes_sent = self._outlet.sent
        if b"" in pieces and self.transport.can_write_eof():  # the protocol's sign for the end
            self._outlet.drain()
            self.transport.write_eof()

    # -- time

    def take_on(self, found: Manner, now_ms: int) -> None:
        """Behaves so from `now_ms` on; what that lets go is sent."""
        if self.is_open:
            self._take_on(found, now_ms)
            self._release(now_ms)

    def turn(self, now_ms: int) -> None:
        """The exchange's clock stands at `now_ms`: pings, and looks for missing pongs and full buffers."""
        if self.is_open:
            self._ping(now_ms)
            self._check(now_ms)

    def _take_on(self, found: Manner, now_ms: int) -> None:
        before, self.manner = self.manner, found
        if found.is_frozen and not before.is_frozen:
            self.transport.pause_reading()
        elif before.is_frozen and not found.is_frozen:
            self.transport.resume_reading()
        if found.hinders:
            self._hindered_ms = now_ms
        self._outlet.regulate(found.bytes_per_s, now_ms)
        self.report.bytes_sent = self._outlet.sent

    def _ping(self, now_ms: int) -> None:
        payload = self._heartbeat.due(now_ms, self.manner.ping_interval_s, self.manner.ping_jitter_s)
        if payload is not None:
            self.report.pings += 1
            self.protocol.send_ping(payload)
            self.send_data()

    def _check(self, now_ms: int) -> None:
        queued = self._outlet.queued
        self.report.bytes_queued = queued + sum(len(event.payload) for _, event in self._outbox)
        self.report.most_bytes_queued = max(self.report.most_bytes_queued, self.report.bytes_queued)
        if self._outbox or self.manner.bytes_per_s is not None:
            self._burdened_ms = now_ms
        if queued <= self._limits.send_buffer_bytes // 2:
            self._kept_up_ms = now_ms
        pinged_ms = self._heartbeat.waiting_since_ms
        if pinged_ms is not None and now_ms - pinged_ms >= self._limits.pong_timeout_s * 1000:
            self._punish(self, "pong timeout", self._hindered_ms >= pinged_ms)
            self.finish(Ending("close", CloseCode.POLICY_VIOLATION, "Pong timeout"))
        elif queued > self._limits.send_buffer_bytes:
            self._punish(self, "slow reader", self._burdened_ms >= self._kept_up_ms)
            code = self._limits.slow_reader_code
            self.finish(Ending("reset") if code is None else Ending("close", code, "Slow reader"))
        elif now_ms - self.report.opened_ms >= self._limits.link_lifetime_s * 1000:
            self.finish(Ending("close", CloseCode.GOING_AWAY, "going away"))

    # -- in

    def data_received(self, data: bytes) -> None:
        if self._is_served and self.manner.deaf_to == "all":
            return
        super().data_received(data)

    def process_event(self, event: Any) -> None:
        if not (self._is_served and isinstance(event, Frame) and event.opcode in _COUNTED):
            super().process_event(event)
            return
        self.report.received += 1
        admitted = self._incoming.admits(self._clock() / 1000)
        self.report.most_received_per_s = max(self.report.most_received_per_s, self._incoming.count)
        if not admitted:
            self._reject()
        elif event.opcode is Opcode.PONG:
            self._ponged(bytes(event.data))
        else:
            super().process_event(event)

    def _reject(self) -> None:
        if self.is_open:
            self._punish(self, "too many requests", False)
            self.finish(Ending("close", CloseCode.POLICY_VIOLATION, "Too many requests"))

    def _ponged(self, payload: bytes) -> None:
        if self.manner.deaf_to == "pongs":
            return
        if self._heartbeat.answered(payload):
            self.report.pongs += 1
        else:
            self.report.unsolicited_pongs += 1

    # -- the end

    def finish(self, ending: Ending) -> None:
        """Ends the link, once."""
        if not self.is_open:
            return
        log.info("link closed", link=self.number, how=ending.how, code=ending.code, reason=ending.reason)
        named = ending.how == "close"
        self.report.ending = f"{ending.code} {ending.reason}".strip() if named else ending.how
        self.send_data()
        self._is_over = True
        if named:
            self._ending = self.loop.create_task(self.close(ending.code, ending.reason))
        elif ending.how == "reset":
            reset(self.transport)
        elif ending.how == "mid_frame":
            self._break_off(b'{"stream":"!serverShutdown","data":{"e":"serverShutdown"')
        else:
            self.transport.close()

    def _break_off(self, payload: bytes) -> None:
        """Half a frame, then the end of the connection."""
        self._is_over = True
        self.report.ending = "mid_frame"
        frame = Frame(Opcode.TEXT, payload).serialize(mask=False)
        self._outlet.put(frame[: len(frame) // 2])
        self._outlet.drain()
        self.transport.close()


def reset(transport: asyncio.Transport) -> None:
    """Drops the TCP connection without a goodbye: the peer reads a reset."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:  # the peer may have gone before
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()
