"""The stand-in on one loopback port: plain GETs are REST or dumps, upgrades are websocket links.

Invariant: all that happens by time happens by the exchange's clock, in one loop; a link that reads slowly,
or not at all, is dropped and never delays another. A trade's way: truth, faults, link, socket.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Self, cast

import structlog
from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as serve_websocket
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from collectors.exchange.archive import Habits, StandInArchive
from collectors.exchange.clock import Pause
from collectors.exchange.desk import Desk
from collectors.exchange.distort import Way
from collectors.exchange.door import Door
from collectors.exchange.events import Ending
from collectors.exchange.faults import AnyFault, TruthFault, UnknownFault
from collectors.exchange.limits import Limits
from collectors.exchange.link import Link
from collectors.exchange.market import Market
from collectors.exchange.oracle import Difference, difference, ledger
from collectors.exchange.press import Press
from collectors.exchange.reception import Reception
from collectors.exchange.report import Breach, LinkReport, Punishment, Report
from collectors.exchange.script import FaultScript
from collectors.exchange.truth import Archived, Truth, declare
from collectors.exchange.weights import WeightMeter
from storage.trades import TradeColumns

log = structlog.get_logger()

Clock = Callable[[], int]
HOUR_MS = 3_600_000


class Exchange:
    """`async with Exchange(market, clock=...)`: serves until the block ends.

    `clock` gives the exchange's time, UTC ms, and all its timers run by it; trades are printed when it passes
    them. History reaches `history_hours` back from the moment the exchange opens. `faults` are put in at that
    moment, others whenever `inject` is called. `rest_down` makes REST reset every connection;
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
        faults: Sequence[AnyFault] = (),
    ) -> None:
        self.market = Truth(market)
        self.limits = limits or Limits()
        self.script = FaultScript()
        self._clock, self._host, self._port = clock, host, port
        self._history_ms = round(history_hours * HOUR_MS)
        self._poll_s = poll_s
        self._faults = faults
        self._links: dict[int, Link] = {}
        self._reports: list[LinkReport] = []
        self._punishments: list[Punishment] = []
        self._door = Door(self.limits, self.script, self._punish)
        self._pause = Pause(clock, poll_s)
        self._desk = Desk(
            self.market, self.script, self.limits, clock=clock, sleep=self._pause.sleep, punish=self._punish
        )
        self._reception = Reception(
            self._desk,
            self._door,
            StandInArchive(Archived(self.market)),
            self.limits,
            clock=clock,
            pause=self._pause,
        )
        self._press = Press(
            self.market, self.script, self.limits, links=self._open_links, skew_ms=self._desk.skew_ms
        )

    @property
    def links(self) -> int:
        return len(self._open_links())

    @property
    def rest_down(self) -> bool:
        return self._reception.rest_down

    @rest_down.setter
    def rest_down(self, is_down: bool) -> None:
        self._reception.rest_down = is_down

    @property
    def archive_habits(self) -> Habits:
        return self._reception.archive_habits

    @archive_habits.setter
    def archive_habits(self, habits: Habits) -> None:
        self._reception.archive_habits = habits

    @property
    def weights(self) -> WeightMeter:
        return self._desk.weights

    @property
    def rest_url(self) -> str:
        return f"http://{_host_in_url(self._host)}:{self._port}"

    @property
    def stream_url(self) -> str:
        return f"ws://{_host_in_url(self._host)}:{self._port}"

    async def __aenter__(self) -> Self:
        self._press.begin(self._clock())
        self._desk.floor_ms = self._press.printed_ms - self._history_ms
        for fault in self._faults:
            self.inject(fault)
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
        self._pause.end()
        self._printing.cancel()
        await asyncio.wait([self._printing])
        for link in self._open_links():
            if link.manner.bytes_per_s is not None:
                link.finish(Ending("reset"))
        self._server.close()
        await self._server.wait_closed()

    async def disconnect_all(self, code: int | None = 1001, reason: str = "") -> None:
        """Ends every link and waits until it has ended: with a close frame, or a TCP reset for None."""
        links = self._open_links()
        for link in links:
            link.finish(Ending("reset") if code is None else Ending("close", code, reason))
        await asyncio.gather(*(link.wait_closed() for link in links))

    async def caught_up(self) -> None:
        """Until all has been done that was due by now."""
        now_ms = self._clock()
        while self._press.turned_ms < now_ms:  # noqa: ASYNC110  what is waited for is a time
            await asyncio.sleep(self._poll_s)

    def printed_id(self, symbol: str) -> int:
        """The newest id that has been printed."""
        return self.market.first_id_from(symbol, self._press.printed_ms + 1) - 1

    def due_id(self, symbol: str) -> int:
        """The newest id that is due: printing is behind where the machine is. Faults begin after it."""
        return self.market.first_id_from(symbol, self._clock() + 1) - 1

    async def printed(self, symbol: str, trade_id: int) -> None:
        """Until the trade has been printed: the moment to kill a client, say."""
        while self.printed_id(symbol) < trade_id:  # noqa: ASYNC110  what is waited for is a time
            await asyncio.sleep(self._poll_s)

    # -- the script and the judge

    def inject(self, fault: AnyFault) -> int:
        """Puts a fault in; its number. Raises `UnknownFault` for a scope that its kind cannot have."""
        placed = self.script.add(fault, self._clock())
        try:
            declare(self.market, placed)
        except ValueError as error:
            self.script.remove(placed.number)
            raise UnknownFault(str(error)) from error
        return placed.number

    def clear(self, number: int | None = None) -> bool:
        """Takes a fault out, or all of them; whether there was one. What is true stays true, and in."""
        found = [
            placed.number
            for placed in self.script
            if number in (None, placed.number) and not isinstance(placed.fault, TruthFault)
        ]
        for each in found:
            self.script.remove(each)
        return bool(found)

    def report(self) -> Report:
        now_ms = self._clock()
        return Report(
            now_ms=now_ms,
            links=[replace(report) for report in self._reports],
            connects_in_5_min=self._door.connects.count,
            most_connects_in_5_min=self._door.connects.most,
            weight_used=self.weights.used(now_ms),
            most_weight_used=self.weights.most_used,
            requests=dict(self._desk.requests),
            queries=dict(self._desk.queries),
            statuses=dict(self._desk.statuses),
            faults_hit=self.script.hits(),
            punishments=list(self._punishments),
        )

    def ledger(self, symbol: str, first_id: int, last_id: int) -> TradeColumns:
        """The trades of first_id..last_id that a complete record holds, as far as they are printed."""
        return ledger(self.market, symbol, first_id, min(last_id, self.printed_id(symbol)))

    def difference(self, symbol: str, rows: TradeColumns) -> Difference:
        """What a client's rows lack, have too much or have otherwise between their first and last id."""
        if len(rows) == 0:
            raise ValueError(f"no rows of {symbol} to compare")
        return difference(self.ledger(symbol, int(rows.id.min()), int(rows.id.max())), rows)

    def _punish(self, breach: Breach, at_ms: int, provoked: bool, link: int | None = None) -> None:
        log.warning("client punished", breach=breach, link=link, provoked=provoked)
        self._punishments.append(Punishment(breach, at_ms, link, provoked))
        if breach == "weight ban" and self.limits.ban_ends_links:
            for each in self._open_links():
                each.finish(Ending("reset"))

    def _punish_link(self, link: Link, breach: Breach, provoked: bool) -> None:
        self._punish(breach, self._clock(), provoked, link.number)
        if breach == "too many requests":
            self._door.note_flood(self._clock())

    # -- requests and links

    def _open_links(self) -> list[Link]:
        return [link for link in self._links.values() if link.is_open]

    async def _listening(self) -> Server:
        return await serve_websocket(
            cast("Callable[[ServerConnection], Awaitable[None]]", self._serve_link),
            self._host,
            self._port,
            process_request=cast(
                "Callable[[ServerConnection, Request], Awaitable[Response | None]]", self._reception.admit
            ),
            create_connection=Link,
            compression=None,
            open_timeout=None,  # a script may let a client wait for longer
            ping_interval=None,  # its payload is four random bytes; the exchange sends the time
            close_timeout=self.limits.close_timeout_s,
            write_limit=self.limits.send_buffer_bytes,
        )

    async def _serve_link(self, link: Link) -> None:
        report = LinkReport(len(self._reports) + 1, link.request.path if link.request else "", self._clock())
        self._reports.append(report)
        self._links[report.number] = link
        way = Way(link.subscriptions, self.market.streamed_id)
        link.begin(report, self.limits, self._clock, way, self._punish_link)
        self._press.instruct(link, self._clock())
        try:
            with suppress(ConnectionClosed):
                await self._answer_requests(link)
        finally:
            del self._links[report.number]
            report.closed_ms = self._clock()
            report.ending = report.ending or "by the client"

    async def _answer_requests(self, link: Link) -> None:
        if link.greeting is not None:
            link.reply(link.greeting)
        async for text in link:
            link.reply(link.subscriptions.answer(text, self._clock()))
            if not link.subscriptions.asked_too_much:
                continue
            link.subscriptions.asked_too_much = False
            self._punish_link(link, "too many streams", False)
            if self.limits.too_many_streams_code is not None:
                link.finish(Ending("close", self.limits.too_many_streams_code, "Too many streams"))

    async def _keep_printing(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                await self._press.print_until(self._clock())
            except Exception:
                log.exception("the stand-in lost a slice of its tape")


def _host_in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
