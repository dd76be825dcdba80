"""Damage to any file of a ledger: never a wrong answer, never an emptied ledger, and a way back."""

import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from storage.errors import LedgerError
from storage.ledger import TradeLedger
from storage.repair import repair_ledger
from storage.verify import verify
from tests.ledgers import Truth, build, differences, truth

DAMAGES = ("flip", "flip", "flip", "overwrite", "truncate", "delete")


def damage(path: Path, chosen: random.Random) -> tuple[str, str]:
    """Damage one file of the directory; which one and how."""
    file = chosen.choice([file for file in sorted(path.iterdir()) if file.is_file()])
    how = chosen.choice(DAMAGES)
    contents = bytearray(file.read_bytes())
    if how == "delete" or not contents:
        file.unlink()
        return file.name, "delete"
    at = chosen.randrange(len(contents))
    if how == "flip":
        contents[at] ^= 1 << chosen.randrange(8)
    elif how == "overwrite":
        contents[at : at + 64] = chosen.randbytes(len(contents[at : at + 64]))
    else:
        del contents[at:]
    file.write_bytes(contents)
    return file.name, f"{how} at {at}"


def opened_is_right(path: Path, tapes: Truth) -> bool:
    """A damaged ledger answers rightly from what it holds, or says what is damaged; whether it answers all
    from everything."""
    try:
        with TradeLedger.open(path) as ledger:
            assert ledger.symbols, "the ledger is emptied"
            assert list(differences(ledger, tapes)) == []
            return holds_all(ledger, tapes)
    except LedgerError:
        return False


def holds_all(ledger: TradeLedger, tapes: Truth) -> bool:
    return all(
        [i for run in ledger.runs(symbol) for i in range(run.first_id, run.last_id + 1)] == tape.id.tolist()
        for symbol, tape in tapes.items()
    )


def repaired_is_right(path: Path, tapes: Truth) -> None:
    """A repair leaves a ledger without damage, and what is fetched again fills what it lost."""
    found, _, left = repair_ledger(path)
    assert [finding for finding in verify(path)[0] if finding.is_damage] == []
    with TradeLedger.open(path, create=False) as ledger:
        assert list(differences(ledger, tapes)) == []
        for symbol, tape in tapes.items():
            ledger.append(symbol, tape)
        ledger.flush()
        assert holds_all(ledger, tapes)
        assert list(differences(ledger, tapes)) == []
        nothing_says_it = any("the venue: the next start" in each.what for each in [*found, *left])
        assert ledger.venue == (None if nothing_says_it else "binance spot")


@pytest.mark.parametrize("crashed", [False, True], ids=["stopped", "crashed"])
@pytest.mark.parametrize(
    "cases", [25, pytest.param(1500, marks=[pytest.mark.long, pytest.mark.timeout(7200)])]
)
def test_whatever_file_is_damaged_no_answer_is_wrong_and_a_repair_brings_the_ledger_back(
    tmp_path: Path, cases: int, crashed: bool
) -> None:
    tapes = truth()
    build(tmp_path / "whole", crashed=crashed)
    seen: Counter[str] = Counter()
    for case in range(cases):
        for name in ("opened", "verified"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
            shutil.copytree(tmp_path / "whole", tmp_path / name)
            hit = damage(tmp_path / name, random.Random(case))
        try:
            whole = opened_is_right(tmp_path / "opened", tapes)
            found = [finding for finding in verify(tmp_path / "verified")[0] if finding.is_damage]
            # A log that a crash cut off is no damage, and its end may be cut off anywhere.
            assert found or whole or (crashed and hit[0].endswith(".log"))
            repaired_is_right(tmp_path / "verified", tapes)
        except BaseException as error:
            error.add_note(f"case {case}: {hit}")
            raise
        seen[f"{'whole' if whole else 'partial or refused'}, {'found' if found else 'clean'}"] += 1
    print(dict(seen))  # noqa: T201  shown with -s
