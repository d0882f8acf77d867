"""Clients' links from traces: who gets which, at which place, with what rates."""

from pathlib import Path

import numpy as np
import pytest

from mltwin.models.federation.tables import TICKS_PER_S
from mltwin.sim.errors import InputError
from mltwin.workloads.bandwidth_synthetic import SHIPPED, shipped_bandwidth
from mltwin.workloads.federated.link_traces import LINKS, link_traces, trace_files
from mltwin.workloads.federated.populations import population

FLOAT = "protocol,seq_num,radio_type,throughput_mbps\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three drives in both directions, and FLOAT's form of a run over 4G and one over 5G."""
    for number in range(3):
        for way, packets in (("down", 40), ("up", 10)):
            stamps = np.linspace(1, 20_000, packets * (1 + number)).astype(int)
            (tmp_path / f"drive{number}.{way}").write_text("\n".join(map(str, stamps)) + "\n")
    rows = [f"TCP,{second},4G,{8 + second % 3}\n" for second in range(15)]
    rows += [f"TCP,{second},5G,{80 + second % 7}\n" for second in range(100, 112)]
    rows += ["TCP,200,4G,9\n"]
    (tmp_path / "float.csv").write_text(FLOAT + "".join(rows))
    return tmp_path


@pytest.mark.parametrize("name", SHIPPED)
def test_drawn_links_have_the_mean_of_their_chain(name: str) -> None:
    """64 traces of 8 hours: the standard error of the mean is about 1 %."""
    links = link_traces(10, down={"name": name, "duration_s": 28_800.0, "traces": 60}, seed=3)
    mean = shipped_bandwidth(name).mean_bytes_per_s
    assert links.mean_bytes_per_s.mean() == pytest.approx(mean, rel=0.04)
    assert (links.up == -1).all() and (links.period == 28_800 * TICKS_PER_S).all()


def test_a_client_has_the_same_drawn_trace_and_place_both_ways() -> None:
    links = link_traces(500, down="4g", up={"name": "4g", "scale": 0.25}, seed=1)
    assert np.array_equal(links.down + 64, links.up)
    rows = slice(int(links.first[5]), int(links.first[6]))
    twin = slice(int(links.first[69]), int(links.first[70]))
    assert np.array_equal(links.bytes_per_s[rows] * 0.25, links.bytes_per_s[twin])
    assert len(set(links.down.tolist())) == 64
    place = links.offset / (3600 * TICKS_PER_S)  # uniform on [0, 1): mean 1/2, sd 1/sqrt(12 n)
    assert place.min() >= 0 and place.max() < 1 and abs(place.mean() - 0.5) < 4 * 0.0129


def test_draws_are_keyed_by_client_and_seed() -> None:
    few, many = (link_traces(count, down="3g", seed=9) for count in (20, 300))
    assert np.array_equal(few.down, many.down[:20])
    assert np.array_equal(few.offset, many.offset[:20])
    assert not np.array_equal(few.down, link_traces(20, down="3g", seed=10).down)
    apart = link_traces(300, down="3g", up={"name": "4g", "traces": 7}, seed=9)
    assert np.array_equal(apart.down, many.down)  # another law up leaves those down as they are
    assert not np.array_equal(apart.down % 7, (apart.up - 64) % 7)


def test_steady_links_have_the_same_means_and_clients() -> None:
    moving, steady = (
        link_traces(50, down={"name": "5g", "steady": steady}, seed=2) for steady in (False, True)
    )
    assert np.allclose(moving.mean_bytes_per_s, steady.mean_bytes_per_s, rtol=1e-12)
    assert np.array_equal(moving.down, steady.down) and np.array_equal(moving.offset, steady.offset)
    assert len(steady.begin) == 64 < len(moving.begin)


def test_files_of_a_pattern_are_paired_by_name(folder: Path) -> None:
    links = link_traces(
        200,
        down={"name": "files", "path": f"{folder}/*.down"},
        up={"name": "files", "path": f"{folder}/*.up", "scale": 2.0},
        seed=4,
    )
    assert len(links) == 6 and np.array_equal(links.down + 3, links.up)
    packets = np.array([40, 80, 120, 2 * 10, 2 * 20, 2 * 30])
    assert links.mean_bytes_per_s == pytest.approx(packets * 1500 / 20, rel=1e-9)
    other = link_traces(200, down={"name": "files", "path": f"{folder}/*.down"}, up="4g", seed=4)
    assert np.array_equal(other.down, links.down)
    assert not np.array_equal(other.down, (other.up - 3) % 3)


