"""Gaps until they are closed."""

import numpy as np

from collectors.healing import MOST_FOLLOWED, OpenGaps
from storage.held_ids import Run
from storage.trades import Gap


def gap(first_id: int, last_id: int) -> Gap:
    return Gap(first_id, last_id, 0, 0)


def held(first_id: int, last_id: int) -> Run:
    return Run(first_id, last_id, 0, 0)


def test_a_gap_is_told_of_once_with_what_closed_it_and_when() -> None:
    gaps = OpenGaps()
    gaps.opened(gap(5, 6), 100)
    gaps.opened(gap(10, 12), 200)
    gaps.opened(gap(20, 20), 300)
    gaps.brought(np.array([5, 6, 11]))
    assert gaps.healed([held(1, 4), held(7, 9), held(13, 30)], 400)[0].first_id == 20
    by = {each.first_id: (each.by, each.after_ms, each.missing) for each in gaps.healed([held(1, 30)], 500)}
    assert by == {5: ("link", 400, 2), 10: ("both", 300, 3)}
    assert gaps.healed([held(1, 30)], 600) == []


def test_so_many_are_followed_and_no_more() -> None:
    gaps = OpenGaps()
    for at in range(2 * MOST_FOLLOWED):
        gaps.opened(gap(at, at), 0)
    assert len(gaps) == MOST_FOLLOWED
