"""A short soak: every run of the tests meets some faults of every family."""

from pathlib import Path

import pytest

from tests.soak.run import soak

# Kills, pauses and a disk that refuses come in its first seconds.
SEED = 2436


@pytest.mark.timeout(300)
def test_half_a_minute_of_faults_loses_and_doubles_nothing(tmp_path: Path) -> None:
    found = soak(18, SEED, tmp_path)
    assert found.is_sound, found
    assert found.told["Traceback"] == found.told["task failed"] == 0
    assert len(found.faults) > 10
