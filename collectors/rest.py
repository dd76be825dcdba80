"""Binance's public REST: one client for all of it, within the request weight that the exchange allows.

Invariant: the exchange's own count decides (X-MBX-USED-WEIGHT-1M), and a 429 or 418 is obeyed to the second,
whichever process met it. Waits go by the steady clock.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec
import structlog

from collectors.binance import ApiError, WireError
from collectors.clock import Clock
from collectors.kept_bars import KeptBars
from collectors.links import LOOPBACK
from collectors.request_weight import SHARE, WeightBudget
from collectors.rest_bodies import (
    AggTradesPage,
    ExchangeInfo,
    parse_agg_trades,
    parse_api_error,
    parse_exchange_info,
    parse_server_time,
)
from storage.trades import TradeColumns

log = structlog.get_logger()

AGG_TRADES_WEIGHT = 4
EXCHANGE_INFO_WEIGHT = 20
TIME_WEIGHT = 1
PAGE = 1000
# The exchange gives its own answer up after 10 s, and says so.
REPLY_S = 15.0
CONNECT_S = 5.0
# How many seconds are waited where a refusal does not say: to the minute's end, and a ban's least.
TOO_MANY = {429: 60, 418: 120}
# As no other question asks for so few, no page that is repeated is taken for the oldest one.
OLDEST = 10
INVALID_SYMBOL = -1121

T = TypeVar("T")


class RestError(Exception):
    """The exchange's REST did not answer a request.

    RestError
    ├── RestAway               no answer, or one that is none: retry later
    │   └── RestContradicts    answers about a symbol that do not fit the question or each other
    └── RestRefused            the exchange's own error, with its code
    """


class RestAway(RestError):
    pass


class RestContradicts(RestAway):
    pass


class RestRefused(RestError):
    def __init__(self, error: ApiError) -> None:
        super().__init__(f"{error.msg} (code {error.code})")
        self.code = error.code


@dataclass(frozen=True, slots=True)
class ToldTime:
    """The exchange's clock, UTC ms, and our steady one when the question was sent and the answer came."""

    time_ms: int
    sent_ms: int
    came_ms: int


@dataclass(frozen=True, slots=True)
class RestUse:
    """What was asked of REST since the start: replies by status (`none`: there was no answer), refusals for
    too many requests by status and how long they asked to wait; the weight used this minute, and its limit;
    rows of pages that could not be read.
    """

    replies: Mapping[str, int]
    barred: Mapping[str, int]
    barred_s: int
    weight_used: int
    weight_limit: int
    malformed_rows: int


@dataclass(frozen=True, slots=True)
class _Answer:
    body: bytes
    sent_ms: int
    came_ms: int


