"""A short soak: every run of the tests meets some faults of every family."""

from pathlib import Path

import pytest

from tests.soak.run import soak

# In its first seconds come eleven kinds, with a kill, a pause and a disk that refuses among them.
QUICK = 27381
LONGER = 2436


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("seconds", "seed", "kinds"), [(11, QUICK, 9), pytest.param(18, LONGER, 11, marks=pytest.mark.long)]
)
def test_seconds_of_faults_lose_and_double_nothing(
    tmp_path: Path, seconds: float, seed: int, kinds: int
) -> None:
    found = soak(seconds, seed, tmp_path)
    assert found.is_sound, found
    assert found.told["Traceback"] == found.told["task failed"] == 0
    assert found.faults.keys() >= {"Kill", "Stop", "DiskRefuses"}
    assert len(found.faults) >= kinds, found.faults
