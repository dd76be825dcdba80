"""A test that asks for a `seed` runs on tapes of many: 30, and 1,000 among the long ones."""

import pytest

QUICK, ALL = 30, 1_000


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Long ones, five times as many as all other tests, are not made where they would be left out."""
    marks = metafunc.definition.iter_markers("parametrize")
    if "seed" in metafunc.fixturenames and not any(mark.args[0] == "seed" for mark in marks):
        left_out = metafunc.config.option.markexpr == "not long"
        long = [pytest.param(seed, marks=pytest.mark.long) for seed in range(QUICK, 0 if left_out else ALL)]
        metafunc.parametrize("seed", [*range(QUICK), *long])
