"""The command line called in this process, and a scenario that runs at once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mltwin.app import cli

SCENARIO = """
system = "serving"

[workload]
requests = 60
rate = 8.0

[model]
name = "llama-3.1-8b"

[cluster.mixed]
replicas = 2
"""


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line; exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return run


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SCENARIO)
    return path
