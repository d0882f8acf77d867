"""`network.topology` of a serving scenario: KV transfers share the links of a fabric."""

import numpy as np
import pytest

import mltwin as mt
from mltwin.sim.errors import InputError

LEAVES = {"name": "leaf_spine", "leaves": 2, "hosts_per_leaf": 2, "spines": 1}
BASE = {
    "system": "serving",
    "workload": {
        "trace": {
            "requests": 200,
            "arrivals": {"process": "poisson", "rate_per_s": 12.0},
            "prompt": {"law": "lognormal", "p50": 2000, "p90": 4000},
            "output": {"law": "fixed", "value": 20},
        }
    },
    "model": {"name": "llama-3.1-8b"},
    "cluster": {"prefill": {"replicas": 2}, "decode": {"replicas": 2}},
    "network": {"bandwidth_gbps": 100.0},
}


def run(network: dict, **more) -> mt.ServingResult:
    data = {**BASE, **more, "network": {**BASE["network"], **network}}
    return mt.Scenario.parse(data).run(seed=1)


def test_a_wide_fabric_changes_nothing() -> None:
    wide = {**LEAVES, "host_bytes_per_s": 1e12, "spine_bytes_per_s": 1e12}
    assert run({"topology": wide}).digest == run({}).digest


def test_a_changed_scenario_still_has_no_fabric() -> None:
    changed = mt.Scenario.parse(BASE).changed({"network.bandwidth_gbps": 50.0})
    assert "fabric" not in changed.run(seed=1).tables


def test_an_oversubscribed_fabric_holds_transfers_up() -> None:
    narrow = {**LEAVES, "host_bytes_per_s": 12.5e9, "spine_bytes_per_s": 1.25e9}
    wide, tight = run({}), run({"topology": narrow})
    assert tight.metrics["p50_transfer_ms"] > 5 * wide.metrics["p50_transfer_ms"]
    moved = tight.tables["fabric"]["bytes"]
    names = tight.facts["fabric_links"]
    # pools stand on a leaf each: all KV crosses one uplink and one downlink, and nothing else does
    crossed = {names[k] for k in np.flatnonzero(moved == moved.max())}
    assert len(crossed) == 2 and all("spine" in name for name in crossed)
    assert 0 < tight.metrics["fabric_busiest_share"] <= 1
    assert "fabric" in [table.title for table in tight.report()]
    # a prefill and a decode replica on each leaf: half of the KV stays below the spine
    mixed = run({"topology": narrow, "endpoints": [0, 2, 1, 3]})
    assert mixed.tables["fabric"]["bytes"].max() < moved.max()


def test_a_pool_hangs_on_the_fabric() -> None:
    more = {
        "prefix_caching": True,
        "prefix_pool": {"pool_blocks": 2000, "fetch": "always"},
        "cluster": {"mixed": {"replicas": 4, "kv_blocks": 300}},
        "workload": {"trace": "mooncake-conv-synthetic", "requests": 200},
    }
    five = {"name": "star", "hosts": 5, "bytes_per_s": 1e9}
    slow = run({"topology": five}, **more)
    assert slow.metrics["mean_fetch_ms"] > run({}, **more).metrics["mean_fetch_ms"]
    with pytest.raises(InputError, match="hangs on endpoint 4"):
        run({"topology": {**five, "hosts": 4}}, **more)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"topology": "leafspine"}, "network.topology.*leaf_spine"),
        ({"topology": {**LEAVES, "hosts_per_leaf": 1}}, "hangs on endpoint 2"),
        ({"topology": LEAVES, "endpoints": [0, 1]}, "2 endpoints for 4 NICs"),
        ({"topology": LEAVES, "endpoints": [0, 1, 1, 2]}, "two NICs"),
        ({"endpoints": [0, 1, 2, 3]}, "network.endpoints.*no topology"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(network: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        run(network)
