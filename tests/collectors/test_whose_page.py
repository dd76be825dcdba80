"""Pages of REST that belong to another question or another symbol, when nothing else says so: rows name
neither. What they would change for good is proven by asking again, so that nothing is poisoned.
"""

from pathlib import Path

import pytest

from collectors.exchange.faults import RestRepeat
from collectors.plausibility import MOST_PER_MS, Mark
from collectors.rest import RestAway

from .test_filling import HOUR_MS, START_MS, World, X, in_a_world, minutes_ago

BOTH = ("BTCUSDT", "ETHUSDT")


@pytest.mark.parametrize("symbols", [BOTH, ("BTCUSDT",)])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_first_starts_history_begins_where_it_does_whatever_page_comes_first(
    tmp_path: Path, count: int, symbols: tuple[str, ...]
) -> None:
    async def story(world: World) -> None:
        async with world.filling(symbols=symbols, warmup_ms=HOUR_MS) as filling:
            await world.until(lambda: all(world.ledger.warmup_from_ms(each) is not None for each in symbols))
            await world.until(
                lambda: all(world.ledger.runs(each) and not filling.wanted(each) for each in symbols)
            )
        for symbol in symbols:
            wanted = world.id_at(START_MS - HOUR_MS, symbol)
            oldest = world.ledger.runs(symbol)[0].first_id
            assert wanted <= oldest <= wanted + 100  # some of virtual time may have passed
            assert world.ledger.history_wanted(symbol) is None
            world.assert_complete(symbol)

    in_a_world(tmp_path, story, faults=[RestRepeat(count=count)], symbols=symbols, speed=30)


@pytest.mark.parametrize("stuck", [False, True])
def test_no_repeated_page_moves_the_place_where_history_begins(tmp_path: Path, stuck: bool) -> None:
    async def story(world: World) -> None:
        async with world.filling(warmup_ms=3 * HOUR_MS):
            await world.until(lambda: world.ledger.history_wanted(X) is not None)
            world.exchange.inject(RestRepeat(stuck=stuck, until_s=15))
            await world.pass_time(15)
            await world.until(lambda: not (world.ledger.gaps(X) or world.ledger.history_wanted(X)))
        wanted = world.id_at(START_MS - 3 * HOUR_MS)
        assert wanted <= world.ledger.runs(X)[0].first_id <= wanted + 100
        world.assert_complete()

    in_a_world(tmp_path, story, speed=30)


@pytest.mark.parametrize("stuck", [False, True])
def test_after_an_outage_no_page_of_another_symbol_is_taken_for_its_newest_trades(
    tmp_path: Path, stuck: bool
) -> None:
    """So long a one that the other symbol's ids can be."""

    async def story(world: World) -> None:
        below, above = sorted(BOTH, key=lambda symbol: world.id_at(START_MS, symbol))
        apart_ms = (world.id_at(START_MS, above) - world.id_at(START_MS, below)) / MOST_PER_MS
        head = Mark(world.id_at(START_MS, below) - 1, START_MS - round(1.1 * apart_ms))
        world.links_bring(minutes_ago(1), START_MS, below)
        async with world.filling(symbols=()) as filling:
            await filling.newest(above)
            world.exchange.inject(RestRepeat(count=1, stuck=stuck))
            with pytest.raises(RestAway):
                await filling.catch_up(below, head)
            found = await filling.catch_up(below, head)
            assert found is not None
        world.assert_complete(below)

    in_a_world(tmp_path, story, symbols=BOTH, speed=10)
