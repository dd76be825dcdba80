"""A trade whose time cannot be, on the recorder's links."""

import asyncio
import itertools
from pathlib import Path

from websockets.asyncio.server import ServerConnection

from collectors.exchange import Exchange
from collectors.timing import Timing
from storage.ledger import TradeLedger
from tests.clock import wall_ms

from .payloads import btcusdt
from .test_recorder import fast_market, recording, talking, until

TEN_YEARS_MS = 10 * 365 * 86_400_000


def test_a_trade_of_the_future_makes_no_link_look_late(tmp_path: Path) -> None:
    """The least lag of late is what lags are compared with."""
    tape, opened = list[str](), 0

    async def talk(socket: ServerConnection) -> None:
        """What either link has printed first, both bring."""
        nonlocal opened
        opened += 1
        for identity in itertools.count(len(tape)):
            if identity == len(tape):
                off_ms = TEN_YEARS_MS if identity == 6 else 0
                tape.append(btcusdt(identity, wall_ms() + off_ms, event_ms=wall_ms()))
            await socket.send(tape[identity])
            await asyncio.sleep(0.25)

    async def run() -> None:
        async with (
            Exchange(fast_market(), clock=wall_ms) as exchange,
            talking(talk) as url,
        ):
            with TradeLedger.open(tmp_path / "l") as ledger:
                timing = Timing(watch_s=0.05)
                async with recording(ledger, exchange, stream_url=url, links=2, timing=timing):
                    await until(lambda: any(run.last_id >= 12 for run in ledger.runs("BTCUSDT")))
                assert len(ledger.trades("BTCUSDT", wall_ms() + 86_400_000, 2 * wall_ms())) == 1
                assert opened == 2

    asyncio.run(run())
