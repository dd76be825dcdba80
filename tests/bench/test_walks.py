"""On simulated walks the vacuums claim nothing, and planted thin ranges are found."""

from typing import get_args

import numpy as np
import pytest

from bench.walks import (
    TICK,
    TRADES,
    Model,
    bounds_off,
    high_or_above,
    planted,
    planted_and_found,
    share_stable,
    vacuums_of,
    walk,
    zones_of_walks,
)

MODELS: tuple[Model, ...] = get_args(Model)
# Days of each model, and trades a day.
counts = pytest.mark.parametrize(
    ("days", "trades"),
    [(12, 60_000), pytest.param(100, TRADES, marks=[pytest.mark.long, pytest.mark.timeout(900)])],
)


@counts
def test_at_most_a_quarter_of_a_walks_zones_rank_high_and_few_are_stable(days: int, trades: int) -> None:
    zones = [zone for model in MODELS for zone in zones_of_walks(model, days, trades)]

    assert len(zones) >= days
    assert high_or_above(zones) <= 0.25
    assert share_stable(zones) <= 0.5


@pytest.mark.long
@pytest.mark.parametrize(("days", "trades"), [(400, 20_000), (200, 60_000)])
def test_at_most_a_quarter_ranks_high_where_single_steps_open_gaps(days: int, trades: int) -> None:
    """On fewer days there are too few zones to say so."""
    zones = zones_of_walks("heavy", days, trades)

    assert len(zones) > 100
    assert high_or_above(zones) <= 0.25


@counts
def test_planted_thin_ranges_are_found_with_their_bounds_and_stable(days: int, trades: int) -> None:
    pairs = [pair for model in MODELS for pair in planted_and_found(model, days, trades)]

    assert len(pairs) >= 0.75 * days * len(MODELS)
    assert np.median([bounds_off(day, zone) for day, zone in pairs]) <= 0.15
    assert share_stable([zone for _, zone in pairs]) >= 0.95


def test_edge_tails_of_walks_are_never_ranked() -> None:
    answers = [vacuums_of(walk(seed, model, 30_000)) for model in MODELS for seed in range(6)]

    assert sum(bool(answer.edge_tails) for answer in answers) > len(answers) // 2
    for answer in answers:
        assert all(vacuum.kind == "interior" for vacuum in answer.vacuums)
        ranked = {(vacuum.low, vacuum.high) for vacuum in answer.vacuums}
        assert ranked.isdisjoint((tail.low, tail.high) for tail in answer.edge_tails)


def test_a_planted_range_is_thinned_and_the_rest_of_the_day_is_the_walk() -> None:
    day, whole = planted(3, "plain", 20_000), walk(3, "plain", 20_000)
    inside = (whole.price_int >= day.low) & (whole.price_int <= day.high)
    left = (day.trades.price_int >= day.low) & (day.trades.price_int <= day.high)

    assert left.sum() < 0.1 * inside.sum()
    assert (~left).sum() == (~inside).sum()
    assert TICK * day.low > TICK * int(whole.price_int.min())
