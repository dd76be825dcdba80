"""Thin rows: the hand-made vectors, and a slow reading of the definition beside the fast one."""

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.errors import OptionInvalid, RowTooFine
from analytics.thin import Rule, ThinZones, checked_threshold, thin_zones
from tests.analytics import oracle

VECTORS = json.loads((Path(__file__).parent / "vectors" / "vacuums.json").read_text())["vectors"]
REFUSED = [vector for vector in VECTORS if "error" in vector["expect"]]
ANSWERED = [vector for vector in VECTORS if "error" not in vector["expect"]]

rules = st.sampled_from(["thin", "origin"])
quantities = st.sampled_from([0, 0, 1, 5, 100]) | st.integers(0, 300) | st.integers(0, 2**50)
profiles = st.builds(
    lambda low, middle, high: [low, *middle, high],
    st.integers(1, 300),
    st.lists(quantities, max_size=60),
    st.integers(1, 300),
)

sparse_profiles = st.builds(
    lambda middle: [50, *middle, 50], st.lists(st.sampled_from([0, 0, 0, 0, 40]), min_size=3, max_size=40)
)


def found(volume: list[int], rule: Rule, *, ticks_per_row: int = 10, first_row: int = 0) -> ThinZones:
    rows = np.array(volume, np.int64)
    return thin_zones(rows, ticks_per_row=ticks_per_row, rule=rule, first_row=first_row)


@pytest.mark.parametrize("vector", ANSWERED, ids=lambda vector: vector["id"])
def test_a_hand_made_profile_gives_its_zones(vector: dict[str, Any]) -> None:
    thin = found(vector["rows"], vector["rule"], ticks_per_row=vector["ticks_per_row"])

    assert list(thin.core) == vector["expect"]["core"]
    assert round(float(thin.baseline), 4) == vector["expect"]["baseline"]
    assert [
        {
            "rows": [zone.first, zone.last],
            "kind": zone.kind,
            "flags": ["gap"] * zone.gap + ["jump"] * zone.jump,
            "volume": zone.volume,
            "deficit_pct": round(zone.deficit_pct, 4),
        }
        for zone in thin.zones
    ] == vector["expect"]["zones"]


@pytest.mark.parametrize("vector", REFUSED, ids=lambda vector: vector["id"])
def test_a_median_of_zero_is_refused_with_the_size_that_works(vector: dict[str, Any]) -> None:
    with pytest.raises(RowTooFine, match="longest empty run is 10-39") as refused:
        found(vector["rows"], vector["rule"], ticks_per_row=vector["ticks_per_row"])

    assert refused.value.code == vector["expect"]["error"]
    assert refused.value.fits == vector["expect"]["row_size_that_works_ticks"]
    assert refused.value.empty_run == (Decimal(10), Decimal(39))


@given(profiles, rules, st.integers(1, 3), st.integers(1, 100))
def test_zones_equal_those_of_a_slow_reading(
    volume: list[int], rule: Rule, row_ticks: int, threshold: int
) -> None:
    expected = oracle.zones(dict(enumerate(map(Decimal, volume))), rule, Decimal(threshold), row_ticks)
    rows = np.array(volume, np.int64)
    if expected is None:
        with pytest.raises(RowTooFine):
            thin_zones(rows, ticks_per_row=row_ticks, rule=rule, threshold_pct=threshold)
        return

    zones = thin_zones(rows, ticks_per_row=row_ticks, rule=rule, threshold_pct=threshold).zones
    assert [
        oracle.Zone(z.first, z.last, z.kind == "interior", z.gap, z.jump, Fraction(z.deficit_pct))
        for z in zones
    ] == [
        oracle.Zone(z.first, z.last, z.interior, z.gap, z.jump, Fraction(float(z.deficit_pct)))
        for z in expected
    ]


@given(sparse_profiles, st.integers(0, 50))
def test_the_size_that_a_refusal_names_is_accepted_and_the_smallest_multiple(
    volume: list[int], first_row: int
) -> None:
    try:
        found(volume, "origin", ticks_per_row=1, first_row=first_row)
    except RowTooFine as refused:
        fits = int(refused.fits)
    else:
        return

    for multiple in range(2, fits + 1):
        merged = [0] * ((first_row + len(volume) - 1) // multiple - first_row // multiple + 1)
        for i, quantity in enumerate(volume):
            merged[(first_row + i) // multiple - first_row // multiple] += quantity
        core = oracle.core(dict(enumerate(map(Decimal, merged))))
        assert (oracle.median([Fraction(merged[r]) for r in core]) > 0) == (multiple == fits)


def test_zones_that_meet_after_extension_are_one() -> None:
    # Two empty stretches part at a row of 60: under the limit itself, it holds the smoothed volume over it.
    thick, empty = [1000] * 10, [0] * 5
    thin = found([*thick, *empty, 60, *empty, *thick], "thin")

    assert [(zone.first, zone.last) for zone in thin.zones] == [(10, 20)]


def test_a_zone_of_one_row_of_two_ticks_is_wide_enough() -> None:
    assert len(found([100, 100, 5, 100, 100], "origin", ticks_per_row=2).zones) == 1


@pytest.mark.parametrize("threshold", [0, -1, Decimal("100.1"), Decimal("NaN")])
def test_a_threshold_outside_0_to_100_is_refused(threshold: int | Decimal) -> None:
    with pytest.raises(OptionInvalid, match="valid: above 0, at most 100; try 20"):
        checked_threshold("origin", threshold)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(OptionInvalid, match="valid: thin, origin; try thin"):
        checked_threshold("thick", None)  # type: ignore[arg-type]


def test_each_rule_has_its_own_threshold() -> None:
    assert checked_threshold("thin", None) == 10
    assert checked_threshold("origin", None) == 20
    assert checked_threshold("thin", Decimal("12.5")) == Decimal("12.5")
