"""On walks without memory the flow's definitions find what docs/analytics.md says that they do."""

from collections import Counter

import pytest

from bench.flow_walks import MODELS, seen, stretches_of

WALKS = 40


@pytest.mark.parametrize("model", MODELS)
def test_chance_shows_divergences_imbalances_and_absorption(model: str) -> None:
    total: Counter[str] = Counter()
    for seed in range(WALKS):
        total.update(seen(*stretches_of(seed, MODELS[model], hours=1)))

    assert 0.25 < total["any divergence"] / WALKS < 0.7
    assert 0.25 < total["price and delta opposite"] / WALKS < 0.65
    assert 0.1 < total["imbalances"] / total["cells"] < 0.3
    assert 0.35 < total["absorbed"] / total["heavy"] < 0.55
    assert 0.15 < total["POC naked after as long again"] / WALKS < 0.6


def test_a_slope_is_found_where_price_follows_the_flow_and_not_where_it_does_not() -> None:
    found = {
        model: sum(
            seen(*stretches_of(seed, with_the_taker, hours=24))["kyle t above 2"] for seed in range(12)
        )
        for model, with_the_taker in MODELS.items()
    }
    assert found["independent"] <= 3
    assert found["follows flow"] >= 8
