"""A release is the same bytes for the same sources, and runs where there is nothing but Python."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.installed import installed, run, wheel_in
from tests.processes import ROOT, inherited

LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", ".tools", "dist", "__pycache__", ".*_cache", ".hypothesis", "node_modules"
)
EPOCH = "1700000000"


def built(directory: Path, *, touched_at: int) -> dict[str, bytes]:
    """Wheel and source from a copy of the project whose files are of that time."""
    shutil.copytree(ROOT, directory / "copy", ignore=LEFT_OUT, symlinks=True)
    for path in (directory / "copy").rglob("*"):
        os.utime(path, (touched_at, touched_at), follow_symlinks=False)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", directory / "dist"],
        cwd=directory / "copy", env=inherited() | {"SOURCE_DATE_EPOCH": EPOCH}, check=True,
        capture_output=True, timeout=60,
    )  # fmt: skip
    return {path.name: path.read_bytes() for path in (directory / "dist").iterdir()}


def test_two_builds_elsewhere_and_later_are_the_same_bytes(tmp_path: Path) -> None:
    one = built(tmp_path / "one", touched_at=1_600_000_000)
    assert sorted(one) == [f"tapedeck-{version('tapedeck')}{end}" for end in ("-py3-none-any.whl", ".tar.gz")]
    assert one == built(tmp_path / "two", touched_at=1_650_000_000)


def test_the_locks_agree() -> None:
    def pins(name: str) -> set[str]:
        lines = (ROOT / "requirements" / name).read_text().splitlines()
        return {line.removesuffix(" \\") for line in lines if "==" in line and not line.startswith(" ")}

    assert pins("runtime.txt") | pins("build.txt") == pins("users.txt")
    assert pins("users.txt") <= pins("developers.txt")


def assert_works(directory: Path, python: Path, command: Path) -> None:
    """The installation that this Python belongs to answers tool calls of its own demo."""
    assert run(directory, command, "--version").strip() == f"tapedeck {version('tapedeck')}"
    where = run(directory, python, "-c", "import server; print(server.__path__[0])")
    assert Path(where.strip()).is_relative_to(directory)
    shutil.copy(ROOT / "infra/smoke_test.py", directory)
    assert run(directory, python, "smoke_test.py", "--demo").count("smoke test over ") == 2


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_wheel_runs_in_an_empty_environment_outside_the_checkout(tmp_path: Path) -> None:
    wheel = wheel_in(tmp_path)
    with zipfile.ZipFile(wheel) as files:
        tops = {name.split("/")[0].split("-")[0] for name in files.namelist()}
    assert tops == {"server", "collectors", "storage", "analytics", "tapedeck"}
    programs = installed(tmp_path, wheel)
    assert "No broken requirements found" in run(tmp_path, programs / "python", "-m", "pip", "check")
    assert_works(tmp_path, programs / "python", programs / "tapedeck")


@pytest.fixture
def installer(tmp_path: Path) -> Callable[[str], Path]:
    """Puts a program out of a package of its name into an environment of its own; where it is then."""

    def put(name: str) -> Path:
        venv.create(tmp_path / name, with_pip=True)
        run(tmp_path, tmp_path / name / "bin/python", "-m", "pip", "install", "--quiet", name)
        return tmp_path / name / "bin" / name

    return put


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_wheel_runs_as_a_tool_of_uvs(tmp_path: Path, installer: Callable[[str], Path]) -> None:
    uv, wheel = installer("uv"), wheel_in(tmp_path)
    places = {"UV_TOOL_DIR": tmp_path / "tools", "UV_TOOL_BIN_DIR": tmp_path / "bin"}
    run(tmp_path, uv, "tool", "install", "--python", sys.executable, wheel, **places)
    python = tmp_path / "tools/tapedeck/bin/python"
    assert "compatible" in run(tmp_path, uv, "pip", "check", "--python", python)
    assert_works(tmp_path, python, tmp_path / "bin/tapedeck")
    run(tmp_path, uv, "tool", "uninstall", "tapedeck", **places)
    assert not (tmp_path / "bin/tapedeck").exists()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_wheel_runs_as_a_tool_of_pipxs(tmp_path: Path, installer: Callable[[str], Path]) -> None:
    pipx, wheel = installer("pipx"), wheel_in(tmp_path)
    places = {
        "PIPX_HOME": tmp_path / "tools",
        "PIPX_BIN_DIR": tmp_path / "bin",
        "PIPX_MAN_DIR": tmp_path / "m",
    }
    run(tmp_path, pipx, "install", "--python", sys.executable, wheel, **places)
    assert "No broken requirements found" in run(tmp_path, pipx, "runpip", "tapedeck", "check", **places)
    assert_works(tmp_path, tmp_path / "tools/venvs/tapedeck/bin/python", tmp_path / "bin/tapedeck")


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_whole_release_is_made_twice_with_the_same_checksums(tmp_path: Path) -> None:
    if not (ROOT / ".tools/bin/cyclonedx-py").exists():
        pytest.skip("the tools that look at a release are not installed; `make check` does that")
    settings = {"BUILDER": sys.executable, "PYTHON": sys.executable, "SOURCE_DATE_EPOCH": EPOCH}
    sums = []
    for directory in ("one", "two"):
        done = subprocess.run(
            ["bash", ROOT / "infra/build_release.sh", tmp_path / directory],
            env=inherited() | settings,
            capture_output=True, text=True, timeout=800, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        sums.append((tmp_path / directory / "SHA256SUMS").read_text())
    assert sums[0] == sums[1]
    assert len(sums[0].splitlines()) == 4
    assert "pyarrow" in (tmp_path / "one/licences.md").read_text()
    assert str(tmp_path) not in (tmp_path / "one/sbom.cdx.json").read_text()
