"""Readers of measured clients: what they understand, what they drop, what they refuse."""

import gzip
import json
import pickle

import numpy as np
import pytest

from mltwin.sim.errors import InputError
from mltwin.workloads.federated import fedscale, flash, latency, stragglers, throughput

FEDSCALE = {
    "7": {"computation": 153.0, "communication": 2209.6},
    "9": {"computation": 39, "communication": 18437.3},
}
BEHAVE = {
    "1": {"finish_time": 100, "active": [10, 40, 60], "inactive": [20, 40, 70], "model": "LG"},
    "2": {"finish_time": 200, "active": [50, 90], "inactive": [30, 60], "model": "X"},
    "3": {"finish_time": 50, "active": [5, 20], "inactive": [20, 30], "model": "Y"},
}


def write(tmp_path, value, name="given.json"):
    path = tmp_path / name
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_fedscale_capacity_is_training_time_and_bytes(tmp_path) -> None:
    found = fedscale.read_fedscale_capacity(write(tmp_path, FEDSCALE))
    assert found.s_per_sample == pytest.approx([3 * 0.153, 3 * 0.039])
    assert found.up_bytes_per_s == pytest.approx([276_200, 2_304_662.5])
    assert found.names == ("7", "9")


def test_fedscale_presence_joins_and_closes_intervals(tmp_path) -> None:
    found = fedscale.read_fedscale_availability(write(tmp_path, BEHAVE))
    pairs = list(zip(found.begin_s.tolist(), found.end_s.tolist(), strict=True))
    # Client 2 goes at 30 before it first comes: it began there; it is there at the end.
    assert pairs == [(10, 20), (60, 70), (0, 30), (50, 60), (90, 200), (5, 30)]
    assert found.counts.tolist() == [2, 3, 1]
    assert found.facts["dropped"] == {"empty": 1} and found.facts["joined"] == 1
    assert found.duty == pytest.approx([0.2, 0.75, 0.5])
    assert found.names == ("LG", "X", "Y")


def test_packed_json_is_read_too(tmp_path) -> None:
    path = tmp_path / "given.json.gz"
    path.write_bytes(gzip.compress(json.dumps(FEDSCALE).encode()))
    assert len(fedscale.read_fedscale_capacity(path)) == 2


def test_a_pickle_is_refused_with_a_way_out(tmp_path) -> None:
    for protocol in (0, 2, 4):
        path = tmp_path / "client_device_capacity"
        path.write_bytes(pickle.dumps(FEDSCALE, protocol))
        with pytest.raises(InputError, match=r"is a pickle.*json\.dump.*old\.pkl"):
            fedscale.read_fedscale_capacity(path)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({}, "is not a JSON object of device"),
        ([1], "is not a JSON object of device"),
        ('{"a": 1, "a": 2}', "has the key 'a' twice"),
        ('{"a": {"computation": NaN}}', "has NaN"),
        ("{", "line 1: is not JSON"),
        ({"a": {"computation": 5}}, "key 'a', field 'communication': None is not a number above 0"),
        ({"a": {"computation": -5, "communication": 1}}, "field 'computation': -5 is not"),
        ({"a": {"computation": "5", "communication": 1}}, "'5' is not a number"),
        ({"a": 3}, "key 'a', field 'computation'"),
    ],
)
def test_bad_capacity_is_one_line(tmp_path, value, says) -> None:
    with pytest.raises(InputError) as found:
        fedscale.read_fedscale_capacity(write(tmp_path, value))
    assert says in str(found.value) and "given.json" in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"finish_time": 0}, "field 'finish_time': 0 is not a number above 0"),
        ({"active": 5}, "field 'active': '5' is not a list"),
        ({"active": [1, "x", 3]}, "field 'active': 'x' is not a time"),
        ({"active": [40, 10, 60]}, "active does not rise"),
        ({"active": [10], "inactive": [20, 30, 40]}, "do not alternate"),
        ({"inactive": [20, 40, 700]}, "outside 0 to finish_time 100"),
    ],
)
def test_bad_behaviour_is_one_line(tmp_path, change, says) -> None:
    value = {"1": BEHAVE["1"] | change}
    with pytest.raises(InputError) as found:
        fedscale.read_fedscale_availability(write(tmp_path, value))
    assert says in str(found.value) and "key '1'" in str(found.value)


