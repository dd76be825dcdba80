"""The out-of-sample test of vacuums: it finds planted memory, and nothing where there is none."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from analytics.rows import Rows
from bench.memory_simulation import remembering, thin_but_not_fast, without_memory
from bench.vacuums import (
    MIN_DAYS,
    MIN_SETS,
    Effect,
    Follower,
    Result,
    effect,
    main,
    of_columns,
    outcome_of,
)
from storage.export_files import export, file_of_rows
from storage.trades import TradeColumns
from tests.analytics.tapes import columns, prints_at

NOTHING = Effect(0.0, -0.1, 0.1, 0.9)
CLEAR = Effect(-0.7, -0.9, -0.5, 0.001)


def outcome(trades: TradeColumns) -> Result:
    span = int(trades.time_ms.min()), int(trades.time_ms.max()) + 1
    return outcome_of(of_columns(trades), *span, tick=Decimal("0.01"))


def test_memory_that_was_planted_is_found() -> None:
    found = outcome(remembering(1, 20))

    assert found.faster.high < 0
    assert found.faster.p < 0.05
    assert found.claim.startswith("Thin, no proven effect")  # of 20 days


def test_a_market_without_memory_is_not_rejected() -> None:
    found = outcome(without_memory(1, 30))

    assert found.sets > 5
    assert found.faster.low < 0 < found.faster.high
    assert found.faster.p > 0.05


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_over_many_markets_memory_is_found_and_its_absence_is_not() -> None:
    absent = [outcome(without_memory(seed, 80)) for seed in range(8)]
    slow = [outcome(thin_but_not_fast(seed, 80)) for seed in range(8)]
    planted = [outcome(remembering(seed, 80)) for seed in range(8)]

    assert sum(found.faster.p < 0.05 for found in absent) <= 1
    assert sum(found.faster.high < 0 for found in slow) <= 1
    assert sum(found.claim.startswith("Out of sample") for found in planted) >= 6


@pytest.mark.parametrize(
    ("sets", "days", "faster", "claim"),
    [
        (MIN_SETS - 1, MIN_DAYS, CLEAR, "Thin, no proven effect: 199 matched sets on 60 days"),
        (MIN_SETS, MIN_DAYS - 1, CLEAR, "Thin, no proven effect: 200 matched sets on 59 days"),
        (MIN_SETS, MIN_DAYS, NOTHING, "Thin, no proven effect: the interval of the speed ratio holds 1."),
        (MIN_SETS, MIN_DAYS, CLEAR, "Out of sample, price left thin ranges in 0.50 of the time"),
    ],
)
def test_nothing_is_claimed_on_too_little_or_without_an_effect(
    sets: int, days: int, faster: Effect, claim: str
) -> None:
    assert Result(sets, days, faster, CLEAR).claim.startswith(claim)


def test_days_and_not_hours_decide_how_sure_an_effect_is() -> None:
    """Forty equal values are certain when they are of forty days, and nothing when they are of one."""
    values = np.full(40, -0.5)

    assert effect(values, np.arange(40)).p < 0.001
    assert effect(values, np.zeros(40, np.int64)).p == 1.0
    assert effect(np.array([]), np.array([], np.int64)).p == 1.0


def followed(*prices: str) -> Follower:
    """A print a second in rows of 1 from 100 on, half of them before T."""
    prints = prints_at(["100", "101", *prices])
    none = np.ones(10, np.int64)
    rows = Rows(100, 1, Decimal(1), none, none, none, none, 0)
    return Follower(columns(prints), rows, prints[2].time_ms)


def test_a_passage_lasts_from_the_first_print_inside_to_the_first_a_row_away() -> None:
    passage = followed("102", "104", "105", "106", "107").passage(4, 5)

    assert passage is not None
    assert (passage.seconds, passage.through) == (3.0, True)
    assert passage.variance_per_s > 0


def test_a_passage_that_turns_back_did_not_go_through() -> None:
    passage = followed("102", "104", "103", "102").passage(4, 5)

    assert passage is not None
    assert (passage.seconds, passage.through) == (2.0, False)


def test_no_entry_or_no_exit_is_no_passage() -> None:
    assert followed("102", "103").passage(4, 5) is None
    assert followed("102", "104", "106").passage(4, 5) is None


def test_files_are_read_and_the_claim_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with file_of_rows(tmp_path / "day.parquet", "parquet") as out:
        export([without_memory(2, 3, 5_000)], out, lambda made: {})
    monkeypatch.setattr("sys.argv", ["vacuums", str(tmp_path / "day.parquet")])
    main()

    printed = capsys.readouterr().out
    assert "day.parquet: " in printed
    assert "Thin, no proven effect" in printed
