"""What a picture shows of an answer: its prices and no others, its gaps, the range it looks at."""

import re
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.chart_command import answer_at_rest
from server.charts.picture import Picture
from server.tools.answers import Answer
from server.tools.pictures import focus, merged
from tests.charts.examples import END_MS, KINDS, ledger_of, tape, with_holes

PRICE = re.compile(r"\d+\.\d\d")
HOUR_MS = 3_600_000
RANGES = st.tuples(st.integers(1, 1_000), st.integers(1, 1_000)).map(sorted)


def picture_in(answer: Answer) -> Picture:
    assert answer.picture is not None
    return answer.picture


@pytest.mark.parametrize("kind", KINDS)
def test_every_labelled_price_is_one_of_the_answer(kind: str) -> None:
    with ledger_of(tape(25)) as ledger:
        answer = answer_at_rest(ledger, "BTCUSDT", kind)
    told = set(PRICE.findall(answer.model_dump_json()))
    labels = [mark.label for mark in picture_in(answer).marks if mark.label]
    shown = {price for label in labels for price in PRICE.findall(label)}
    assert shown
    assert shown <= told
    assert answer.model_dump_json().count("picture") == 0


def test_the_bars_hold_the_windows_extremes_and_its_delta() -> None:
    with ledger_of(tape(25)) as ledger:
        answer = answer_at_rest(ledger, "BTCUSDT", "flow")
        profile = answer_at_rest(ledger, "BTCUSDT", "profile").model_dump()
    bars = picture_in(answer).bars
    assert max(bars.high) == float(profile["levels"]["high"])
    assert min(bars.low) == float(profile["levels"]["low"])
    assert sum(bars.delta) == pytest.approx(float(answer.model_dump()["delta"]))
    assert picture_in(answer).flow_end == f"{Decimal(answer.model_dump()['delta']):+f} BTC"


def test_gaps_are_those_of_the_coverage() -> None:
    with ledger_of(with_holes(tape(20))) as ledger:
        answer = answer_at_rest(ledger, "BTCUSDT", "profile")
    told = answer.model_dump()["meta"]["coverage"]
    gaps = picture_in(answer).gaps
    assert len(gaps) == 1 + len(told["gaps"])
    covered = 1 - sum(gap.end_ms - gap.start_ms for gap in gaps) / (24 * HOUR_MS)
    assert 100 * covered == pytest.approx(told["covered_pct"], abs=0.011)


def test_a_hole_within_a_millisecond_is_a_gap_too() -> None:
    whole = tape(1)
    middle = len(whole) // 2
    whole.time_ms[middle - 1 : middle + 2] = whole.time_ms[middle]
    kept = whole.take(whole.id != whole.id[middle])
    with ledger_of(kept) as ledger:
        picture = picture_in(answer_at_rest(ledger, "BTCUSDT", "profile", hours="0.9"))
    at = int(whole.time_ms[middle])
    assert [(gap.start_ms, gap.end_ms) for gap in picture.gaps] == [(at, at)]
    assert any("1 trades missing" in words for words in picture.warnings)
    assert picture.end_ms <= END_MS


@given(st.lists(st.tuples(st.integers(0, 1_000), st.integers(0, 50)), max_size=30), st.integers(0, 40))
def test_stretches_that_nobody_could_tell_apart_are_one(parts: list[tuple[int, int]], apart_ms: int) -> None:
    stretches = [(start, start + length) for start, length in parts]
    found = merged(stretches, apart_ms)
    assert all(after[0] - before[1] >= apart_ms for before, after in pairwise(found))
    assert all(any(a <= start and end <= b for a, b in found) for start, end in stretches)
    assert {edge for stretch in found for edge in stretch} <= {edge for part in stretches for edge in part}


@given(RANGES, RANGES)
def test_the_range_looked_at_holds_the_levels_and_half_of_the_window(
    near: list[int], window: list[int]
) -> None:
    low, high = focus((Decimal(near[0]), Decimal(near[1])), (Decimal(window[0]), Decimal(window[1])))
    assert low <= near[0]
    assert high >= near[1]
    assert high - low == max(near[1] - near[0], (window[1] - window[0]) / 2)
    assert low >= min(near[0], window[0])
    assert high <= max(near[1], window[1])
