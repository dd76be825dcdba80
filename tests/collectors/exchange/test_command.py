"""`tapedeck exchange` with a script, levers and a clock of its own."""

from pathlib import Path

import httpx
import pytest

from server.cli import main
from tests import processes


def test_the_command_takes_a_script_and_opens_its_levers(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text('[{"fault": "rest_reply", "status": 503, "path": "/time"}]')
    with (
        processes.exchange(f"--faults={script}", "--control-port=0", "--clock-speed=100") as urls,
        httpx.Client(trust_env=False) as client,
    ):
        assert client.get(f"{urls['rest_url']}/api/v3/time").status_code == 503
        client.delete(f"{urls['control_url']}/control/faults")
        first = client.get(f"{urls['rest_url']}/api/v3/time").json()["serverTime"]
        client.post(f"{urls['control_url']}/control/clock", json={"advance_s": 3600})
        second = client.get(f"{urls['rest_url']}/api/v3/time").json()["serverTime"]
        assert second - first >= 3_600_000
        assert client.get(f"{urls['control_url']}/control/report").json()["statuses"] == {"503": 1, "200": 2}


@pytest.mark.parametrize("text", ['{"fault": "drop"}', '[{"fault": "hole"}]', "nonsense", None])
def test_a_script_that_is_none_ends_the_command_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    script = tmp_path / "script.json"
    if text is not None:
        script.write_text(text)
    assert main(["exchange", "--port=0", f"--faults={script}"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("tapedeck: faults: ")
