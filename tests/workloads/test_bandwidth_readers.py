"""Bandwidth files of every format, right and wrong."""

import gzip

import numpy as np
import pytest

from mltwin.sim.errors import InputError
from mltwin.sim.ticks import TICKS_PER_S
from mltwin.workloads.bandwidth import read_bandwidth

S = TICKS_PER_S
UCC = "Timestamp,Speed,State,DL_bitrate,UL_bitrate\n"


def written(tmp_path, text: str, name: str = "trace"):
    """A file with some text."""
    path = tmp_path / name
    path.write_text(text)
    return path


def test_mahimahi_packets_become_windows_and_no_byte_is_lost(tmp_path) -> None:
    path = written(tmp_path, "0\n10\n10\n150\n399\n400\n")
    trace = read_bandwidth(path)
    assert (len(trace), trace.duration_s, trace.afterwards) == (4, 0.4, "repeat")
    assert trace.bytes_per_s * 0.1 == pytest.approx([4500, 1500, 0, 3000])
    for window_s in (0.001, 0.03, 0.17, 5.0):
        again = read_bandwidth(path, window_s=window_s)
        assert again.mean_bytes_per_s * 0.4 == pytest.approx(6 * 1500)


def test_a_fixed_rate_of_mahimahi_is_one_line(tmp_path) -> None:
    # Its README: a file that holds just "1" is a link of 12 Mbit/s.
    trace = read_bandwidth(written(tmp_path, "1\n"))
    assert trace.at([0, S, 1000 * S]).tolist() == [1.5e6] * 3


def test_a_row_of_two_columns_holds_since_the_row_before(tmp_path) -> None:
    path = written(tmp_path, "2.0\t9\n3.0 8\n\n5.5 0\n6.0 16.0\n")
    trace = read_bandwidth(path)
    assert (trace.ticks / S).tolist() == [0.0, 1.0, 3.5]
    assert trace.bytes_per_s.tolist() == [1e6, 0.0, 2e6]
    assert trace.duration_s == 4.0
    assert trace.mean_bytes_per_s == pytest.approx(2e6 / 4)
    coarse = read_bandwidth(path, window_s=2.0)
    assert coarse.bytes_per_s.tolist() == pytest.approx([5e5, 5e5])


def test_ucc_keeps_the_seconds_of_the_download(tmp_path) -> None:
    rows = [
        "2020.01.01_00.00.00,0,I,5,5",
        "2020.01.01_00.00.01,0,D,800,80",
        "2020.01.01_00.00.01,0,D,1600,160",
        "2020.01.01_00.00.03,0,D,8000,0",
        "2020.01.01_00.00.04,0,I,0,0",
        "2020.01.01_00.00.05,0,D,-,0",
        "2020.01.01_00.00.09,0,D,0,8",
    ]
    path = written(tmp_path, UCC + "\n".join(rows))
    down = read_bandwidth(path)
    assert down.bytes_per_s.tolist() == [150e3, 1e6, 0.0] and down.duration_s == 3.0
    up = read_bandwidth(path, direction="up", afterwards="hold")
    assert up.at(np.array([0, 1, 2, 3, 99]) * S).tolist() == [15e3, 0.0, 0.0, 1e3, 1e3]


def test_packed_files_are_read(tmp_path) -> None:
    path = tmp_path / "packed.gz"
    path.write_bytes(gzip.compress(b"0 1\n1 2\n"))
    assert read_bandwidth(path).bytes_per_s.tolist() == [250e3]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        ("\n\n", "is empty; name its format, one of mahimahi, cooked, ucc"),
        ("a b c\n", "is not a bandwidth trace that is known: 'a b c'"),
        ("0\n5\n3\n", "line 3: 3 ms comes after 5 ms; sort the lines"),
        ("0\n5\nx\n", "line 3: 'x' is not a whole number of ms"),
        ("0\n5\n-6\n", "line 3: '-6' is not a whole number of ms"),
        ("0\n5\n99999999999\n", "line 3: '99999999999' is not a whole number of ms"),
        ("0\n0\n", "has no time above 0 ms"),
        ("0 1\n", "has fewer than two rows; give at least two"),
        ("0 1\n0 2\n", "line 2: 0.0 s does not come after 0.0 s"),
        ("0 1\n1 2 3\n", "line 2: 3 columns, seconds and Mbit/s are wanted"),
        ("0 1\n1 x\n", "line 2: 'x' is not a number"),
        ("0 1\n1 nan\n", "line 2: 'nan' is not a finite number"),
        ("0 1\n1 -2\n", "line 2: -2.0 Mbit/s is below 0"),
        ("Timestamp,State\n", "line 1: has no column 'DL_bitrate'"),
        (UCC, "has no row of a running transfer"),
        (UCC + "2020.01.01_00.00.01,0,D,1\n", "line 2: 4 columns, the header has 5"),
        (UCC + "2020-01-01,0,D,1,1\n", "line 2: '2020-01-01' is not a time"),
        (
            UCC + "2020.01.01_00.00.01,0,D,1,1\n2020.01.01_00.00.00,0,D,1,1\n",
            "line 3: 2020.01.01_00.00.00 comes before the row above",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, says: str, tmp_path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError) as raised:
        read_bandwidth(path)
    assert str(raised.value).startswith(str(path)) and says in str(raised.value)


def test_options_that_cannot_be_are_named(tmp_path) -> None:
    path = written(tmp_path, "0 1\n1 2\n")
    with pytest.raises(InputError, match="no bandwidth format is called 'pcap'"):
        read_bandwidth(path, "pcap")
    with pytest.raises(InputError, match="direction is 'left'; say down or up"):
        read_bandwidth(path, direction="left")
    with pytest.raises(InputError, match="window_s is 0; give more than 0"):
        read_bandwidth(path, window_s=0)
    with pytest.raises(InputError, match="afterwards is 'never'"):
        read_bandwidth(path, afterwards="never")
    with pytest.raises(InputError, match="no such file"):
        read_bandwidth(tmp_path / "none")


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "files", "mean_mbit", "tolerance"),
    [
        # The data's README gives means over rows, which are not of equal length.
        ("hsdpa_norway_cooked/*", 60, 1.82, 0.30),
        ("fcc_broadband/*", 100, 1.34, 0.10),
        ("puffer_2022-02-18/*", 40, 1.29, 0.30),
    ],
)
def test_the_public_traces_are_read(folder, files, mean_mbit, tolerance, data_dir) -> None:
    found = [read_bandwidth(p) for p in sorted((data_dir / "traces" / "network").glob(folder))]
    assert len(found) == files
    mean = float(np.mean([t.mean_bytes_per_s for t in found])) * 8e-6
    assert mean == pytest.approx(mean_mbit, rel=tolerance)


@pytest.mark.data
def test_mahimahi_rates_are_lines_times_packet_over_time(data_dir) -> None:
    folder = data_dir / "traces" / "network" / "mahimahi"
    paths = [p for p in sorted(folder.iterdir()) if p.name != "README"]
    assert len(paths) == 6
    for path in paths:
        stamps = [int(x) for x in path.read_text().split()]
        trace = read_bandwidth(path)
        assert trace.mean_bytes_per_s == pytest.approx(len(stamps) * 1500 / (stamps[-1] / 1000))


@pytest.mark.data
def test_ucc_logs_are_read_both_ways(data_dir) -> None:
    for path in sorted((data_dir / "traces/network/ucc_5g_download").glob("*/*.csv")):
        down, up = read_bandwidth(path), read_bandwidth(path, direction="up")
        assert down.duration_s == up.duration_s > 200
        assert down.mean_bytes_per_s > up.mean_bytes_per_s
