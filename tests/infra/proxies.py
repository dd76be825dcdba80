"""nginx and Caddy on loopback with the configurations as they are shipped, in front of a tapedeck."""

import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.processes import ROOT, Process, start

HOST = "tape.test"
Front = Callable[[Path, str], AbstractContextManager[int]]


def require(program: str) -> str:
    """The program's path; the test is skipped where it is not installed."""
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for `HOST` that signs itself, and its key."""
    openssl = require("openssl")
    pem, key = directory / "certificate.pem", directory / "key.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-keyout", key, "-out", pem, "-subj", f"/CN={HOST}",
         "-addext", f"subjectAltName=DNS:{HOST}"],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    return pem, key


def trusting(directory: Path) -> ssl.SSLContext:
    """What a client needs to believe the certificate in the directory."""
    return ssl.create_default_context(cafile=str(directory / "certificate.pem"))


@contextmanager
def nginx(directory: Path, upstream: str) -> Iterator[int]:
    """The template of nginx, filled in by envsubst and included by the least of all main files; its port."""
    program, envsubst = require("nginx"), require("envsubst")
    pem, key = certificate(directory)
    port = free_port()
    values = {
        "PUBLIC_HOST": HOST,
        "UPSTREAM": upstream,
        "HTTP_LISTEN": f"127.0.0.1:{free_port()}",
        "HTTPS_LISTEN": f"127.0.0.1:{port}",
        "TLS_CERTIFICATE": str(pem),
        "TLS_KEY": str(key),
    }
    template = (ROOT / "infra/nginx/tapedeck.conf.template").read_text()
    filled = subprocess.run(
        [envsubst, " ".join(f"${name}" for name in values)],
        input=template, env=values, capture_output=True, text=True, check=True, timeout=10,
    ).stdout  # fmt: skip
    (directory / "tapedeck.conf").write_text(filled)
    (directory / "nginx.conf").write_text(
        f"pid {directory}/nginx.pid;\nerror_log stderr info;\nevents {{}}\nhttp {{\n"
        + "".join(
            f"    {kind}_temp_path {directory}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        + f"    access_log off;\n    include {directory}/tapedeck.conf;\n}}\n"
    )
    command = (program, "-p", str(directory), "-c", f"{directory}/nginx.conf", "-g", "daemon off; user root;")
    with start(*command) as process:
        until_listening(port, process)
        yield port
        process.child.terminate()  # it ends its workers
        process.wait(30)


@contextmanager
def caddy(directory: Path, upstream: str) -> Iterator[int]:
    """Caddy with the file as it is and everything else from the environment; its port."""
    program = require("caddy")
    pem, key = certificate(directory)
    port = free_port()
    environment = {
        "PUBLIC_HOST": HOST,
        "UPSTREAM": upstream,
        "TLS": f"{pem} {key}",
        "BIND": "127.0.0.1",
        "HTTP_PORT": str(free_port()),
        "HTTPS_PORT": str(port),
        "XDG_DATA_HOME": str(directory),
        "XDG_CONFIG_HOME": str(directory),
    }
    config = str(ROOT / "infra/caddy/Caddyfile")
    with start(program, "run", "--config", config, environment=environment) as process:
        until_listening(port, process)
        yield port


def until_listening(port: int, process: Process) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.child.poll() is not None:
            break
    raise AssertionError(f"does not listen: {''.join(process.lines)}")
