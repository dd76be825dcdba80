"""High and low volume nodes: the same peaks and valleys as an independent library's, on any profile."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import find_peaks

from analytics.nodes import Nodes, prominences, volume_nodes
from analytics.rows import Rows
from storage.trades import IntArray
from tests.analytics import oracle

curves = st.lists(st.integers(0, 6), min_size=1, max_size=40)
volumes = st.lists(st.sampled_from([0, 0, 1, 50, 100]) | st.integers(0, 2**40), min_size=1, max_size=60)


def rows(volume: list[int], first: int = 100) -> Rows:
    column: IntArray = np.array(volume, np.int64)
    return Rows(first, 10, Decimal("0.01"), column, column, column * 0, column, 5)


def nodes(*volume: int) -> Nodes:
    return volume_nodes(rows(list(volume)))


@given(curves)
def test_prominences_are_those_of_scipy(curve: list[int]) -> None:
    values = np.array(curve, np.float64)
    peaks, found = find_peaks(values, prominence=0)

    assert prominences(values) == dict(zip(peaks.tolist(), found["prominences"].tolist(), strict=True))


@given(volumes.filter(any))
def test_nodes_are_the_peaks_and_valleys_of_a_slow_reading(volume: list[int]) -> None:
    traded = [i for i, v in enumerate(volume) if v]
    volume = volume[traded[0] : traded[-1] + 1]
    found = nodes(*volume)

    high, low = oracle.prominent(dict(enumerate(map(Decimal, volume))))
    for ours, theirs in ((found.high_volume, high), (found.low_volume, low)):
        assert {node.row: node.prominence_ratio for node in ours} == pytest.approx(theirs)


def test_two_humps_are_two_peaks_and_the_valley_between_them() -> None:
    found = nodes(10, 60, 200, 60, 10, 2, 2, 2, 2, 10, 60, 100, 60, 10)

    assert [node.row for node in found.high_volume] == [2, 11]
    assert [node.row for node in found.low_volume] == [7]
    peak = found.high_volume[0]
    assert (str(peak.price), str(peak.volume)) == ("10.20", "0.00200")
    assert peak.prominence_ratio > found.high_volume[1].prominence_ratio


def test_the_first_and_the_last_row_can_be_peaks_but_no_valleys() -> None:
    found = nodes(500, 200, 50, 10, 50, 200, 500)

    assert {node.row for node in found.high_volume} == {0, 6}
    assert [node.row for node in found.low_volume] == [3]


def test_a_ripple_is_no_node() -> None:
    found = nodes(100, 105, 100, 96, 100, 104, 100)

    assert found.low_volume == ()
    assert len(found.high_volume) == 1


def test_the_unit_of_volume_changes_no_node() -> None:
    volume = [10, 60, 200, 60, 10, 2, 2, 2, 2, 10, 60, 100, 60, 10]
    small, large = nodes(*volume), nodes(*(v * 10**6 for v in volume))

    assert [node.row for node in small.high_volume] == [node.row for node in large.high_volume]
    assert small.low_volume[0].prominence_ratio == pytest.approx(large.low_volume[0].prominence_ratio)
