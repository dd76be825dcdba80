"""The wheel of this checkout, built and installed where nothing else is."""

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from tests.processes import ROOT, inherited


def wheel_in(directory: Path) -> Path:
    """The wheel, built into `directory`/dist."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", directory / "dist"],
        cwd=ROOT, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return directory / "dist" / f"tapedeck-{version('tapedeck')}-py3-none-any.whl"


def run(directory: Path, *command: object, **environment: object) -> str:
    """What a command says that is run in this directory and must succeed."""
    done = subprocess.run(
        [str(part) for part in command], cwd=directory,
        env=inherited() | {name: str(value) for name, value in environment.items()},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def installed(directory: Path, wheel: Path) -> Path:
    """A new environment in `directory`, with the wheel and its locked dependencies; its `bin`."""
    shutil.copy(ROOT / "infra/install.sh", directory)
    shutil.copy(ROOT / "requirements/runtime.txt", directory)
    run(directory, "sh", "install.sh", directory / "env", wheel, "runtime.txt", PYTHON=sys.executable)
    return directory / "env/bin"
