"""The benchmark's ways to an answer agree, and one that does not ends the run."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.filling import fill, sealed_bytes
from bench.goals import Goal
from bench.measure import interleaved_ms
from bench.parquet import write_parquet
from bench.profiles import Rival, cases_of, rivals_over, ways_of
from bench.rivals import Floor
from bench.synthetic import SEED, SyntheticTape
from bench.windows import NOW_MS, SYMBOL
from collectors.exchange import GeneratedMarket
from storage import keys
from storage.keys import HOUR_MS
from storage.ledger import TradeLedger


@pytest.fixture(scope="module")
def tape() -> SyntheticTape:
    """Three hours of a thin market, the last of them open."""
    market = GeneratedMarket(SEED, symbols=[SYMBOL], rate=0.05)
    first_ms = keys.hour_of(NOW_MS) - 2 * HOUR_MS
    hours = {
        hour_ms: market.trades(SYMBOL, hour_ms, min(hour_ms + HOUR_MS, NOW_MS))
        for hour_ms in range(first_ms, NOW_MS, HOUR_MS)
    }
    return SyntheticTape(market.instruments[SYMBOL], hours)


@pytest.fixture
def ledger(tmp_path: Path, tape: SyntheticTape) -> Iterator[TradeLedger]:
    fill(tmp_path / "ledger", [tape])
    with TradeLedger.open(tmp_path / "ledger", create=False) as ledger:
        yield ledger


@pytest.fixture
def rivals(tmp_path: Path, tape: SyntheticTape) -> dict[str, Rival]:
    write_parquet(tmp_path / "tape.parquet", tape)
    return rivals_over(tmp_path / "tape.parquet", Floor(tape.all()))


def test_every_way_gives_the_same_integers(ledger: TradeLedger, rivals: dict[str, Rival]) -> None:
    for case in cases_of(ledger):
        taken = interleaved_ms(ways_of(ledger, rivals, case), 1, slow=frozenset())
        assert taken.keys() == {"", *rivals}


def test_a_way_that_is_one_lot_off_ends_the_run(ledger: TradeLedger, rivals: dict[str, Rival]) -> None:
    case = cases_of(ledger)[0]
    ways = ways_of(ledger, rivals, case)
    right = ways["floor"]()
    wrong = np.concatenate([right.sums.buy[:-1], right.sums.buy[-1:] + 1])
    ways["floor"] = lambda: replace(right, sums=replace(right.sums, buy=wrong))
    with pytest.raises(AssertionError, match="floor"):
        interleaved_ms(ways, 1, slow=frozenset())


def test_figures_are_named_as_the_goals_name_them(ledger: TradeLedger) -> None:
    cases = {(case.hours, case.kind): case for case in cases_of(ledger)}
    assert cases[24, "default"].figure() == "profile_24h_ms"
    assert cases[1, "default"].figure("duckdb_first") == "profile_1h_duckdb_first_ms"
    assert cases[168, "odd"].figure("floor") == "profile_168h_odd_floor_ms"


def test_sealed_bytes_are_those_of_all_records_of_sealed_hours(tmp_path: Path, tape: SyntheticTape) -> None:
    filled = fill(tmp_path / "ledger", [tape])
    assert filled.trades == len(tape)
    assert filled.sealed == {SYMBOL: len(tape) - len(tape.hours[max(tape.hours)])}
    assert 2 < sealed_bytes(tmp_path / "ledger", SYMBOL) / filled.sealed[SYMBOL] < 12


def test_a_goal_is_met_at_its_limit_and_not_beyond() -> None:
    slower = Goal("ours of theirs", "ours_ms", "theirs_ms", at_most=0.5)
    faster = Goal("theirs over ours", "theirs_ms", "ours_ms", at_least=2)
    for goal in (slower, faster):
        assert goal.is_met({"ours_ms": 1.0, "theirs_ms": 2.0})
        assert not goal.is_met({"ours_ms": 1.1, "theirs_ms": 2.0})
