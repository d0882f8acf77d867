"""KV transfers of serving, in whole units, against the max-min solver of `mltwin.models.network`.

The two share no line. Serving's rates are whole units per tick, so ends differ by the rounding.
"""

import numpy as np
import pytest
from hand_cases import cells, events, kind, serve, times

from mltwin.models.network.builders import leaf_spine
from mltwin.models.network.flows import FlowTable
from mltwin.models.network.simulate import simulate_flows
from mltwin.models.serving.fabric import Fabric
from mltwin.models.serving.hooks import DECODE_ROLE, PREFILL_ROLE
from mltwin.models.serving.outcome import TRANSFER_END, TRANSFER_START

PREFILLS, DECODES = 3, 3
NICS = [4e11, 1e12, 7e11, 5e11, 1e12, 3e11]  # bytes/s: 0.3 to 1 byte a tick
BYTES = 1000


def spread(request, replicas, ctx, params, memory):
    """The decode replica by the length of the prompt."""
    return PREFILLS + request.prompt % DECODES


def fabric() -> Fabric:
    """Two leaves and a spine whose links are narrower than the NICs."""
    topology = leaf_spine(
        leaves=2, hosts_per_leaf=3, spines=1, host_bytes_per_s=1e12, spine_bytes_per_s=3e11
    )
    return Fabric.of_topology(topology, np.arange(PREFILLS + DECODES))


@pytest.mark.parametrize("links", [None, fabric()], ids=["NICs", "fabric"])
@pytest.mark.parametrize("seed", range(6))
def test_transfers_end_when_the_other_solver_says(seed: int, links: Fabric | None) -> None:
    draw = np.random.default_rng(seed)
    n = 60
    prompt = draw.integers(5, 60, n).tolist()
    outcome = serve(
        prompt,
        [2] * n,
        np.sort(draw.integers(0, 60_000, n)).tolist(),
        engine=kind(cells(1000, 10, 0), max_batch=64, max_tokens=256),
        replicas=PREFILLS + DECODES,
        role_of=[PREFILL_ROLE] * PREFILLS + [DECODE_ROLE] * DECODES,
        nic_bytes_per_s=NICS,
        kv_bytes_per_token=BYTES,
        fabric=links,
        policies={"place_decode": spread},
    )
    start = {i: time for time, i, _ in events(outcome, TRANSFER_START)}
    end = {i: time for time, i, _ in events(outcome, TRANSFER_END)}
    moved = sorted(start)
    assert len(moved) == n
    source, target = times(outcome, "prefill_replica"), times(outcome, "replica")
    paths = [[source[i], len(NICS) + target[i]] for i in moved]
    capacity = np.tile(NICS, 2)
    if links is not None:
        capacity = np.concatenate([capacity, links.bytes_per_s])
        for path, i in zip(paths, moved, strict=True):
            path += [2 * len(NICS) + link for link in links.path(source[i], target[i])]
    sizes = [prompt[i] * BYTES for i in moved]
    flows = FlowTable.of_paths(sizes, paths, release=[start[i] for i in moved])
    run = simulate_flows(capacity, flows)
    if links is not None:
        crossing = np.bincount(
            np.concatenate(paths), np.repeat(sizes, list(map(len, paths))), len(capacity)
        )
        assert outcome.fabric.tolist() == crossing[2 * len(NICS) :].tolist()
        assert outcome.fabric.max() > 0
    theirs = np.array([end[i] for i in moved])
    assert np.abs(run.end - theirs).max() <= 3 + 1e-6 * theirs.max()
    alone = np.array([prompt[i] * BYTES for i in moved]) / min(NICS) * 1e12
    assert (theirs - np.array([start[i] for i in moved]) > alone).any(), "no link was shared"
