"""Shared by all tests: hypothesis profiles, the order in which they run, certificates read once."""

import os
import re
import ssl
from collections.abc import Iterator
from functools import cache

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


@pytest.fixture(scope="session", autouse=True)
def _certificates_are_read_once() -> Iterator[None]:
    """Not by every HTTP client, which takes 20 ms of processor time each; none of them leaves the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))
        yield


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