def test_flash_drops_what_is_wrong_and_says_so(tmp_path) -> None:
    users = {
        "a": [[100, 200], [150, 260], [-2.58e8, 50], [300, 300], [400, 390]],
        "b": [[-50, 30], [172_700, 172_900], [180_000, 190_000]],
        "c": [],
        "d": [[-90, -10]],
    }
    found = flash.read_flash_availability(write(tmp_path, users))
    pairs = list(zip(found.begin_s.tolist(), found.end_s.tolist(), strict=True))
    assert pairs == [(100, 260), (0, 30), (172_700, 172_800)]
    assert found.names == ("a", "b")
    dropped = {"clock": 1, "length": 2, "outside": 2, "cut": 2, "users": 2}
    assert found.facts["dropped"] == dropped and found.facts["users"] == 4


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"a": [[1, 2, 3]]}, "key 'a': '[[1, 2, 3]]' is not a list of [begin, end]"),
        ({"a": [[1, "x"]]}, "is not a list of [begin, end]"),
        ({"a": [1, 2]}, "is not a list of [begin, end]"),
        ({"a": []}, "has no user with an interval"),
    ],
)
def test_bad_flash_is_one_line(tmp_path, value, says) -> None:
    with pytest.raises(InputError) as found:
        flash.read_flash_availability(write(tmp_path, value))
    assert says in str(found.value)


def test_flash_speeds_and_benchmark_scores(tmp_path) -> None:
    row = {"down_u": 7000.0, "down_sigma": 700.0, "up_u": 5000.0, "up_sigma": 1000.0}
    devices, variation = flash.read_flash_speeds(write(tmp_path, {"u": row}))
    assert devices.down_bytes_per_s.tolist() == [7e6] and variation.tolist() == [0.2]
    phones = flash.read_ai_benchmark(
        write(tmp_path, {"Pixel 4": 33289, "Redmi": 6702, "S": 383, "fast": 70000, "old": 100})
    )
    assert phones.s_per_sample[:3] * 1000 == pytest.approx([17.9, 58.8, 164.2])
    assert phones.s_per_sample[3] < 0.0179 and phones.s_per_sample[4] > 0.1642
    names = flash.phones_of(("CPH1", "Z", "?"), {"CPH1": "Redmi", "Z": "unknown"}, phones)
    assert names.tolist() == [1, -1, -1]
    scores = np.sort(np.geomspace(50, 1e5, 200))
    assert (np.diff(flash.s_per_sample_of_scores(scores)) < 0).all()


HEADER = "protocol,num_tcp_conn,seq_num,anonymized_mCid,radio_type,throughput_mbps,nrStatus,p\n"


def test_throughput_runs_end_where_seconds_are_missing(tmp_path) -> None:
    rows = [(1, "4G", 8), (2, "4G", 16), (9, "4G", 80), (10, "5G", 800)]
    text = HEADER + "".join(f"TCP,8,{s},3,{radio},{mbps},X,\n" for s, radio, mbps in rows)
    found = throughput.read_throughput(write(tmp_path, text, "t.csv"))
    assert {radio: len(runs) for radio, runs in found.items()} == {"4G": 2, "5G": 1}
    first = found["4G"][0]
    assert first.duration_s == 2.0 and first.bytes_per_s.tolist() == [1e6, 2e6]
    assert throughput.links_of(found["4G"]).tolist() == [1.5e6, 1e7]
    mahimahi = write(tmp_path, "\n".join(str(10 * k) for k in range(1, 101)), "m.txt")
    assert throughput.links_of([mahimahi]) == pytest.approx([150_000.0])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n", "has no column 'seq_num'"),
        (HEADER, "has no rows"),
        (HEADER + "TCP,8,1,3,4G,x,X,\n", "line 2, column 'throughput_mbps': 'x' is not a number"),
        (HEADER + "TCP,8,1,3,4G,-4,X,\n", "'-4' is not a number of 0 or more"),
        (HEADER + "TCP,8,1\n", "line 2: 3 columns, the header has 8"),
    ],
)
def test_bad_throughput_is_one_line(tmp_path, text, says) -> None:
    with pytest.raises(InputError) as found:
        throughput.read_throughput(write(tmp_path, text, "t.csv"))
    assert says in str(found.value)


