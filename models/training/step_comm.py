"""Seconds of a training step's collectives, behind one function: `Exchange.seconds`.

Inside a node they are those of :class:`mltwin.models.network.nccl.CollectiveModel`, fitted to
measured tables. Across nodes a collective moves the same bytes over the slower of NVLink and the
node's NICs, and pays NCCL's own latency of each step (``src/graph/tuning.cc``, protocol Simple:
3.4 us over NVLink, 14 us over a network).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mltwin.models.network.nccl import CollectiveModel, load_collectives
from mltwin.sim.errors import InputError

NVLINK_STEP_S, NETWORK_STEP_S = 3.4e-6, 14e-6
MODELS = {
    "a100-sxm-80gb": "a100-sxm",
    "h100-sxm-80gb": "h100-sxm",
    "h200-sxm": "h100-sxm",
    "b200": "b200-sxm",
    "l40s": "l40s",
    "rtx-pro-6000": "rtx-pro-6000",
}
"""Collective models by GPU profile; an H200 has the NVLinks of an H100."""
UNMEASURED_SHARE = 0.8
"""Of NVLink's bandwidth, where no collective was measured; what NCCL reaches on HGX nodes."""
CHANNELS = 24
"""Multiprocessors that NCCL takes from computation on HGX A100 and H100 (24 channels, nccl-tests
issue 100; one multiprocessor each, which it does not share: nccl issue 689)."""


@dataclass(frozen=True)
class Cluster:
    """Nodes of equal GPUs, each GPU with a NIC.

    Attributes:
        gpus_per_node: GPUs that NVLink joins; 0: as the profile says.
        nic_bytes_per_s: of one GPU's NIC, one direction (400 Gb/s: 50e9).
        nic_share: of it that NCCL reaches (190 of 200 GB/s on HGX A100, nccl issue 689).
    """

    gpus_per_node: int = 0
    nic_bytes_per_s: float = 50e9
    nic_share: float = 0.95

    def __post_init__(self) -> None:
        if self.gpus_per_node < 0 or self.nic_bytes_per_s <= 0 or not 0 < self.nic_share <= 1:
            raise InputError(f"{self}", mend="give positive sizes and a share up to 1")


class Exchange:
    """Collectives among ranks of a job on a cluster; rank r is GPU r mod node of its node."""

    def __init__(self, profile: Any, cluster: Cluster, memo: dict[Any, Any] | None = None) -> None:
        self.profile, self.cluster = profile, cluster
        self._memo: dict[Any, Any] = {} if memo is None else memo
        self.node = cluster.gpus_per_node or profile.facts.gpus_per_node
        self._model = _collectives(profile.name)

    def spread(self, n: int, stride: int) -> tuple[int, int]:
        """Nodes that n ranks ``stride`` apart are on, and how many are together on each."""
        together = max(1, min(n, self.node // stride)) if stride <= self.node else 1
        return -(-n // together), together

    def seconds(self, kind: str, size_bytes: float, n: int, stride: int = 1) -> float:
        """Seconds of a collective.

        Args:
            kind: ``all_reduce``, ``all_gather``, ``reduce_scatter``, ``all_to_all`` or ``send``.
            size_bytes: of one rank's whole tensor (what all of them hold after an all-gather or
                before a reduce-scatter), or of the message sent.
            n: ranks; stride: distance between them.
        """
        if (n == 1 and kind != "send") or size_bytes <= 0:
            return 0.0
        key = (kind, size_bytes, n, stride, self.cluster)
        if key not in self._memo:
            self._memo[key] = self._seconds(kind, size_bytes, n, stride)
        return float(self._memo[key])

    def _seconds(self, kind: str, size_bytes: float, n: int, stride: int) -> float:
        if kind == "send":
            # To a neighbour `stride` ranks on: the same node or the next one.
            if stride < self.node:
                if self._model is not None and self._knows("send_recv"):
                    return float(self._model.seconds("send_recv", size_bytes, 2))
                return NVLINK_STEP_S + size_bytes / self._nvlink("all_to_all")
            return NETWORK_STEP_S + size_bytes / self._nic
        nodes, together = self.spread(n, stride)
        if nodes == 1:
            return self._inside(kind, size_bytes, n)
        moved = size_bytes * (n - 1) / n * (2 if kind == "all_reduce" else 1)
        if kind == "all_to_all":
            outside = size_bytes * (n - together) / n / self._nic
            inside = size_bytes * (together - 1) / n / self._nvlink(kind)
            return NETWORK_STEP_S + max(outside, inside)
        ring = (nodes - 1) * NETWORK_STEP_S + (n - nodes) * NVLINK_STEP_S
        latency = ring
        if kind == "all_reduce":
            depth = max(1, (nodes - 1).bit_length())
            tree = depth * NETWORK_STEP_S + (together - 1) * NVLINK_STEP_S
            latency = 2 * min(ring, tree)
        links = together * self._nic if together == 1 else self._together(together, kind)
        return latency + moved / links

    @property
    def _nic(self) -> float:
        return self.cluster.nic_bytes_per_s * self.cluster.nic_share

    def _together(self, together: int, kind: str) -> float:
        """A ring leaves the node once for each channel, over all NICs of its ranks."""
        return min(together * self._nic, self._nvlink(kind))

    def _knows(self, kind: str) -> bool:
        return self._model is not None and f"nccl.{kind}" in self._model.laws

    def _nvlink(self, kind: str) -> float:
        """Bytes/s of one rank's part at large sizes."""
        if not self._knows(kind):
            return float(self.profile.facts.nvlink_bandwidth * UNMEASURED_SHARE)
        n, size = min(self.node, 8), 2.0**30
        rounds = 2 if kind == "all_reduce" else 1
        return rounds * size * (n - 1) / n / self._inside(kind, size, n)

    def _inside(self, kind: str, size_bytes: float, n: int) -> float:
        if self._model is not None and self._knows(kind):
            return float(self._model.seconds(kind, size_bytes, n))
        rounds = 2 if kind == "all_reduce" else 1
        moved = rounds * size_bytes * (n - 1) / n
        return rounds * (n - 1) * NVLINK_STEP_S + moved / self._nvlink(kind)

    @property
    def slowdown(self) -> float:
        """How much longer computation takes while a collective runs beside it."""
        sms = self.profile.facts.sms
        return float(sms / max(sms - CHANNELS, 1))


@lru_cache(maxsize=16)
def _collectives(gpu: str) -> CollectiveModel | None:
    return load_collectives(MODELS[gpu]) if gpu in MODELS else None
