"""A clock that only the test moves, and an exchange that runs by it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from collectors.exchange import Exchange, GeneratedMarket

OPENED_MS = 20_660 * 86_400_000 + 15 * 3_600_000 + 30_000  # 2026-07-26 15:00:30Z


@dataclass
class Clock:
    now_ms: int = OPENED_MS

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, ms: int) -> None:
        self.now_ms += ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def market() -> GeneratedMarket:
    return GeneratedMarket(1)


@pytest.fixture
async def exchange(market: GeneratedMarket, clock: Clock) -> AsyncIterator[Exchange]:
    async with Exchange(market, clock=clock, poll_s=0.005) as exchange:
        yield exchange
