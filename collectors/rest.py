"""Binance's public REST: one client for all of it, within the request weight that the exchange allows.

Invariant: the exchange's own count decides (X-MBX-USED-WEIGHT-1M), and a 429 or 418 is obeyed to the second.
"""

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec
import structlog

from collectors.binance import (
    DEFAULT_WEIGHT_LIMIT,
    ApiError,
    ExchangeInfo,
    WireError,
    parse_agg_trades,
    parse_api_error,
    parse_exchange_info,
)
from collectors.clock import Clock
from collectors.links import LOOPBACK
from storage.trades import TradeColumns

log = structlog.get_logger()

MINUTE_MS = 60_000
AGG_TRADES_WEIGHT = 4
EXCHANGE_INFO_WEIGHT = 20
PAGE = 1000
# How much of the exchange's limit is spent.
SHARE = 5 / 6
INVALID_SYMBOL = -1121

T = TypeVar("T")


class RestError(Exception):
    """The exchange's REST did not answer a request.

    RestError
    ├── RestAway       no answer, or one that is none: retry later
    └── RestRefused    the exchange's own error, with its code
    """


class RestAway(RestError):
    pass


class RestRefused(RestError):
    def __init__(self, error: ApiError) -> None:
        super().__init__(f"{error.msg} (code {error.code})")
        self.code = error.code


class WeightBudget:
    """How much request weight may still be spent this minute; times are UTC milliseconds of the caller's.

    The count starts anew at each full minute; `share` of the limit is ours to spend.
    """

    def __init__(self, limit: int = DEFAULT_WEIGHT_LIMIT, share: float = SHARE) -> None:
        self.limit = limit
        self._share = share
        self._minute = 0
        self._used = 0
        self._barred_until_ms = 0

    def wait_ms(self, weight: int, now_ms: int) -> int:
        """How long to wait before a request of this weight; 0 = send it, and it is counted."""
        if now_ms < self._barred_until_ms:
            return self._barred_until_ms - now_ms
        self._turn(now_ms)
        if self._used + weight > max(self.limit * self._share, weight):
            return MINUTE_MS - now_ms % MINUTE_MS
        self._used += weight
        return 0

    def seen(self, used: int, now_ms: int) -> None:
        """The exchange's own count of this minute."""
        self._turn(now_ms)
        self._used = max(self._used, used)

    def bar(self, seconds: int, now_ms: int) -> None:
        """The exchange asked for silence."""
        self._barred_until_ms = max(self._barred_until_ms, now_ms + seconds * 1000)

    def _turn(self, now_ms: int) -> None:
        if now_ms // MINUTE_MS != self._minute:
            self._minute, self._used = now_ms // MINUTE_MS, 0


class BinanceRest:
    """The requests that a recorder makes; every method raises `RestAway` or `RestRefused`."""

    def __init__(self, base_url: str, clock: Clock, *, share: float = SHARE) -> None:
        self.base_url = base_url.rstrip("/")
        self._clock = clock
        self.budget = WeightBudget(share=share)
        self._client = httpx.AsyncClient(
            base_url=self.base_url,
            timeout=httpx.Timeout(15, connect=5),
            trust_env=urlsplit(base_url).hostname not in LOOPBACK,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def exchange_info(self, symbols: Sequence[str]) -> ExchangeInfo:
        """Filters of the symbols; `RestRefused` with code -1121 when one of them does not exist."""
        several = {"symbols": msgspec.json.encode(list(symbols)).decode()}
        query = {"symbol": symbols[0]} if len(symbols) == 1 else several
        body = await self._get("/api/v3/exchangeInfo", query, EXCHANGE_INFO_WEIGHT)
        info = self._understood(parse_exchange_info, body)
        self.budget.limit = info.weight_limit
        return info

    async def trades_from_id(self, symbol: str, first_id: int) -> TradeColumns:
        """Up to 1,000 rows from `first_id` on; the exchange jumps ahead where its history begins later."""
        return await self._agg_trades({"symbol": symbol, "fromId": first_id, "limit": PAGE})

    async def trades_from_time(self, symbol: str, start_ms: int) -> TradeColumns:
        """Up to 1,000 rows from the first one with T >= `start_ms` on."""
        return await self._agg_trades({"symbol": symbol, "startTime": start_ms, "limit": PAGE})

    async def _agg_trades(self, query: Mapping[str, str | int]) -> TradeColumns:
        body = await self._get("/api/v3/aggTrades", query, AGG_TRADES_WEIGHT)
        page = self._understood(parse_agg_trades, body)
        for malformed in page.malformed:
            log.warning("row skipped", reason=malformed.reason, text=malformed.text)
        if page.malformed and not len(page.trades):
            raise RestAway(f"{self.base_url}: a page of {len(page.malformed)} rows without a readable one")
        return page.trades

    async def _get(self, path: str, query: Mapping[str, str | int], weight: int) -> bytes:
        while wait_ms := self.budget.wait_ms(weight, self._clock()):
            log.debug("rest waits", wait_s=wait_ms / 1000)
            await self._clock.sleep(wait_ms / 1000)
        try:
            reply = await self._client.get(path, params=dict(query))
        except httpx.HTTPError as error:
            raise RestAway(f"{self.base_url}: {error or type(error).__name__}") from error
        self._note_weight(reply)
        if reply.status_code == httpx.codes.OK:
            return reply.content
        refusal = parse_api_error(reply.content)
        if reply.status_code == httpx.codes.BAD_REQUEST and refusal is not None:
            raise RestRefused(refusal)
        raise RestAway(
            f"{self.base_url}: status {reply.status_code} {refusal.msg if refusal else ''}".rstrip()
        )

    def _note_weight(self, reply: httpx.Response) -> None:
        used = reply.headers.get("X-MBX-USED-WEIGHT-1M", "")
        if used.isdigit():
            self.budget.seen(int(used), self._clock())
        if reply.status_code in (429, 418):
            asked = reply.headers.get("Retry-After", "")
            seconds = int(asked) if asked.isdigit() else 60
            self.budget.bar(seconds, self._clock())
            log.warning("rest barred", status=reply.status_code, seconds=seconds)

    def _understood(self, parse: Callable[[bytes], T], body: bytes) -> T:
        try:
            return parse(body)
        except WireError as error:
            raise RestAway(f"{self.base_url}: {error}") from error
