"""deploy.sh in its local mode: a release is in place once it answers, else what ran before runs again.

The dependencies are those of the tests' own environment, by PYTHONPATH; `make wheel-test` installs them.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests import processes
from tests.ports import free_port
from tests.processes import ROOT

SOURCES = ["server", "collectors", "storage", "analytics", "infra", "pyproject.toml", "README.md", "LICENSE"]
# Starts the release in place, having stopped what ran; fails unless it answers.
RESTART = """#!/bin/sh
[ ! -e "$1/pid" ] || kill "$(cat "$1/pid")"
while [ -e "$1/pid" ] && kill -0 "$(cat "$1/pid")" 2>/dev/null; do sleep 0.1; done
"$1/current/bin/tapedeck" serve >>"$1/log" 2>&1 &
echo $! >"$1/pid"
until "$1/current/bin/python" -c "import urllib.request as u; u.urlopen('$2/healthz')" 2>/dev/null; do
    kill -0 "$(cat "$1/pid")" 2>/dev/null || exit 1
    sleep 0.1
done
"""


def checkout(directory: Path, *, broken: tuple[str, str] | None = None) -> Path:
    """A copy of the sources without dependencies to install; `broken` is a file, and what to add to it."""
    directory.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, directory / name)
    (directory / "requirements").mkdir()
    (directory / "requirements/runtime.txt").touch()
    if broken:
        file, added = broken
        with (directory / file).open("a") as text:
            text.write(added)
    return directory


def command(source: Path, *arguments: object) -> list[str]:
    return ["bash", str(source / "infra/deploy.sh"), "--python", sys.executable, *map(str, arguments)]


def environment(settings: dict[str, str]) -> dict[str, str]:
    own = {"BUILDER": sys.executable, "PYTHONPATH": sysconfig.get_path("purelib")}
    return processes.inherited() | settings | own


def deploy(
    source: Path, *arguments: object, settings: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(source, *arguments),
        capture_output=True, text=True, timeout=200, check=False, env=environment(settings or {}),
    )  # fmt: skip


def started(source: Path, *arguments: object) -> subprocess.Popen[str]:
    """The same, under way, in a process group of its own."""
    return subprocess.Popen(
        command(source, *arguments),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment({}),
        start_new_session=True,
    )  # fmt: skip


def in_place(target: Path) -> str:
    return (target / "current").readlink().name


def releases(target: Path) -> list[str]:
    return sorted(path.name for path in (target / "releases").iterdir())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return checkout(tmp_path / "source")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "name a HOST"),
        (["--local"], "needs a value"),
        (["host", "--local", "x"], "not both"),
        (["host", "other"], "one HOST"),
        (["host", "--restart", "x"], "goes with --local"),
        (["--local", "x", "--keep", "none"], "a number from 1 on"),
        (["--locale", "x"], "no option --locale"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: list[str], reason: str) -> None:
    done = deploy(ROOT, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr


def test_a_dry_run_says_everything_and_does_nothing(tmp_path: Path) -> None:
    done = deploy(ROOT, "--dry-run", "--local", tmp_path / "target", "--restart", "restart-it")
    assert (done.returncode, done.stderr) == (0, "")
    for part in ("build", "install", "ask its demo", "switch", "run: restart-it", "keep the newest 3"):
        assert part in done.stdout
    assert list(tmp_path.iterdir()) == []
    assert "systemctl restart tapedeck" in deploy(ROOT, "--dry-run", "somewhere").stdout


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_release_is_in_place_once_its_demo_has_answered(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "target"
    done = deploy(source, "--local", target)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "smoke test over SSE: " in done.stdout
    assert "smoke test over Streamable HTTP: " in done.stdout
    assert releases(target) == [in_place(target)]
    assert (target / "current/systemd/tapedeck.service").read_bytes() == (
        ROOT / "infra/systemd/tapedeck.service"
    ).read_bytes()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_release_whose_tools_fail_never_comes_into_place(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "target"
    assert deploy(source, "--local", target).returncode == 0
    before = in_place(target)
    fails = "\n\ndef profile_answer(*_: object, **__: object) -> None:\n    raise RuntimeError\n"
    broken = checkout(tmp_path / "broken", broken=("server/tools/profile.py", fails))
    done = deploy(broken, "--local", target)
    assert done.returncode == 1
    assert "its demo does not answer" in done.stdout
    assert (in_place(target), releases(target)) == (before, [before])


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_deployment_that_is_interrupted_leaves_what_was_there(
    tmp_path: Path, source: Path, number: signal.Signals
) -> None:
    target, waits = tmp_path / "target", tmp_path / "waits"
    before = target / "releases/20200101T000000Z-0.0.1/bin"
    before.mkdir(parents=True)
    (before / "python").write_text("#!/bin/sh\necho asked\n")
    (before / "python").chmod(0o755)
    (target / "current").symlink_to("releases/20200101T000000Z-0.0.1")
    restart = f'case "$(readlink {target}/current)" in *0.0.1) ;; *) touch {waits}; sleep 60;; esac'
    with started(source, "--local", target, "--restart", restart) as child:
        deadline = time.monotonic() + 200
        while not waits.exists() and time.monotonic() < deadline:
            assert child.poll() is None
        os.killpg(child.pid, number)
        said, _ = child.communicate(timeout=60)
        assert child.returncode != 0
    assert "back to 20200101T000000Z-0.0.1" in said
    assert "asked" in said
    assert (in_place(target), releases(target)) == ("20200101T000000Z-0.0.1", ["20200101T000000Z-0.0.1"])
    assert not (target / ".deploying").exists()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_settings_that_do_not_suit_a_release_keep_it_out(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "tapedeck.env").write_text("TAPEDECK_PROT=8000\n")
    done = deploy(source, "--local", target)
    assert done.returncode == 1
    assert "TAPEDECK_PROT" in done.stderr
    assert not (target / "current").exists()
    assert releases(target) == []


@contextmanager
def service(directory: Path, target: Path) -> Iterator[tuple[list[object], str, dict[str, str]]]:
    """What makes deploy.sh restart a real server on the stand-in exchange: options, address, settings."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    script = directory / "restart"
    script.write_text(RESTART)
    with processes.exchange() as urls:
        settings = processes.environment_for(urls, directory / "ledger", PORT=port)
        try:
            yield ["--restart", f"sh {script} {target} {url}", "--url", url], url, settings
        finally:
            if (target / "pid").exists():
                subprocess.run(["kill", (target / "pid").read_text().strip()], check=False)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_service_that_does_not_start_is_rolled_back_and_the_newest_releases_stay(
    tmp_path: Path, source: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    fails = "\n\ndef _serve(given: argparse.Namespace) -> int:\n    return 1\n"  # only its demo answers
    broken = checkout(tmp_path / "broken", broken=("server/cli.py", fails))
    with service(tmp_path, target) as (options, url, settings):
        for number in range(1, 5):
            done = deploy(source, "--local", target, *options, settings=settings)
            assert done.returncode == 0, done.stdout + done.stderr
            assert len(releases(target)) == min(number, 3)
            assert in_place(target) == releases(target)[-1]
        before, kept = in_place(target), releases(target)
        done = deploy(broken, "--local", target, *options, settings=settings)
        assert done.returncode == 1
        assert "does not start, or does not answer" in done.stdout
        assert f"back to {before}\n" in done.stdout
        assert f"{before} answers again" in done.stdout
        assert (in_place(target), releases(target)) == (before, kept)
        assert httpx.get(f"{url}/healthz", trust_env=False, timeout=60).status_code == 200
    assert "Traceback" not in (target / "log").read_text()


def test_a_host_is_reached_by_ssh_and_served_by_systemd(tmp_path: Path, source: Path) -> None:
    """ssh and sudo are stood in for, and run what they are given here; so the quoting is the real one."""
    programs = tmp_path / "programs"
    programs.mkdir()
    told = 'echo "$PREFIX|$KEEP|$URL|$ENV_FILE|$RESTART|$PYTHON|$(ls "$(dirname "$1")")"'
    for name, text in {
        "ssh": 'shift; echo "$*" >> "$SAID"; exec /bin/sh -c "$*"',
        "sudo": 'exec "$@"',
        "sh": f'case "$1" in */release.sh) {told}; exit 7;; esac; exec /bin/sh "$@"',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    said = tmp_path / "said"
    done = deploy(
        source, "--keep", "5", "host",
        settings={"PATH": f"{programs}:{os.environ['PATH']}", "SAID": str(said)},
    )  # fmt: skip
    assert done.returncode == 7, done.stdout + done.stderr
    settings = done.stdout.splitlines()[1].split("|")
    assert settings[:4] == ["/opt/tapedeck", "5", "http://127.0.0.1:8000", "/etc/tapedeck/tapedeck.env"]
    assert settings[4].endswith("&& systemctl restart tapedeck")
    assert settings[5] == sys.executable
    there = re.findall(r"-C (\S+) -xz", said.read_text())[0]
    assert not Path(there).exists()
    for file in ("install.sh", "release.sh", "smoke_test.py", "runtime.txt", "systemd", ".whl"):
        assert file in done.stdout
