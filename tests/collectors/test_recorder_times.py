"""A trade whose time cannot be, on the recorder's links."""

import asyncio
import itertools
import json
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve

from collectors.exchange import Exchange
from collectors.timing import Timing
from storage.ledger import TradeLedger
from tests.clock import wall_ms

from .test_recorder import fast_market, recording, until

TEN_YEARS_MS = 10 * 365 * 86_400_000


def text(identity: int, time_ms: int) -> str:
    trade = {"e": "aggTrade", "E": wall_ms(), "s": "BTCUSDT", "a": identity, "p": "62000.00000000"}
    trade |= {"q": "0.00100000", "f": identity, "l": identity, "T": time_ms, "m": True, "M": True}
    return json.dumps({"stream": "btcusdt@aggTrade", "data": trade})


def test_a_trade_of_the_future_makes_no_link_look_late(tmp_path: Path) -> None:
    """The least lag of late is what lags are compared with."""
    tape, opened = list[str](), 0

    async def talk(socket: ServerConnection) -> None:
        """What either link has printed first, both bring."""
        nonlocal opened
        opened += 1
        for identity in itertools.count(len(tape)):
            if identity == len(tape):
                tape.append(text(identity, wall_ms() + TEN_YEARS_MS * (identity == 6)))
            await socket.send(tape[identity])
            await asyncio.sleep(0.25)

    async def run() -> None:
        async with (
            Exchange(fast_market(), clock=wall_ms) as exchange,
            serve(talk, "127.0.0.1", 0, ping_interval=None) as server,
        ):
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            with TradeLedger.open(tmp_path / "l") as ledger:
                timing = Timing(watch_s=0.05)
                async with recording(ledger, exchange, stream_url=url, links=2, timing=timing):
                    await until(lambda: any(run.last_id >= 12 for run in ledger.runs("BTCUSDT")))
                assert len(ledger.trades("BTCUSDT", wall_ms() + 86_400_000, 2 * wall_ms())) == 1
                assert opened == 2

    asyncio.run(run())
