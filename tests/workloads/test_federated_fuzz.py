"""Whatever a file holds, readers of clients give a table or one line of error."""

import json
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mltwin.sim.errors import InputError
from mltwin.workloads.federated import (
    fedscale,
    flash,
    from_files,
    latency,
    stragglers,
    throughput,
)

KEYS = (
    *("computation", "communication", "active", "inactive", "finish_time", "model", "down_u"),
    *("down_sigma", "up_u", "up_sigma", "type", "success", "parameters", "values", "dir_up"),
    *("tcp_speed_results", "mean_rtt_ms", "device_properties", "device_info", "registration_id"),
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "[1, 2]", "tcpthroughput", "ping", "[", "3", "NaN", "1e400"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)
    ),
    max_leaves=12,
)
FILES = st.dictionaries(st.text(max_size=3), VALUES, max_size=3) | st.lists(VALUES, max_size=3)
CELLS = st.sampled_from(["0", "1", "2.5", "-1", "nan", "inf", "x", "", "1e400", "yes", "no", '"'])

slow_folder = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read(reader, path):
    """The table, or None where the reader says in one line why not."""
    try:
        return reader(path)
    except InputError as error:
        assert "\n" not in str(error) and str(path) in str(error)
        return None


@pytest.mark.parametrize(
    "reader",
    [
        fedscale.read_fedscale_capacity,
        fedscale.read_fedscale_availability,
        flash.read_flash_availability,
        flash.read_flash_speeds,
        flash.read_ai_benchmark,
        throughput.read_mobiperf,
    ],
)
@slow_folder
@given(value=FILES)
def test_any_json(reader, value, tmp_path) -> None:
    path = tmp_path / "any.json"
    path.write_text(json.dumps(value))
    found = read(reader, path)
    if hasattr(found, "period_s"):
        assert (found.end_s > found.begin_s).all() and np.isfinite(found.end_s).all()
    elif hasattr(found, "s_per_sample"):
        assert all(0 < s < math.inf for s in found.s_per_sample)


@pytest.mark.parametrize(
    ("header", "reader"),
    [
        ("seq_num,radio_type,throughput_mbps", throughput.read_throughput),
        ("value,VM_id,runtime", stragglers.read_azure_noise),
        ("time,batch_time_norm,worker", stragglers.read_alibaba_noise),
        ("label,a,b", from_files.arrays),
        ("a b c", latency.read_latency_matrix),
    ],
)
@slow_folder
@given(rows=st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=6))
def test_any_table(header, reader, rows, tmp_path) -> None:
    path = tmp_path / "any.csv"
    path.write_text("".join(",".join(row) + "\n" for row in [[header], *rows]))
    read(reader, path)
