"""The timeline of a network run shows every flow once, on lanes of its sender."""

from pathlib import Path

import numpy as np
import pytest

from mltwin.network import NetworkScenario
from mltwin.network_result import NetworkResult
from mltwin.sim.errors import InputError

STAR = {"name": "star", "hosts": 4, "bytes_per_s": 1e9, "latency_s": 0.0}


def run(**changes: object) -> NetworkResult:
    result = NetworkScenario(topology=STAR).changed(dict(changes)).run(3)
    assert isinstance(result, NetworkResult)
    return result


def test_every_flow_is_a_slice_of_its_sender() -> None:
    result = run(traffic={"flows": 60, "load": 1.2})
    timeline, flows = result.timeline(), result.tables["flows"]
    work = timeline.work  # raises where two overlap on a lane
    assert len(work) == 60
    took = np.sort(flows["end"] - flows["start"])
    assert np.array_equal(np.sort(work.end - work.start), took)
    senders = {timeline.lanes[lane].process for lane in work.lane.tolist()}
    assert senders == {f"from host{rank}" for rank in np.unique(flows["source"])}


def test_switches_that_reduce_have_a_process(tmp_path: Path) -> None:
    result = run(traffic={"kind": "collective", "algorithm": "in_network"})
    timeline = result.timeline()
    assert len(timeline.work) == len(result.tables["flows"]["time"])
    assert "from switches" in {lane.process for lane in timeline.lanes}
    timeline.save(tmp_path / "t.json.gz")
    assert (tmp_path / "t.json.gz").stat().st_size > 100


def test_a_window_must_be_one() -> None:
    with pytest.raises(InputError, match="is no window"):
        run(traffic={"flows": 5}).timeline(window_s=(2.0, 1.0))


def test_a_result_without_its_scenario_says_so() -> None:
    result = run(traffic={"flows": 5})
    result.scenario = None
    with pytest.raises(InputError, match="does not know its scenario"):
        result.timeline()
