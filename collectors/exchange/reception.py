"""Requests as they come in: REST to the desk, dumps from the archive, upgrades to the door; hanging up.

Invariant: whoever is kept waiting is let go when the exchange closes.
"""

import asyncio
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from collectors.exchange.archive import Habits, StandInArchive, is_archive_address
from collectors.exchange.clock import Pause
from collectors.exchange.desk import Desk
from collectors.exchange.door import Door
from collectors.exchange.limits import Limits
from collectors.exchange.link import Link, reset
from collectors.exchange.replies import Reply
from collectors.exchange.streams import StreamRefused, is_stream_address, opened

# A large body is on its way for longer than a goodbye.
DUMP_S = 120.0


class Reception:
    """`rest_down` makes REST reset every connection."""

    def __init__(
        self,
        desk: Desk,
        door: Door,
        archive: StandInArchive,
        limits: Limits,
        *,
        clock: Callable[[], int],
        pause: Pause,
    ) -> None:
        self.rest_down = False
        self.archive_habits = Habits()
        self._desk, self._door, self._archive, self._limits = desk, door, archive, limits
        self._clock, self._pause = clock, pause

    async def admit(self, link: Link, request: Request) -> Response | None:
        """None lets the websocket handshake go on."""
        if is_stream_address(request.path) and "Upgrade" in request.headers:
            return await self._knock(link, request.path)
        if self.rest_down:
            return await self._hang_up(link)
        if is_archive_address(request.path):
            return await self._dump(link, request.path)
        answer = await self._desk.answer(request.method, request.path, request.headers)
        response = _response(answer.reply, self._clock())
        if answer.reset_after is None:
            return response
        raw = response.serialize()
        body = len(answer.reply.body)
        if answer.reset_after:
            link.transport.write(raw[: len(raw) - round(body * answer.reset_after)])
        return await self._hang_up(link)

    async def _dump(self, link: Link, target: str) -> Response:
        link.close_timeout = DUMP_S
        now_ms, habits = self._clock(), self.archive_habits
        found = await asyncio.to_thread(self._archive.respond, target, now_ms, habits)
        return _response(found, now_ms)

    async def _knock(self, link: Link, target: str) -> Response | None:
        verdict = self._door.knock(self._clock())
        await self._pause.sleep(verdict.delay_s)
        match verdict.how:
            case "status":
                return _response(verdict.reply, self._clock())
            case "hang":
                await self._until_closed(link)
                return await self._hang_up(link)
            case "reset":
                return await self._hang_up(link)
        link.is_silent = verdict.how == "silent"
        try:
            link.subscriptions, link.greeting = opened(
                target, self._clock(), flat_errors=self._limits.flat_errors
            )
        except StreamRefused as refusal:
            return _response(Reply(400, str(refusal).encode(), {"Content-Type": "text/plain"}), self._clock())
        return None

    async def _hang_up(self, link: Link) -> Response:
        reset(link.transport)
        await link.wait_closed()
        return _response(Reply(503, b""), self._clock())

    async def _until_closed(self, link: Link) -> None:
        waits = [asyncio.ensure_future(link.wait_closed()), asyncio.ensure_future(self._pause.ended())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


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
