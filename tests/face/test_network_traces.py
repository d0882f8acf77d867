"""Links of a `NetworkScenario` that follow a bandwidth trace: from a file, drawn, errors."""

from pathlib import Path

import pytest

from mltwin.network import NetworkScenario
from mltwin.sim.errors import InputError

DUMBBELL = {
    "name": "dumbbell",
    "left": 1,
    "right": 1,
    "edge_latency_s": 0.0,
    "edge_bytes_per_s": 1e9,
    "bottleneck_latency_s": 0.0,
}
LINK = "switch.left <-> switch.right"


def one_flow(trace: dict, megabytes: float = 3.0) -> NetworkScenario:
    """1 MB/s for 1 s, then 2 MB/s, in a file; one flow crosses the link."""
    traffic = {"kind": "pattern", "pattern": "incast", "size_mb": megabytes}
    given = {"link": LINK, **trace}
    return NetworkScenario(topology=DUMBBELL).changed({"traffic": traffic, "traces": [given]})


@pytest.fixture
def steps(tmp_path: Path) -> str:
    path = tmp_path / "steps.txt"
    path.write_text("0 8\n1 8\n2 16\n3 16\n")
    return str(path)


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ({}, 2.0),  # 1 MB in the first second, 2 MB in the next
        ({"scale": 2.0}, 1.25),
        ({"start_s": 1.0}, 1.5),
        ({"start_s": 2.0}, 2.0),  # 2 MB, then the trace begins again
        ({"until_s": 0.5}, 3.0),  # the first rate stays
    ],
)
def test_a_link_follows_a_file(steps: str, more: dict, seconds: float) -> None:
    result = one_flow({"trace": steps, **more}).run()
    assert result.metrics["makespan_ms"] == pytest.approx(1e3 * seconds, rel=1e-6)
    assert result.violations == []


def test_drawn_traces_are_those_of_the_seed() -> None:
    base = one_flow({"trace": "4g"}, megabytes=20.0)
    first, again, other = base.run(1), base.run(1), base.run(2)
    assert first.metrics == again.metrics
    assert first.metrics["makespan_ms"] != other.metrics["makespan_ms"]
    faster = one_flow({"trace": "4g", "scale": 1e6}, megabytes=20.0).run(1)
    assert faster.metrics["makespan_ms"] == pytest.approx(20.0)  # the edge holds it back


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"traces": [{"link": LINK, "trace": "6g"}]}, "traces.0.trace.*use one of 3g"),
        ({"traces": [{"link": "left0->right0", "trace": "3g"}]}, "traces.0.link"),
        ({"traces": [{"link": LINK, "trace": "3g"}] * 2}, "traces.1.link.*changes twice"),
        ({"traces": [{"link": LINK, "trace": "3g"}], "fidelity": "alphabeta"}, "traces"),
    ],
)
def test_errors_are_one_line(changes: dict, words: str) -> None:
    scenario = NetworkScenario(topology=DUMBBELL).changed(changes)
    with pytest.raises(InputError, match=words) as error:
        scenario.run()
    assert "\n" not in str(error.value)
    if "fidelity" not in changes:
        with pytest.raises(InputError, match=words):
            scenario.check()


def test_a_bad_line_of_a_trace_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text("0 8\n1 x\n")
    with pytest.raises(InputError, match=r"bad\.txt.*2.*'x' is not a number"):
        one_flow({"trace": str(path)}).run()
