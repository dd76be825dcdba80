"""Shared by all tests: hypothesis profiles, and the order in which they run."""

import os
import re

import pytest
from hypothesis import settings

settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("long", deadline=None, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))

# They take seconds each, most of them waiting; at the end of a run nothing else would be left beside them.
WHOLE_RUNS = re.compile(r"/(soak|test_acceptance_|test_days|test_steps|test_recorder|test_end_to_end)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs come first."""
    items.sort(key=lambda item: WHOLE_RUNS.search(item.nodeid) is None)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
