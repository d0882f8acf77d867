"""The catalogue of object traces, and its real traces where MLTWIN_DATA has them."""

import gzip
import hashlib
import io
import json
import urllib.request

import numpy as np
import pytest
from test_objects_readers import oracle

from mltwin.sim.errors import InputError
from mltwin.workloads.catalogue import Entry
from mltwin.workloads.objects import catalogue, list_objects, open_objects
from mltwin.workloads.objects.catalogue import fetch, info, locate, synthetic_spec

BODY = gzip.compress(oracle(), mtime=0)
TOY = Entry(
    name="toy",
    title="a toy",
    licence="CC0",
    citation="nobody",
    page="https://example.org/toy",
    format="oracle-general",
    rows=7,
    file="toy.gz",
    url="https://example.org/toy.gz",
    bytes=len(BODY),
    sha256=hashlib.sha256(BODY).hexdigest(),
    local="toy.gz",
)


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """A catalogue of one trace, an empty cache and a data folder."""
    monkeypatch.setattr(catalogue, "_entries", lambda: {"toy": TOY})
    monkeypatch.setenv("MLTWIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MLTWIN_DATA", str(tmp_path))
    return tmp_path


def test_entries_are_complete():
    for name in list_objects():
        entry = info(name)
        assert entry.title and entry.licence and entry.citation
        assert entry.synthetic or (entry.page.startswith("https://") and len(entry.sha256) == 64)
        assert entry.synthetic or entry.local
        assert "GPL" not in entry.licence or not entry.url
        if entry.url:
            assert entry.url.startswith("https://raw.githubusercontent.com/")
            assert entry.bytes > 0 and entry.file
        assert json.dumps(entry.to_dict())


def test_names():
    assert info(list_objects()[0]).synthetic
    with pytest.raises(InputError, match="did you mean 'cloudphysics'"):
        info("cloudphysic")
    with pytest.raises(InputError, match="is a real trace"):
        synthetic_spec("cloudphysics")


def test_synthetic_traces_open_everywhere():
    for name in list_objects():
        if info(name).synthetic:
            trace = open_objects(name, requests=1000, seed=3)
            assert len(trace) == 1000 and trace.name == name
            assert trace.equals(open_objects(name, requests=1000, seed=3))
            assert not trace.equals(open_objects(name, requests=1000))
            assert synthetic_spec(name)["requests"] == info(name).rows
            with pytest.raises(InputError, match="nothing to fetch"):
                fetch(name)


def test_a_local_file_is_found_and_checked(toy):
    assert locate("toy") is None
    with pytest.raises(
        InputError, match=r"machine; fetch it \(mltwin cache fetch toy\), set MLTWIN_DATA"
    ):
        open_objects("toy")
    (toy / "toy.gz").write_bytes(BODY)
    trace = open_objects("toy", limit=3)
    assert len(trace) == 3 and trace.name == "toy" and trace.meta["licence"] == "CC0"
    (toy / "toy.gz").write_bytes(gzip.compress(oracle([1])))
    with pytest.raises(InputError, match="its content is not that of 'toy'"):
        locate("toy")
    assert locate("toy", verify=False)


def test_the_digest_may_be_that_of_the_unpacked_content(toy, monkeypatch):
    entry = Entry(**{**TOY.__dict__, "sha256": hashlib.sha256(oracle()).hexdigest()})
    monkeypatch.setattr(catalogue, "_entries", lambda: {"toy": entry})
    (toy / "toy.gz").write_bytes(gzip.compress(oracle(), 1))
    assert locate("toy")


def test_fetching_checks_and_keeps(toy, monkeypatch):
    monkeypatch.setattr(
        urllib.request.OpenerDirector, "open", lambda self, url, timeout: io.BytesIO(BODY)
    )
    place = fetch("toy")
    assert place == toy / "cache" / "traces" / "toy.gz" and place.read_bytes() == BODY
    assert len(open_objects("toy")) == 7
    place.unlink()
    monkeypatch.setattr(
        urllib.request.OpenerDirector, "open", lambda self, url, timeout: io.BytesIO(b"x")
    )
    with pytest.raises(InputError, match="is not the trace of the catalogue"):
        fetch("toy")
    assert not place.exists()


