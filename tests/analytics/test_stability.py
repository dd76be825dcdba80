"""Stability: resamples that follow from the time alone, and shares that tell structure from an accident."""

from decimal import Decimal

import numpy as np
import pytest

from analytics.stability import RESAMPLES, poisson_weights, stabilities
from analytics.thin import Rule, ThinZone
from storage.trades import IntArray
from tests.analytics import oracle

FIRST = 2_885_328  # of 2024-11-10T00:00:00Z
ZONE = ThinZone(4, 6, "interior", gap=False, jump=False, volume=0, deficit_pct=95.0)


def shares(
    blocks: IntArray, *, first: int = FIRST, symbol: str = "BTCUSDT", rule: Rule = "thin"
) -> float | None:
    (share,) = stabilities(blocks, first, [ZONE], symbol=symbol, rule=rule, threshold_pct=Decimal(10))
    return share


def even(blocks: int, thin: int = 5) -> IntArray:
    """The same in every block: 100 in each of ten rows, `thin` in the zone's."""
    volume = np.full((blocks, 10), 100, np.int64)
    volume[:, ZONE.rows] = thin
    return volume


def test_weights_are_draws_of_a_poisson_distribution_of_mean_one() -> None:
    weights = poisson_weights("BTCUSDT", np.arange(FIRST, FIRST + 1008))

    assert weights.shape == (RESAMPLES, 1008)
    assert weights.mean() == pytest.approx(1, abs=0.01)
    assert weights.var() == pytest.approx(1, abs=0.02)
    assert (weights == 0).mean() == pytest.approx(0.3679, abs=0.005)
    assert abs(np.corrcoef(weights[0], weights[1])[0, 1]) < 0.1
    assert abs(np.corrcoef(weights[:, 0], weights[:, 1])[0, 1]) < 0.25


def test_weights_equal_those_of_a_slow_draw() -> None:
    weights = poisson_weights("ETHUSDT", np.arange(FIRST, FIRST + 5))

    for resample in (0, 7, 199):
        drawn = [oracle.poisson_draw("ETHUSDT", FIRST + block, resample) for block in range(5)]
        assert weights[resample].tolist() == drawn


def test_a_blocks_weights_do_not_depend_on_the_window() -> None:
    early, late = (poisson_weights("X", np.arange(start, start + 50)) for start in (FIRST, FIRST + 20))

    assert (early[:, 20:] == late[:, :30]).all()
    assert (early != poisson_weights("Y", np.arange(FIRST, FIRST + 50))).any()


def test_a_range_that_is_thin_in_every_block_is_stable() -> None:
    assert shares(even(50)) == 1.0
    assert shares(even(50), rule="origin") == 1.0


def test_a_range_whose_blocks_disagree_is_not() -> None:
    """Nothing in most blocks and much in one: a resample that has this one twice finds no thin range."""
    volume = even(50, thin=0)
    volume[7, ZONE.rows] = 300

    share = shares(volume)
    assert share is not None
    assert 0.6 < share < 0.9


def test_fewer_than_six_blocks_with_trades_say_nothing() -> None:
    spread = np.zeros((40, 10), np.int64)
    spread[::8] = even(5)

    assert shares(even(5)) is None
    assert shares(spread) is None
    assert shares(even(6)) == 1.0


def test_blocks_without_trades_change_nothing() -> None:
    padded = np.concatenate([np.zeros((3, 10), np.int64), even(20, thin=9), np.zeros((4, 10), np.int64)])

    assert shares(padded, first=FIRST - 3) == shares(even(20, thin=9))


def test_huge_volumes_are_resampled_too() -> None:
    volume = even(50, thin=9)
    volume[:25, ZONE.rows] = 11

    assert shares(volume * 2**40) == pytest.approx(shares(volume), abs=0.02)
