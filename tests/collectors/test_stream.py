"""What a batch of texts makes known of a symbol, and what it does not where some of it is lost."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from collectors.continuity import Voucher
from collectors.exchange import VirtualClock
from collectors.links import Connection, Ring
from collectors.recording import Recording
from collectors.sifting import Sifting
from collectors.stream import Stream
from storage.ledger import TradeLedger
from tests.tapes import START_MS

from .parts import parts_of
from .payloads import btcusdt

X = "BTCUSDT"
MOST = 3


def trade(identity: int, *, event_ms: int | None = None) -> bytes:
    return btcusdt(identity, START_MS + identity * 100, event_ms=event_ms).encode()


def after(path: Path, *batches: Sequence[bytes], look: Callable[[Recording, Connection], Any]) -> list[Any]:
    """What is seen after each of the batches, the link being up since a moment before the first one."""

    async def run() -> list[Any]:
        clock, filled, seen = VirtualClock(START_MS + 10_000, speed=0), asyncio.Event(), []
        with TradeLedger.open(path / "l") as ledger:
            it = parts_of([X], ledger, clock)
            sifting = Sifting(ledger, it.recordings, it.posting, it.watch, it.oddities, clock)
            stream = Stream(it.recordings, sifting, it.posting, it.watch, it.oddities, clock, filled, 0)
            ring = Ring(filled, MOST, 10**6)
            socket = cast(Any, None)  # what came of it is in the ring
            link = Connection("a", [X], ring, Voucher(START_MS), START_MS, 2 * START_MS, socket)
            stream.add(link)
            for batch in batches:
                for text in batch:
                    ring.put(text, clock.steady_ms())
                await stream._take(link)
                stream.settle()
                seen.append(look(it.recordings.of(X), link))
        return seen

    return asyncio.run(run())


LOST = [
    pytest.param([trade(2), btcusdt(2**53, START_MS).encode()], id="an id that cannot be"),
    pytest.param([trade(2), b"{"], id="a text that cannot be read"),
    pytest.param([trade(number) for number in range(2, MOST + 3)], id="what did not fit into the ring"),
]


@pytest.mark.parametrize("batch", LOST)
def test_what_came_with_something_that_is_lost_vouches_for_nothing_until_the_next_trade(
    tmp_path: Path, batch: list[bytes]
) -> None:
    batches = [trade(0)], [trade(1)], batch, [trade(MOST + 3)]
    seen = after(tmp_path, *batches, look=lambda symbol, _: symbol.is_synced)
    assert seen == [True, True, False, True]


def test_a_symbol_is_known_up_to_its_newest_trade_whatever_the_time_of_its_event(tmp_path: Path) -> None:
    """A server that is behind stamps old trades with now."""
    batches = [[trade(1, event_ms=START_MS + 9_000)], [trade(2, event_ms=START_MS + 9_500)]]
    known = after(tmp_path, *batches, look=lambda symbol, _: symbol.live_until_ms)
    assert known == [START_MS + 100, START_MS + 200]


def test_an_announced_end_is_not_forgotten_for_what_still_comes(tmp_path: Path) -> None:
    batches = [[trade(1)], [b'{"e":"serverShutdown","E":1770000000000}'], [trade(2)]]
    assert after(tmp_path, *batches, look=lambda _, link: link.shuts_down) == [False, True, True]