def test_runs_of_a_radio_that_last(folder: Path) -> None:
    path = str(folder / "float.csv")
    both = link_traces(5, down={"name": "files", "path": path})
    assert sorted((both.period // TICKS_PER_S).tolist()) == [12, 15]
    one = link_traces(5, down={"name": "files", "path": path, "radio": "4G", "least_s": 1.0})
    assert sorted((one.period // TICKS_PER_S).tolist()) == [1, 15]
    wide = link_traces(5, down={"name": "files", "path": path, "window_s": 5.0})
    assert wide.mean_bytes_per_s == pytest.approx(both.mean_bytes_per_s)
    assert len(wide.begin) < len(both.begin)


def test_a_population_takes_them(folder: Path) -> None:
    links = link_traces(30, down={"name": "files", "path": str(folder / "drive1.down")}, seed=1)
    clients = population(np.full(30, 5), speed="mobile", links=links, seed=1)
    assert clients.down_bytes_per_s == pytest.approx(np.full(30, 80 * 1500 / 20))
    law = population(np.full(30, 5), speed="mobile", seed=1)
    assert np.array_equal(clients.up_bytes_per_s, law.up_bytes_per_s)


@pytest.mark.parametrize(
    ("law", "text"),
    [
        ("6g", "down_trace: no law is called '6g'"),
        ({"name": "4g", "sclae": 1.0}, "4g has no parameter 'sclae'"),
        ({"name": "4g", "scale": 0.0}, "down_trace.scale: scale is 0"),
        ({"name": "4g", "traces": 0}, "down_trace.traces: traces is 0"),
        ({"name": "4g", "traces": 2.5}, "traces is 2.5"),
        ({"name": "4g", "duration_s": -1.0}, "down_trace.duration_s: 64 traces of -1 s"),
        ({"name": "4g", "duration_s": 1e8}, "at most 2e\\+06 s in all"),
        ({"name": "files"}, "files needs 'path'"),
        ({"name": "files", "path": "nowhere"}, "down_trace: nowhere: there is no file"),
    ],
)
def test_laws_that_cannot_be(law: object, text: str) -> None:
    with pytest.raises(InputError, match=text):
        link_traces(3, down=law)  # type: ignore[arg-type]


def test_files_that_cannot_be(folder: Path) -> None:
    (folder / "quiet.txt").write_text("0 0\n5 0\n40 0\n")
    (folder / "more").mkdir()
    (folder / "more" / "README").write_text("What these are.\n")
    for given, text in (
        ({"path": str(folder / "quiet.txt")}, "quiet.txt carries nothing"),
        ({"path": str(folder / "float.csv"), "radio": "3G"}, "no trace of '3G' lasts 10 s"),
        ({"path": f"{folder}/*.down", "least_s": 60.0}, "no trace lasts 60 s"),
        ({"path": f"{folder}/*.down", "format": "ucc"}, "has no column"),
        ({"path": f"{folder}/more"}, r"README: is not .* or give a pattern .* more/\*.down"),
    ):
        with pytest.raises(InputError, match=text):
            link_traces(3, up={"name": "files", **given})
    assert [file.name for file in trace_files(f"{folder}/*.up")] == [
        f"drive{number}.up" for number in range(3)
    ]


def test_every_law_says_what_it_is() -> None:
    assert all(law.__doc__ for law in LINKS.values())
    assert set(LINKS) == {*SHIPPED, "files"}


@pytest.mark.data
def test_measured_4g_and_5g(data_dir: Path) -> None:
    """Means of whole files, and rates between none and those that such radios give."""
    network = data_dir / "traces" / "network"
    lte = link_traces(
        100,
        down={"name": "files", "path": f"{network}/mahimahi/*LTE*.down"},
        up={"name": "files", "path": f"{network}/mahimahi/*LTE*.up"},
    )
    assert np.array_equal(lte.down + 2, lte.up)
    packets = len((network / "mahimahi/ATT-LTE-driving-2016.down").read_text().split())
    end_s = int((network / "mahimahi/ATT-LTE-driving-2016.down").read_text().split()[-1]) / 1000
    assert lte.mean_bytes_per_s[0] == pytest.approx(packets * 1500 / end_s, rel=1e-6)
    five = link_traces(100, down={"name": "files", "path": f"{network}/ucc_5g_download/*/*.csv"})
    assert len(five) == 11 and five.bytes_per_s.min() == 0.0
    assert five.mean_bytes_per_s.min() > 1e6 / 8 and five.bytes_per_s.max() < 1e9 / 8
    float_ = link_traces(
        10, down={"name": "files", "path": f"{data_dir}/traces/federated/float_5g_throughput/*.csv"}
    )
    assert float_.period.max() == 173 * TICKS_PER_S
