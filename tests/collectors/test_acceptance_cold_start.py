"""Acceptance: an empty ledger has its newest hour complete before it spends anything on older ones."""

import asyncio
from dataclasses import replace
from pathlib import Path

from collectors.rest import PAGE

from .acceptance import FAST_LIMITS, Rig, at_rates, rig

HOUR_MS = 3_600_000
WARMUP_MS = 4 * HOUR_MS
SYMBOLS = ("BTCUSDT", "ETHUSDT")
# Asked for whatever is missing: where the history begins, the newest page, what overlaps, what is under way.
ASIDE = 12


def newest_hour_is_complete(run: Rig, symbol: str) -> bool:
    known_ms = run.recorder.live_until_ms(symbol)
    return (
        known_ms is not None and run.ledger.coverage(symbol, known_ms - HOUR_MS, known_ms, known_ms).complete
    )


def test_the_newest_hour_of_all_symbols_comes_before_the_older_ones_of_any(tmp_path: Path) -> None:
    async def run() -> None:
        limits = replace(FAST_LIMITS, weight_per_minute=240)
        market = at_rates(BTCUSDT=5, ETHUSDT=5)
        async with rig(tmp_path, market, speed=15, limits=limits, warmup_ms=WARMUP_MS) as run:
            await run.until(lambda: all(newest_hour_is_complete(run, symbol) for symbol in SYMBOLS))
            now_ms = run.clock()
            hour = {s: len(market.trades(s, now_ms - HOUR_MS, now_ms)) for s in SYMBOLS}
            assert run.pages <= sum(trades / PAGE + ASIDE for trades in hour.values())
            assert all(run.recorder.warmup(symbol) is not None for symbol in SYMBOLS)
            run.clock.speed = 100
            await run.until(lambda: all(run.recorder.warmup(symbol) is None for symbol in SYMBOLS))
            for symbol in SYMBOLS:
                assert run.held(symbol).time_ms[0] <= now_ms - WARMUP_MS + HOUR_MS // 60
            report = await run.judged()
            assert report.most_weight_used <= 240

    asyncio.run(run())
