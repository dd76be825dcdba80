"""A recorder and an exchange by one clock, which runs as fast as a test wants, and the judge of both.

Invariant: whatever was scripted, in the end the ledger holds the exchange's own ledger, to the last digit and
each id once, declared holes aside; no answer said `complete` on the way when it was not; no part of the
recorder failed; and the exchange had nothing to punish.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, generate_latest

from collectors.clock import Clock
from collectors.exchange import Exchange, GeneratedMarket, Limits, Market, VirtualClock
from collectors.exchange.faults import AnyFault
from collectors.exchange.report import Report
from collectors.exchange.streams import MOST_LATE_MS
from collectors.recorder import Recorder
from collectors.rest import REPLY_S, BinanceRest
from collectors.timing import REAL, Timing
from server.health import readiness
from server.recorder_metrics import RecorderMetrics
from server.rest_metrics import RestMetrics
from storage.ledger import TradeLedger
from storage.trades import Gap, TradeColumns
from tests.clock import fast_clock
from tests.levers import samples

START_MS = 20_660 * 86_400_000 + 15 * 3_600_000 + 30_000  # 2026-07-26 15:00:30Z
WHOLE = (0, 2**45)
# Of real time, for CI's two shared cores.
PATIENCE_S = 90.0
AGG_TRADES = "/api/v3/aggTrades"
BY_ID = f"{AGG_TRADES}?fromId&limit&symbol"
# Up to this speed what the exchange gives a minute is some real time, for a busy machine too.
FAIR_SPEED = 20
FAIR_LIMITS = Limits(in_flight_s=60)
# Beyond it, a busy machine is not the client's fault.
FAST_LIMITS = Limits(pong_timeout_s=7_200, messages_per_s=10_000, in_flight_s=60)


@dataclass
class Rig:
    """One run; `since` is the first id that each symbol's ledger must hold.

    `late_ms`: a trade may be sent so long after an event of its time, and is not known of before; None where
    nobody could know, because a stream is mute while its link is not.
    """

    clock: VirtualClock
    exchange: Exchange
    ledger: TradeLedger
    recorder: Recorder
    symbols: Sequence[str]
    since: dict[str, int] = field(default_factory=dict)
    late_ms: int | None = MOST_LATE_MS
    logs: list[MutableMapping[str, Any]] = field(default_factory=list)

    # -- time

    async def pass_time(self, seconds: float, *, speed: float | None = None) -> None:
        """Until so many of the clock's seconds have passed, at that speed from now on."""
        if speed is not None:
            self.clock.speed = speed
        until_ms = self.clock() + seconds * 1000
        # On a busy machine the clock is slower than its speed says.
        within_s = PATIENCE_S + 5 * seconds / self.clock.speed
        await self.until(lambda: self.clock() >= until_ms, within_s)
        await self.exchange.caught_up()

    async def until(self, condition: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
        """Until it is so; looks at every answer on the way."""
        async with asyncio.timeout(within_s):
            while not condition():
                self.look()
                await asyncio.sleep(0.02)

    # -- what there is

    def held(self, symbol: str) -> TradeColumns:
        return self.ledger.trades(symbol, *WHOLE)

    def head(self, symbol: str) -> int:
        """The newest id held; -1 where none is."""
        runs = self.ledger.runs(symbol)
        return runs[-1].last_id if runs else -1

    def open_gaps(self, symbol: str) -> list[Gap]:
        return [gap for gap in self.ledger.gaps(symbol) if gap.state == "open"]

    @property
    def pages(self) -> int:
        """How often REST was asked for trades."""
        return self.exchange.report().requests.get(AGG_TRADES, 0)

    def metrics(self) -> dict[str, float]:
        """What a scrape would be told of the recorder: `name{labels}` -> value."""
        registry = CollectorRegistry()
        registry.register(RecorderMetrics(self.recorder.figures))
        registry.register(RestMetrics(self.recorder))
        return samples(generate_latest(registry).decode())

    def metric(self, name: str, **labels: str) -> float:
        """One of them; the sum over labels that are not named."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        found = [
            value
            for sample, value in self.metrics().items()
            if sample.partition("{")[0] == name and all(each in sample for each in wanted)
        ]
        assert found, f"no {name} of {labels}"
        return sum(found)

    def reasons(self) -> dict[str, set[str]]:
        """The codes by which /readyz would say that it is not ready, by symbol; `all` are everybody's."""
        found = readiness(self.ledger, self.recorder, self.clock())
        parts = {"all": found["reasons"]} | {s: each["reasons"] for s, each in found["symbols"].items()}
        return {name: {reason["code"] for reason in part} for name, part in parts.items()}

    def inject(self, *faults: AnyFault) -> None:
        for fault in faults:
            self.exchange.inject(fault)

    # -- the judge

    def look(self) -> None:
        """What counts as complete is."""
        if self.late_ms is None:
            return
        for symbol in self.since:
            lacking = self.lacking(symbol, self.late_ms)
            assert not lacking, f"{symbol} said complete: {lacking} lack"

    def lacking(self, symbol: str, late_ms: int) -> int:
        """How many trades are lacking of a minute that counts as complete; 0 where it does not."""
        known_ms, first_id = self.recorder.live_until_ms(symbol), self.since[symbol]
        runs = self.ledger.runs(symbol)
        if known_ms is None or not runs or runs[0].last_ms >= known_ms:
            return 0
        from_ms = max(runs[0].first_ms, known_ms - 60_000)
        if not self.ledger.coverage(symbol, from_ms, known_ms, known_ms).complete:
            return 0
        truth = self.exchange.market.trades(symbol, from_ms, known_ms - late_ms)
        truth = self.exchange.market.kept(truth.take(truth.id >= first_id), symbol)
        return max(0, len(truth) - len(self.ledger.trades(symbol, from_ms, known_ms - late_ms)))

    async def all_hit(self) -> None:
        """Until every kind of fault that was put in has touched something."""
        await self.until(lambda: all(self.exchange.report().faults_hit.values()))

    async def complete(self, within_s: float = PATIENCE_S) -> None:
        """Until everything printed so far is held."""
        heads = {symbol: self.exchange.printed_id(symbol) for symbol in self.symbols}
        await self.until(lambda: all(self._has_all(s, head) for s, head in heads.items()), within_s)

    async def told_of_gaps(self) -> None:
        """Until the metrics tell what became of every gap that opened, where none is deleted: the ledger
        knows of it a moment before."""
        await self.until(lambda: self.metric("tapedeck_gaps_opened_total") == self._gaps_gone())

    def _gaps_gone(self) -> float:
        return self.metric("tapedeck_gaps_filled_total") + self.metric("tapedeck_gaps_certified_total")

    def _has_all(self, symbol: str, head: int) -> bool:
        was_printed = head >= self.since[symbol]
        return (self.head(symbol) >= head or not was_printed) and not self.open_gaps(symbol)

    async def judged(self, *, bans: int = 0) -> Report:
        """Complete, and equal to the exchange's ledger; what the exchange says of the run."""
        await self.exchange.caught_up()
        await self.complete()  # of this very moment: in the next one a link may lack what the other brings
        for symbol in self.symbols:
            self._compare(symbol)
        report = self.exchange.report()
        assert report.self_inflicted == [], report.self_inflicted
        assert len(report.bans) == bans, report.bans
        return report

    def _compare(self, symbol: str) -> None:
        rows = self.held(symbol)
        # REST may show a moment before links print, which is not judged yet.
        rows = rows.take(rows.id <= self.exchange.printed_id(symbol))
        if not len(rows) and self.exchange.printed_id(symbol) < self.since[symbol]:
            return
        ids = rows.id.tolist()
        assert len(set(ids)) == len(ids), f"{symbol}: ids are held twice"
        assert ids[0] <= self.since[symbol], f"{symbol} begins late: {ids[0]}, not {self.since[symbol]}"
        found = self.exchange.difference(symbol, rows)
        assert not found, found


@asynccontextmanager
async def rig(
    path: Path,
    market: Market,
    *,
    speed: float = 1.0,
    links: int = 2,
    limits: Limits | None = None,
    warmup_ms: int = 0,
    timing: Timing = REAL,
    faults: Sequence[AnyFault] = (),
    start_ms: int = START_MS,
    reply_s: float = REPLY_S,
) -> AsyncIterator[Rig]:
    """An exchange with that market and a recorder of all its symbols on so many links, both up.

    `limits` are the real ones unless time begins faster than is fair; give `FAST_LIMITS` to a run that turns
    so fast later.
    """
    clock = fast_clock(start_ms, speed=speed)
    chosen = limits or (FAIR_LIMITS if speed <= FAIR_SPEED else FAST_LIMITS)
    with logged() as logs:
        async with Exchange(market, clock=clock, limits=chosen, poll_s=0.01, faults=faults) as exchange:
            with TradeLedger.open(path / "ledger") as ledger:
                async with recording(
                    ledger, exchange, clock, links=links, warmup_ms=warmup_ms, timing=timing, reply_s=reply_s
                ) as recorder:
                    found = Rig(clock, exchange, ledger, recorder, market.symbols, logs=logs)
                    await found.until(lambda: exchange.links == links)
                    opened_ms = min(link.opened_ms for link in exchange.report().links)
                    found.since = {s: market.first_id_from(s, opened_ms + 1) for s in market.symbols}
                    yield found
    failed = [line for line in logs if line["event"] == "task failed" or line.get("exc_info")]
    assert not failed, failed


@contextmanager
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """What is logged meanwhile, which goes where it always goes too."""
    lines: list[MutableMapping[str, Any]] = []

    def note(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        lines.append(dict(line))
        return line

    # The list itself is changed, because loggers hold it.
    processors = structlog.get_config()["processors"]
    processors.insert(0, note)
    try:
        yield lines
    finally:
        processors.remove(note)


@asynccontextmanager
async def running(recorder: Recorder) -> AsyncIterator[None]:
    """A recorder from its start to its stop."""
    await recorder.prepare()
    async with recorder.recording():
        yield


@asynccontextmanager
async def recording(
    ledger: TradeLedger,
    exchange: Exchange,
    clock: Clock,
    *,
    links: int,
    warmup_ms: int,
    timing: Timing,
    reply_s: float = REPLY_S,
) -> AsyncIterator[Recorder]:
    async with BinanceRest(exchange.rest_url, clock, reply_s=reply_s) as rest:
        recorder = Recorder(
            ledger,
            rest,
            symbols=list(exchange.market.symbols),
            stream_urls=[exchange.stream_url] * links,
            warmup_ms=warmup_ms,
            clock=clock,
            timing=timing,
        )
        async with running(recorder):
            yield recorder


def at_rates(**per_s: float) -> GeneratedMarket:
    """A market of these symbols at so many trades a second on average, whatever their usual rate is."""
    return GeneratedMarket(symbols=list(per_s), rate={s: rate / USUAL[s] for s, rate in per_s.items()})


USUAL = {"BTCUSDT": 18, "ETHUSDT": 12, "SOLUSDT": 6, "XRPUSDT": 3, "SHIBUSDT": 1.2, "BTCUSDC": 4}
