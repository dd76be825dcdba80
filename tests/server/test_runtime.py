"""A tuned process answers as before; what changes is the interpreter's own setting."""

import gc
import sys
from collections.abc import Iterator

import pytest

from server import runtime


@pytest.fixture
def as_before() -> Iterator[None]:
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)
    gc.unfreeze()


@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize("platform", [sys.platform, "darwin"])
def test_threads_take_turns_more_often_on_any_platform(
    monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    runtime.tune()
    assert sys.getswitchinterval() == pytest.approx(runtime.SWITCH_INTERVAL_S)


@pytest.mark.usefixtures("as_before")
def test_what_is_imported_is_not_looked_through_for_garbage() -> None:
    runtime.tune()
    assert gc.get_freeze_count() > 10_000
