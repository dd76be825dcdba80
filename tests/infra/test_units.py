"""systemd finds nothing wrong with the units, and little that they leave exposed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from server.settings import PREFIX, Settings
from tests.processes import ROOT

UNITS = sorted((ROOT / "infra/systemd").glob("tapedeck*.service")) + sorted(
    (ROOT / "infra/systemd").glob("tapedeck*.timer")
)
SYSTEM_UNITS = Path("/usr/lib/systemd/system")
MOST_EXPOSED = 2.5


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None or not SYSTEM_UNITS.is_dir():
        pytest.skip("systemd-analyze and systemd's own units are not installed")
    return subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root directory with systemd's units, ours, and something to execute where tapedeck would be."""
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    for unit in UNITS:
        shutil.copy(unit, units)
    if SYSTEM_UNITS.is_dir():
        shutil.copytree(SYSTEM_UNITS, tmp_path / "usr/lib/systemd/system", symlinks=True)
    command = tmp_path / "opt/tapedeck/current/bin/tapedeck"
    command.parent.mkdir(parents=True)
    shutil.copy(sys.executable, command)
    return tmp_path


def test_systemd_understands_every_line(root: Path) -> None:
    done = analyze("verify", f"--root={root}", *(unit.name for unit in UNITS))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", [u for u in UNITS if u.suffix == ".service"], ids=lambda unit: unit.name)
def test_little_is_exposed(root: Path, unit: Path) -> None:
    done = analyze("security", "--offline=true", f"--root={root}", unit.name)
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert exposure is not None, done.stdout + done.stderr
    assert float(exposure[1]) < MOST_EXPOSED


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_what_a_unit_sets_is_a_setting_and_no_secret(unit: Path) -> None:
    named = set(re.findall(rf"\b{PREFIX}([A-Z_]+)=", unit.read_text()))
    assert named <= {name.upper() for name in Settings.model_fields}
    assert not re.search(r"token|password|secret", unit.read_text(), re.IGNORECASE)


def test_units_and_their_user_agree() -> None:
    users = (ROOT / "infra/systemd/tapedeck.sysusers").read_text()
    for unit in UNITS:
        if unit.suffix == ".service":
            user = re.search(r"^User=(\S+)$", unit.read_text(), re.MULTILINE)
            assert user is not None
            assert f"\nu {user[1]} " in users