def test_mobiperf_joins_measurements_by_device(tmp_path) -> None:
    def record(kind, values, device="p1", ok=True, **parameters):
        properties = {"registration_id": device, "network_type": "Wifi", "device_info": {}}
        return {
            "type": kind,
            "success": ok,
            "parameters": parameters,
            "values": values,
            "device_properties": properties,
        }

    one = [
        record("tcpthroughput", {"tcp_speed_results": "[800, 1600, 2400]"}, dir_up=False),
        record("tcpthroughput", {"tcp_speed_results": "[80]"}, dir_up=True),
        record("ping", {"mean_rtt_ms": "44.5"}),
        record("http", {"code": "200"}),
    ]
    two = [
        record("ping", {"mean_rtt_ms": "20"}, device="p2"),
        record("tcpthroughput", {"tcp_speed_results": "[]"}, dir_up=True),
        record("ping", {}, ok=False),
    ]
    paths = [write(tmp_path, one, "1.json"), write(tmp_path, two, "2.json")]
    found = throughput.read_mobiperf(paths)
    assert found.device == ("p1", "p2") and found.network == ("wifi", "wifi")
    assert found.down_bytes_per_s[0] == 200_000 and found.up_bytes_per_s[0] == 10_000
    assert found.rtt_s.tolist() == [0.0445, 0.02] and np.isnan(found.up_bytes_per_s[1])
    assert found.facts["measurements"] == {"tcpthroughput": 3, "ping": 3, "other": 1, "failed": 2}
    assert found.devices().names == ("p1",)
    with pytest.raises(InputError, match="no device was measured both ways"):
        throughput.read_mobiperf(paths[1]).devices()
    short = [{"tcp_speed_results": [800, 2400], "device_properties": {"registration_id": "p3"}}]
    third = throughput.read_mobiperf(write(tmp_path, short, "5.json"))
    assert third.device == ("p3",) and third.down_bytes_per_s.tolist() == [200_000]
    bad = write(tmp_path, [record("ping", {"mean_rtt_ms": "fast"})], "3.json")
    with pytest.raises(InputError, match=r"measurement 0: 'fast' is not a number"):
        throughput.read_mobiperf(bad)
    with pytest.raises(InputError, match="has no type"):
        throughput.read_mobiperf(write(tmp_path, [{}], "4.json"))


def test_a_latency_matrix_is_filled_and_told(tmp_path) -> None:
    found = latency.read_latency_matrix(write(tmp_path, "0 10 -1\n20 0 40\n30 -1 0\n", "l.txt"))
    assert found.seconds.tolist() == [[0, 0.01, 0.03], [0.02, 0, 0.04], [0.03, 0.04, 0]]
    assert found.facts["mirrored"] == 2 and found.facts["median"] == 0
    both = write(tmp_path, "a,b,c\n0,8,nan\n8,0,6\nnan,6,0\n", "m.csv")
    assert latency.read_latency_matrix(both).seconds[0, 2] == pytest.approx(0.007)
    king = latency.read_latency_matrix(both, unit_s=1e-6, round_trip=True)
    assert king.seconds[0, 1] == pytest.approx(4e-6)
    assert found.to(0).tolist() == [0, 0.02, 0.03]
    places = found.places(300, seed=1)
    assert np.bincount(places).tolist() == [100, 100, 100]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1 2\n3 4\n5 6\n", "3 rows of 2 cells are no square"),
        ("1 2\n3\n", "line 2: 1 cells, the rows above have 2"),
        ("0 x\n1 0\n", "line 1, column 2: 'x' is not a number"),
        ("0 1\n-7 0\n", "line 2, column 1: '-7' is not a number of 0 or more"),
        ("0 -1\n-1 0\n", "has no latency"),
        ("5\n", "1 rows of 1 cells are no square"),
    ],
)
def test_bad_matrices_are_one_line(tmp_path, text, says) -> None:
    with pytest.raises(InputError) as found:
        latency.read_latency_matrix(write(tmp_path, text, "l.txt"))
    assert says in str(found.value)


