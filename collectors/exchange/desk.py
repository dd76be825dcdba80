"""The REST side with its faults: a request, the reply that it is due, and what a script makes of that.

Invariant: the request is charged whatever is replied; no I/O but waiting by the exchange's clock.
"""

import gzip
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from collectors.exchange.faults import (
    ClockSkew,
    RestFault,
    RestLimit,
    RestRepeat,
    RestReply,
    RestReset,
    RestShort,
    RestSlow,
)
from collectors.exchange.limits import Limits
from collectors.exchange.replies import Reply, error_body
from collectors.exchange.rest import USED_WEIGHT, Tape, respond
from collectors.exchange.script import FaultScript, Placed, newest
from collectors.exchange.truth import Truth
from collectors.exchange.veil import Veil
from collectors.exchange.weights import Punish, WeightMeter

_HTML = b"<html><head><title>ERROR: The request could not be satisfied</title></head><body>403</body></html>"


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, and after how much of its body (0.0 to 1.0) the connection is reset; None: it is not."""

    reply: Reply
    reset_after: float | None = None


class Desk:
    """Answers requests; `sleep` waits in seconds of the exchange's clock."""

    def __init__(
        self,
        truth: Truth,
        script: FaultScript,
        limits: Limits,
        *,
        clock: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]],
        punish: Punish,
    ) -> None:
        self.weights = WeightMeter(
            limits.weight_per_minute, punish, in_flight_ms=round(limits.in_flight_s * 1000)
        )
        self.floor_ms = 0
        self.requests: Counter[str] = Counter()
        self.queries: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self._truth, self._script, self._limits = truth, script, limits
        self._clock, self._sleep = clock, sleep
        self._last_pages: dict[str, Reply] = {}

    def skew_ms(self) -> int:
        """How far the clock that the exchange tells is off."""
        skew = newest(self._script.lasting(ClockSkew, self._clock()))
        if skew is None:
            return 0
        skew.hit()
        return skew.fault.ms

    async def answer(self, method: str, target: str, headers: Mapping[str, str]) -> Answer:
        url = urlsplit(target)
        query = parse_qs(url.query)
        self.requests[url.path] += 1
        self.queries[f"{url.path}?{'&'.join(sorted(query))}"] += 1
        faults = self._faults(url.path, query.get("symbol", [""])[-1])
        tape = self.tape(self._clock())
        reply = _cased(respond(tape, self.weights, method, target, headers), self.requests.total())
        answer = self._distorted(url.path, Answer(reply), faults)
        for placed in faults:
            if isinstance(placed.fault, RestSlow):  # the request itself counted as it came
                placed.hit()
                await self._sleep(placed.fault.delay_s)
        self.statuses[str(answer.reply.status)] += 1
        return answer

    def tape(self, now_ms: int) -> Tape:
        """What is shown at the moment."""
        return Tape(
            self._truth,
            self.floor_ms,
            now_ms,
            Veil(self._script, now_ms),
            self.skew_ms(),
            self._limits.refuses_large_limit,
        )

    def _faults(self, path: str, symbol: str) -> list[Placed[RestFault]]:
        """Those that are about this request; a limit is about the address, whatever is asked."""
        now_ms, asked = self._clock(), self.requests.total()
        for placed in self._script.lasting(RestLimit, now_ms):
            self._impose(placed, now_ms)
        return [
            placed
            for placed in self._script.lasting(RestFault, now_ms)
            if path.endswith(placed.fault.path)
            and (not placed.fault.symbols or symbol in placed.fault.symbols)
            and placed.is_in_share(asked)
        ]

    def _impose(self, placed: Placed[RestLimit], now_ms: int) -> None:
        """Once, from the fault's beginning on."""
        until_ms = placed.from_ms + placed.fault.seconds * 1000
        if placed.hits == 0 and now_ms < until_ms:
            placed.hit()
            impose = self.weights.limit_until if placed.fault.status == 429 else self.weights.ban_until
            impose(until_ms)

    def _distorted(self, path: str, answer: Answer, faults: list[Placed[RestFault]]) -> Answer:
        page = answer.reply if path.endswith("/aggTrades") and answer.reply.status == 200 else None
        for placed in faults:
            before = answer
            answer = self._hit(placed.fault, answer, self._last_pages.get(path))
            if answer is not before:
                placed.hit()
                if isinstance(placed.fault, RestRepeat) and placed.fault.stuck:
                    page = None
        if page is not None:
            self._last_pages[path] = page
        return answer

    def _hit(self, fault: RestFault, answer: Answer, last_page: Reply | None) -> Answer:
        if answer.reply.status in (418, 429):
            return answer
        match fault:
            case RestReply():
                return Answer(_other(fault, answer.reply))
            case RestShort(rows=rows):
                return replace(answer, reply=_short(answer.reply, rows))
            case RestRepeat() if last_page is not None:
                return Answer(replace(last_page, headers=answer.reply.headers))
            case RestReset(mid_body=mid_body):
                return replace(answer, reset_after=0.5 if mid_body else 0.0)
        return answer


def _cased(reply: Reply, number: int) -> Reply:
    """The used weight under its name, which is written in this way or that."""
    headers = dict(reply.headers)
    write: Callable[[str], str] = (str.upper, str.lower, str.title)[number % 3]
    headers[write(USED_WEIGHT)] = headers.pop(USED_WEIGHT)
    return replace(reply, headers=headers)


def _other(fault: RestReply, reply: Reply) -> Reply:
    headers = dict(reply.headers)
    if fault.retry_after_s is not None:
        headers["Retry-After"] = str(fault.retry_after_s)
    match fault.body:
        case "html":
            return Reply(fault.status, _HTML, headers | {"Content-Type": "text/html"})
        case "empty_object":
            return Reply(fault.status, b"{}", headers)
        case "empty":
            return Reply(fault.status, b"", headers)
        case "truncated_gzip":
            packed = gzip.compress(reply.body, mtime=0)
            return Reply(fault.status, packed[: len(packed) // 2], headers | {"Content-Encoding": "gzip"})
    return Reply(fault.status, error_body(fault.code or -1000, fault.msg), headers)


def _short(reply: Reply, rows: int) -> Reply:
    try:
        page: Any = msgspec.json.decode(reply.body)
    except msgspec.DecodeError:
        return reply
    if not isinstance(page, list):
        return reply
    return replace(reply, body=msgspec.json.encode(page[:rows]))
