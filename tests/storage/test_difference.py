"""Two tapes compared, against dictionaries."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from storage.difference import difference
from storage.trades import TradeColumns
from tests.tapes import rows_of, tapes


@given(tapes(), st.data())
def test_what_differs_is_what_dictionaries_by_id_say(tape: TradeColumns, data: st.DataObject) -> None:
    keep = [np.array(data.draw(st.lists(st.booleans(), min_size=len(tape), max_size=len(tape))), bool)] * 2
    keep[1] = np.array(data.draw(st.lists(st.booleans(), min_size=len(tape), max_size=len(tape))), bool)
    touched = np.array(data.draw(st.lists(st.booleans(), min_size=len(tape), max_size=len(tape))), bool)
    changed = replace(tape, time_ms=tape.time_ms + touched)
    left, right = tape.take(keep[0]).reduced(), changed.take(keep[1])
    found = difference(left, right)
    ours, theirs = ({row[0]: row for row in rows_of(side)} for side in (left, right))
    assert rows_of(found.only_left) == [row for i, row in ours.items() if i not in theirs]
    assert rows_of(found.only_right) == [row for i, row in theirs.items() if i not in ours]
    both = [i for i in ours if i in theirs and ours[i] != theirs[i]]
    assert rows_of(found.left) == [ours[i] for i in both]
    assert rows_of(found.right) == [theirs[i] for i in both]
    assert found.same == sum(ours[i] == theirs[i] for i in ours.keys() & theirs.keys())
    assert bool(found) == (ours != theirs)
