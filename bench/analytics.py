"""What the analyses cost on a synthetic week of BTCUSDT at its real rate, 10.9 M trades.

One family after the other, each in a process of its own; a further one is a module with `GOALS` that prints
its figures as JSON when it is run on a ledger. Exit status 0 whether the goals are met or not.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import analytics_flow, analytics_profile
from bench.filling import fill
from bench.goals import Goal
from bench.measure import Figures, in_a_fresh_process
from bench.synthetic import week_of
from bench.windows import SYMBOL

FAMILIES: Mapping[str, Sequence[Goal]] = {
    "analytics_profile": analytics_profile.GOALS,
    "analytics_flow": analytics_flow.GOALS,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    parser.add_argument(
        "--ledger", type=Path, metavar="DIR", help="keep the week there, or use the one there"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tapedeck-bench-") as directory:
        ledger = given.ledger or Path(directory) / "week"
        if not ledger.exists():
            fill(ledger, [week_of(SYMBOL)])
        figures = {family: in_a_fresh_process(f"bench.{family}", ledger) for family in FAMILIES}
    for family, goals in FAMILIES.items():
        print_family(family, figures[family], goals)
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")


def print_family(family: str, figures: Figures, goals: Sequence[Goal]) -> None:
    print(f"\n{family}")
    for name, value in figures.items():
        print(f"  {name:<34}{value:>14,.1f}")
    for goal in goals:
        met = "met" if goal.is_met(figures) else "OPEN"
        print(f"  {met:<5}{goal.what:<34}{goal.value(figures):>10,.1f}   {goal.limit}")


if __name__ == "__main__":
    main()