def test_noise_is_a_factor_of_time_of_median_one(tmp_path) -> None:
    rates = np.exp(np.random.default_rng(3).normal(2.0, 0.25, 4001))
    text = "value,runtime,starttime,VM_id\n" + "".join(f"{r},1,x,{k % 7}\n" for k, r in
                                                       enumerate(rates))  # fmt: skip
    noise = stragglers.read_azure_noise(write(tmp_path, text, "n.csv"))
    assert noise.sigma == pytest.approx(0.25, rel=0.05)
    drawn = noise.draw(50_000, seed=1)
    assert np.median(drawn) == pytest.approx(1.0, rel=0.01)
    assert np.log(drawn).std() == pytest.approx(0.25, rel=0.1)
    rows = (
        "i,worker,gpu,time,batch_time_norm\n0,0,25,1,100\n1,1,25,1,300\n2,0,25,2,100\n3,1,25,2,\n"
    )
    both = stragglers.read_alibaba_noise(write(tmp_path, rows, "j.csv"))
    assert both.facts == {"source": "j.csv", "rows": 2, "empty": 1, "alone": 1}
    with pytest.raises(InputError, match=r"line 2, column 'value': '0' is not a number above 0"):
        stragglers.read_azure_noise(write(tmp_path, "value,VM_id\n0,1\n", "z.csv"))
    with pytest.raises(InputError, match="has no column 'VM_id'; there are 'value'"):
        stragglers.read_azure_noise(write(tmp_path, "value\n1\n", "y.csv"))


@pytest.mark.data
def test_the_published_files_are_read_as_their_catalogue_says(data_dir) -> None:
    base = data_dir / "traces" / "federated"
    devices = fedscale.read_fedscale_capacity(base / "fedscale_subset/client_device_capacity.json")
    assert len(devices) == 60
    assert devices.s_per_sample.mean() / 3 == pytest.approx(87.6333e-3, rel=1e-5)
    assert devices.up_bytes_per_s.max() == pytest.approx(115_252 * 125, rel=1e-5)
    there = fedscale.read_fedscale_availability(base / "fedscale_subset/client_behave_trace.json")
    # Stated there: mean active part 0.750992, 25 of 60 up at time 0.
    assert there.duty.mean() == pytest.approx(0.750992, abs=2e-5)
    assert int((there.begin_s[there.first[:-1]] == 0).sum()) == 25
    strict = flash.read_flash_availability(
        base / "flash_imc20/ready_strict.first70pct_users.json.gz"
    )
    assert strict.facts["users"] == 2433 and strict.facts["dropped"]["clock"] == 10
    links, _ = flash.read_flash_speeds(base / "flash_imc20/speed_distri.json")
    assert links.down_bytes_per_s.mean() == pytest.approx(5_854_110, rel=1e-5)
    assert len(flash.read_ai_benchmark(base / "flash_imc20/benchmark2score.json")) == 307
    runs = throughput.read_throughput(base / "float_5g_throughput/client_device_traces.csv")
    assert sum(run.duration_s for run in runs["4G"]) == 310
    noise = stragglers.read_azure_noise(
        data_dir / "traces/stragglers/azure_vm_noise/sysbench_cpu.long.westus2.D8s_v5.csv",
        within_vm=True,
    )
    assert noise.facts["rows"] == 20_747