class BinanceRest:
    """The requests that a recorder makes; every method raises `RestAway` or `RestRefused`.

    `bars` are the exchange's requests for silence; one longer than `patience_s` is no reason to wait, but to
    say that REST is away.
    """

    def __init__(
        self,
        base_url: str,
        clock: Clock,
        *,
        share: float = SHARE,
        reply_s: float = REPLY_S,
        bars: KeptBars | None = None,
        patience_s: float = math.inf,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.bars = bars or KeptBars(clock)
        self.budget = WeightBudget(share=share)
        # Until the exchange's clock has been asked; a time that is set later moves no minute.
        self.budget.offset_ms = clock() - clock.steady_ms()
        self._clock = clock
        self._host = urlsplit(base_url).netloc
        self._patience_s = patience_s
        self._was_answered = False
        self._first = asyncio.Lock()
        self._replies: Counter[str] = Counter()
        self._barred: Counter[str] = Counter()
        self._barred_s = 0
        self._malformed_rows = 0
        self._client = httpx.AsyncClient(
            base_url=self.base_url,
            timeout=httpx.Timeout(reply_s, connect=CONNECT_S),
            trust_env=urlsplit(base_url).hostname not in LOOPBACK,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()
        await self.bars.written()

    async def exchange_info(self, symbols: Sequence[str]) -> ExchangeInfo:
        """Filters of the symbols; `RestRefused` with code -1121 when one of them does not exist."""
        several = {"symbols": msgspec.json.encode(list(symbols)).decode()}
        query = {"symbol": symbols[0]} if len(symbols) == 1 else several
        answer = await self._get("/api/v3/exchangeInfo", query, EXCHANGE_INFO_WEIGHT, hurried=False)
        info = self._understood(parse_exchange_info, answer.body)
        self.budget.limit = info.weight_limit
        return info

    async def server_time(self) -> ToldTime:
        """The exchange's clock."""
        answer = await self._get("/api/v3/time", {}, TIME_WEIGHT, hurried=False)
        return ToldTime(self._understood(parse_server_time, answer.body), answer.sent_ms, answer.came_ms)

    @property
    def use(self) -> RestUse:
        """What has been asked so far."""
        used = self.budget.used(self._clock.steady_ms())
        replies, barred = dict(self._replies), dict(self._barred)
        return RestUse(replies, barred, self._barred_s, used, self.budget.limit, self._malformed_rows)

    async def page_from_id(self, symbol: str, first_id: int, *, hurried: bool = True) -> AggTradesPage:
        """Up to 1,000 rows from `first_id` on, and what could not be read of them.

        The exchange jumps ahead where its history begins later. Raises `RestContradicts` for a page of
        earlier ids, which is the answer to another question.
        """
        query: dict[str, str | int] = {"symbol": symbol, "fromId": first_id, "limit": PAGE}
        page = await self._agg_trades(query, hurried=hurried)
        if len(page.trades) and int(page.trades.id.min()) < first_id:
            raise RestContradicts(f"{self.base_url}: id {page.trades.id.min()} in a page from {first_id} on")
        return page

    async def trades_from_id(self, symbol: str, first_id: int, *, hurried: bool = True) -> TradeColumns:
        """The rows of `page_from_id`."""
        return (await self.page_from_id(symbol, first_id, hurried=hurried)).trades

    async def trades_from_time(self, symbol: str, start_ms: int) -> TradeColumns:
        """Up to 1,000 rows from the first one with T >= `start_ms` on."""
        return (await self._agg_trades({"symbol": symbol, "startTime": start_ms, "limit": PAGE})).trades

    async def oldest_trades(self, symbol: str) -> TradeColumns:
        """The oldest ten rows that REST has. Raises `RestContradicts` for more."""
        rows = (
            await self._agg_trades({"symbol": symbol, "fromId": 0, "limit": OLDEST}, hurried=False)
        ).trades
        if len(rows) > OLDEST:
            raise RestContradicts(f"{self.base_url}: {len(rows)} rows where {OLDEST} were asked for")
        return rows

    async def newest_trades(self, symbol: str, *, hurried: bool = True) -> TradeColumns:
        """The newest 1,000 rows that REST shows."""
        return (await self._agg_trades({"symbol": symbol, "limit": PAGE}, hurried=hurried)).trades

    async def _agg_trades(self, query: Mapping[str, str | int], *, hurried: bool = True) -> AggTradesPage:
        answer = await self._get("/api/v3/aggTrades", query, AGG_TRADES_WEIGHT, hurried=hurried)
        page = self._understood(parse_agg_trades, answer.body)
        self._malformed_rows += len(page.malformed)
        if page.malformed:
            first = page.malformed[0]
            log.warning("rows skipped", rows=len(page.malformed), reason=first.reason, text=first.text)
        if page.malformed and not len(page.trades):
            raise RestAway(f"{self.base_url}: a page of {len(page.malformed)} rows without a readable one")
        return page

    async def _get(self, path: str, query: Mapping[str, str | int], weight: int, *, hurried: bool) -> _Answer:
        """One by one until there was a reply: it tells how much of this minute's weight is used already,
        perhaps by the process before this one."""
        if not self._was_answered:
            async with self._first:
                if not self._was_answered:
                    return await self._ask(path, query, weight, hurried=hurried)
        return await self._ask(path, query, weight, hurried=hurried)

    async def _ask(self, path: str, query: Mapping[str, str | int], weight: int, *, hurried: bool) -> _Answer:
        while wait_ms := self._wait_ms(weight, hurried=hurried):
            log.debug("rest waits", wait_s=wait_ms / 1000)
            await self._clock.sleep(wait_ms / 1000)
        return await self._send(path, query)

    def _wait_ms(self, weight: int, *, hurried: bool) -> int:
        """How long to wait for the exchange's and the budget's leave; 0 = send it, and it is counted."""
        barred_ms = self.bars.left_ms("rest", self._host)
        if barred_ms > self._patience_s * 1000:
            raise RestAway(f"{self.base_url}: asked for no request in the next {barred_ms / 1000:.0f} s")
        return barred_ms or self.budget.wait_ms(weight, self._clock.steady_ms(), hurried=hurried)

    async def _send(self, path: str, query: Mapping[str, str | int]) -> _Answer:
        sent_ms = self._clock.steady_ms()
        try:
            reply = await self._client.get(path, params=dict(query))
        except httpx.HTTPError as error:
            self._replies["none"] += 1
            raise RestAway(f"{self.base_url}: {str(error) or type(error).__name__}") from error
        self._note(reply, sent_ms)
        if reply.status_code == httpx.codes.OK:
            return _Answer(reply.content, sent_ms, self._clock.steady_ms())
        refusal = parse_api_error(reply.content)
        if reply.status_code == httpx.codes.BAD_REQUEST and refusal is not None:
            raise RestRefused(refusal)
        raise RestAway(
            f"{self.base_url}: status {reply.status_code} {refusal.msg if refusal else ''}".rstrip()
        )

    def _note(self, reply: httpx.Response, sent_ms: int) -> None:
        self._was_answered = True
        self._replies[str(reply.status_code)] += 1
        used = _whole(reply.headers.get("X-MBX-USED-WEIGHT-1M", ""))
        if used is not None:
            self.budget.seen(used, sent_ms)
        if reply.status_code in TOO_MANY:
            asked = _whole(reply.headers.get("Retry-After", ""))
            seconds = TOO_MANY[reply.status_code] if asked is None else max(1, asked)
            self.bars.bar("rest", self._host, seconds, reply.status_code)
            self._barred[str(reply.status_code)] += 1
            self._barred_s += seconds
            log.warning("rest barred", status=reply.status_code, seconds=seconds)

    def _understood(self, parse: Callable[[bytes], T], body: bytes) -> T:
        try:
            return parse(body)
        except WireError as error:
            raise RestAway(f"{self.base_url}: {error}") from error


def _whole(header: str) -> int | None:
    """A header's number, what is beyond any use of it cut off; None where it is none."""
    return int(header[:9]) if header.isascii() and header.isdigit() else None
