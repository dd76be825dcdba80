"""A short soak: every run of the tests meets some faults of every family."""

from pathlib import Path

import pytest

from tests.soak.run import soak


@pytest.mark.timeout(300)
def test_half_a_minute_of_faults_loses_and_doubles_nothing(tmp_path: Path) -> None:
    found = soak(20, 7, tmp_path)
    assert found.is_sound, found
    assert found.told["Traceback"] == found.told["task failed"] == 0
    assert len(found.faults) > 10
