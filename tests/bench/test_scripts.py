"""The benchmarks that are run by their path find the packages, and not the files beside them."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.mark.parametrize("script", ["ledger.py", "server.py"])
def test_a_benchmark_starts_by_its_path(script: str) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCH / script), "--help"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--json" in done.stdout
