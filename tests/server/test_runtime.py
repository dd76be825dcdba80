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


def test_what_is_loaded_is_not_searched_for_garbage_again() -> None:
    loaded = [[] for _ in range(10)]  # type: list[list[object]]
    runtime.settle()
    try:
        assert gc.get_freeze_count() > len(loaded)
        assert not any(each is one for each in gc.get_objects() for one in loaded)
    finally:
        gc.unfreeze()
