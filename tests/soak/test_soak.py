"""A short soak: every run of the tests meets some faults of every family; and its judge sees what is lost.

Bounded by the number of faults, so that a slow machine meets the same ones as a quick one.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collectors.exchange.faults import Hole
from storage.ledger import TradeLedger
from storage.trades import TradeColumns
from tests.levers import Levers
from tests.processes import exchange
from tests.soak.faults import KINDS as EVERY_KIND
from tests.soak.run import Found, Span, compare, soak

QUICK_KINDS = (
    "Shutdown", "RestLag", "Stop", "Malformed", "RestReply", "Hole", "Freeze", "Halt", "Kill", "End",
    "DiskRefuses", "Invalid",
)  # fmt: skip
QUICK = 15273
LONGER = 2436


def assert_lost_and_doubled_nothing(found: Found) -> None:
    assert found.is_sound, found
    assert found.told["Traceback"] == found.told["task failed"] == 0
    assert found.told["flush failed"] > 0  # the disk did refuse
    assert found.lives == 1 + found.injected["Kill"]


@pytest.mark.timeout(300)
def test_a_dozen_faults_lose_and_double_nothing(tmp_path: Path) -> None:
    found = soak(math.inf, QUICK, tmp_path, count=len(QUICK_KINDS))
    assert found.injected == dict.fromkeys(QUICK_KINDS, 1)
    assert_lost_and_doubled_nothing(found)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_kind_of_fault_once_loses_and_doubles_nothing(tmp_path: Path) -> None:
    found = soak(math.inf, LONGER, tmp_path, count=len(EVERY_KIND))
    assert found.injected.total() == len(EVERY_KIND)
    assert len(found.faults) > 30
    assert_lost_and_doubled_nothing(found)


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, Any]]:
    with exchange("--rate=30", "--control-port=0") as found:
        yield found


def kept(path: Path, rows: TradeColumns) -> Path:
    with TradeLedger.open(path) as ledger:
        ledger.append("BTCUSDT", rows)
    return path


@pytest.mark.parametrize(
    ("held", "missing"),
    [
        pytest.param(slice(0, 100), [], id="all"),
        pytest.param(slice(0, 90), [*range(90, 95), *range(97, 100)], id="its tail is cut"),
        pytest.param(slice(8, 100), [*range(2, 8)], id="its beginning is cut"),
        pytest.param(slice(50, 51), [*range(2, 50), *range(51, 95), *range(97, 100)], id="one trade alone"),
        pytest.param(slice(0, 0), [*range(2, 95), *range(97, 100)], id="empty"),
        pytest.param(slice(0, 100, 2), [*range(1, 95, 2), 97, 99], id="every second one is lost"),
    ],
)
def test_the_judge_names_every_trade_that_a_ledger_lacks(
    tmp_path: Path, urls: dict[str, Any], held: slice, missing: list[int]
) -> None:
    """Of a hundred trades the first two need not be held, and two near the end exist nowhere; what lies
    between two trades that are held counts in any case."""
    with Levers(urls) as levers:
        first = levers.printed("BTCUSDT") + 1_000  # in two seconds, or when the clock is moved on
        levers.inject(Hole(symbols=("BTCUSDT",), first_id=first + 95, last_id=first + 96))
        levers.advance(5)
        levers.printed("BTCUSDT", first + 99)
        rows = levers.rows("BTCUSDT", first, 100)
        assert len(rows) == 98
        wanted = {first + at for at in range(*held.indices(100))}
        path = kept(tmp_path, rows.take(np.isin(rows.id, sorted(wanted))))
        found = Found(seed=0)
        compare(levers, "BTCUSDT", Span(first + 2, first + 99), path, found)
        assert found.missing == [f"BTCUSDT {first + at}" for at in missing]
        assert found.doubled == len(found.extra) == len(found.other) == 0
        assert found.is_sound is (not missing)
