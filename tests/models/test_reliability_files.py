"""Files of nodes that come and go, and of measured step times: read, fitted, refused in a line."""

import os
from pathlib import Path

import numpy as np
import pytest

from mltwin.models.training import noise
from mltwin.models.training.failures import read_membership
from mltwin.models.training.laws import law_mean, look_up
from mltwin.sim.errors import InputError

DATA = os.environ.get("MLTWIN_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="MLTWIN_DATA is not set")


def test_a_membership_with_a_header(tmp_path: Path) -> None:
    path = tmp_path / "nodes.csv"
    path.write_text("node,time_s,event\na,0,add\nb,0,up\na,1.5,remove\na,3,add\n")
    found = read_membership(path)
    assert found.names == ("a", "b")
    assert found.time.tolist() == [0, 0, 1_500_000_000, 3_000_000_000]
    assert found.up.tolist() == [1, 1, 0, 1] and found.there().tolist() == [1, 2, 1, 2]
    assert found.mtbf == 3e9


def test_a_membership_without_a_header_is_in_ms(tmp_path: Path) -> None:
    path = tmp_path / "nodes.csv"
    path.write_text("0,add,n1\n250,remove,n1\n")
    assert read_membership(path).time.tolist() == [0, 250_000_000]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no rows"),
        ("time_s,event,node\n", "has no rows"),
        ("when,event,node\n0,add,a\n", "line 1: columns when, event, node.*name them time_s"),
        ("0,add,a\n1,remove\n", "line 2: 2 columns"),
        ("0,add,a\nsoon,remove,a\n", "line 2: time 'soon'"),
        ("0,add,a\n-1,remove,a\n", "line 2: time '-1'"),
        ("5,add,a\n1,remove,a\n", "line 2: time 1 goes back"),
        ("0,add,a\n1,gone,a\n", "line 2: event 'gone'"),
        ("0,add,a\n1,add,a\n", "line 2: node 'a' is there already"),
        ("0,remove,a\n", "line 1: node 'a' is not there"),
    ],
)
def test_bad_memberships_are_told(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "nodes.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_membership(path)
    with pytest.raises(InputError, match="no such file"):
        read_membership(tmp_path / "none.csv")


def test_measured_noise_is_a_law_with_its_quantiles() -> None:
    for name, factors in noise.MEASURED.items():
        law = noise.measured_law(name)
        for p, factor in zip(noise.PROBABILITIES, factors, strict=True):
            assert look_up(law, -np.log(p)) == pytest.approx(factor, rel=0.01), (name, p)
        assert 1 < law_mean(law, 100) <= factors[-1]
    with pytest.raises(InputError, match="no measured noise 'vm'"):
        noise.measured_law("vm")


def test_bad_measurements_are_told(tmp_path: Path) -> None:
    path = tmp_path / "job.csv"
    for text, said in (
        ("a,b\n1,2\n", "no column 'value'"),
        ("value\n", "is empty"),
        ("value\n3\nx\n", "line 3, column 'value': 'x'"),
        ("value\n-1\n", "line 2"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=said):
            noise.fit_machines([path])
    with pytest.raises(InputError, match="no such file"):
        noise.fit_minibatches([tmp_path / "none.csv"])


@pytest.mark.data
@needs_data
def test_what_ships_is_fitted_to_the_measurements() -> None:
    folder = Path(str(DATA), "traces", "stragglers")
    jobs = sorted((folder / "alibaba_v2020_minibatch_time").glob("job_*.csv"))
    assert noise.fit_minibatches(jobs) == noise.MEASURED["minibatch"]
    for name, start in (
        ("vm_compute", "stressng_matrix_math.short"),
        ("vm_memory", "mlc_max_read_bandwidth.short"),
        ("vm_requests", "redis_get.short"),
    ):
        files = sorted((folder / "azure_vm_noise").glob(f"{start}*.csv"))
        assert noise.fit_machines(files) == noise.MEASURED[name]


@pytest.mark.data
@needs_data
def test_the_measured_law_gives_the_slowest_worker_of_the_jobs() -> None:
    """Not fitted: the mean slowest of ten workers, step by step, of three measured jobs."""
    import csv

    slowest = []
    folder = Path(str(DATA), "traces", "stragglers", "alibaba_v2020_minibatch_time")
    for path in sorted(folder.glob("job_*.csv")):
        with open(path, encoding="utf-8") as file:
            rows = [(int(r["time"]), float(r["batch_time_norm"])) for r in csv.DictReader(file)]
        middle = np.median([value for _, value in rows])
        steps: dict[int, list[float]] = {}
        for step, value in rows:
            steps.setdefault(step, []).append(value / middle)
        slowest += [max(values) for values in steps.values() if len(values) == 10]
    law = law_mean(noise.measured_law("minibatch"), 10)
    assert law == pytest.approx(np.mean(slowest), rel=0.05)


@pytest.mark.data
@needs_data
def test_a_trace_of_spot_instances_is_read() -> None:
    path = Path(str(DATA), "traces", "cluster", "parcae_spot", "p3trace.csv")
    found = read_membership(path)
    counts = np.loadtxt(path.with_name("p3.csv"), delimiter=",", dtype=np.int64)
    assert np.array_equal(found.there(), counts[:, 1])
    assert np.array_equal(found.time, counts[:, 0] * 10**6)
