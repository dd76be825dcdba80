"""A port is given to one test alone."""

import socket
import subprocess
import sys

from tests.ports import PORTS, free_port
from tests.processes import ROOT

ALL_LEFT = """
from tests import ports
ports.PORTS = range({port}, {port} + 1)
ports.free_port()
"""


def test_no_other_process_is_given_a_port_that_this_one_has() -> None:
    port = free_port()
    assert port in PORTS
    other = subprocess.run(
        [sys.executable, "-c", ALL_LEFT.format(port=port)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "StopIteration" in other.stderr
    with socket.create_server(("127.0.0.1", port)):
        pass
