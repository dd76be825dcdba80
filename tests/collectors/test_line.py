"""One line's attempts: how soon after an end the next one comes."""

import asyncio
from pathlib import Path

from collectors.exchange.faults import End, Shutdown

from .acceptance import at_rates, rig

# One more than any link of a minute's.
MANY = 200


def test_successors_that_end_at_once_are_opened_more_and_more_slowly(tmp_path: Path) -> None:
    """The link that runs has announced its end, which does not come; what follows it goes away at once."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=5), speed=20, links=1) as run:
            await run.pass_time(20)
            run.inject(Shutdown(close_after_s=None), End(links=tuple(range(2, MANY)), age_s=0))
            await run.pass_time(60)
            report = run.exchange.report()
            assert report.links[0].closed_ms is None
            # Full jitter up to 0.2, 0.4 .. 12.8, 15 s: seven on the average in 13 s, then one in 7.5 s.
            assert len(report.links) < 30
            await run.until(lambda: len(run.exchange.report().links) > 4)
            run.exchange.clear()
            await run.until(lambda: run.exchange.report().links[0].closed_ms is not None)
            report = await run.judged()
            assert report.links[-1].closed_ms is None
            assert not run.pages

    asyncio.run(run())