def test_what_asks_for_more_is_not_fetched(monkeypatch, tmp_path):
    monkeypatch.delenv("MLTWIN_DATA", raising=False)
    monkeypatch.setenv("MLTWIN_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"cannot be fetched \(its repository is under GPL"):
        fetch("cloudphysics")
    with pytest.raises(InputError, match=r"get it from https://github\.com/cacheMon"):
        open_objects("cloudphysics")


def test_a_path_opens_too(tmp_path):
    (tmp_path / "keys.txt").write_text("a\nb\na\n")
    assert open_objects(tmp_path / "keys.txt").ids.tolist() == [0, 1, 0]


# Requests and distinct keys, after the README of the data.
COUNTED = {
    "adaptsize-request": (66_987, 36_815),
    "cache2k-orm-busy": (5_000_000, 76_349),
    "cache2k-web07": (76_118, 20_484),
    "corda-vault": (135_702, 90_468),
    "lirs-2-pools": (100_000, 9_939),
    "lirs-cpp": (9_047, 1_223),
    "lirs-gli": (6_015, 2_529),
    "lirs-loop": (505_500, 1_011),
    "lirs-multi1": (15_858, 2_606),
    "lirs-multi2": (26_311, 5_684),
    "lirs-multi3": (30_241, 7_454),
    "lirs-ps": (10_448, 3_083),
    "lirs-sprite": (133_996, 7_075),
    "scarab-recs": (1_245_184, 258_368),
    "cloudphysics": (113_872, 48_974),
    "cloudphysics-csv": (113_872, 48_974),
    "webcachesim-test": (10_492, 960),
}


@pytest.mark.data
@pytest.mark.parametrize("name", COUNTED)
def test_real_traces_have_their_counts(data_dir, name):
    trace = open_objects(name)
    assert (trace.requests, trace.unique) == COUNTED[name]
    assert trace.objects == trace.unique and info(name).rows == trace.requests


@pytest.mark.data
def test_both_forms_of_cloud_physics_ask_for_the_same_blocks(data_dir):
    binary, text = open_objects("cloudphysics"), open_objects("cloudphysics-csv")
    assert np.array_equal(binary.keys, text.keys) and np.array_equal(binary.ids, text.ids)
    assert np.array_equal(binary.arrival, text.arrival)
    assert binary.span_s == 5641098 - 5633898
    assert text.size_bytes.mean() == pytest.approx(36936, abs=0.5)
    assert binary.size_bytes.mean() == pytest.approx(38359.2, abs=0.05)


@pytest.mark.data
def test_sizes_of_real_traces(data_dir):
    sizes = open_objects("adaptsize-request").size_bytes
    assert sizes.mean() == pytest.approx(7247.04, abs=0.005)
    assert np.percentile(sizes, [50, 90, 99]).tolist() == pytest.approx([2416, 15818.8, 68328])
    assert (sizes.min(), sizes.max()) == (1, 4_092_928)
    assert open_objects("webcachesim-test").size_bytes.mean() == pytest.approx(1.82329, abs=5e-6)
    block = open_objects("cachebench-block", expand=False)
    assert len(block) == 999 and block.size_bytes.mean() == pytest.approx(3.47262e6, rel=1e-5)
    assert len(open_objects("cachebench-block")) == round(999 * 1.02402)
    kv = open_objects("cachebench-kv", expand=False)
    assert len(kv) == 99 and np.bincount(kv.op).tolist() == [88, 9, 2]
    assert kv.size_bytes.mean() == pytest.approx(489.717, abs=5e-4)
    assert kv.ttl_ns.mean() / 1e9 == pytest.approx(958.788, abs=5e-4)


@pytest.mark.data
@pytest.mark.parametrize("name", [n for n in list_objects() if not info(n).synthetic])
def test_every_real_trace_opens_and_says_what_it_is(data_dir, name):
    entry = info(name)
    options = {"requests": 5000} if entry.format == "cachebench" else {"limit": 5000}
    said = open_objects(name, **options).describe()
    assert 0 < said["objects"] <= said["requests"] <= 5000


@pytest.mark.data
def test_mooncake_blocks_are_those_of_the_requests(data_dir):
    assert open_objects("mooncake-synthetic-blocks").requests == 121_877
    assert open_objects("mooncake-synthetic-blocks").unique == 43_924
