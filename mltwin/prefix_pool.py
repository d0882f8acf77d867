"""`[prefix_pool]` of a serving scenario: prefix KV beyond the HBM, in host tiers and a shared pool.

The model behind it: `mltwin.models.serving` (stores). Lowered here to its `PrefixStores`.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mltwin.sim.errors import InputError

from .fields import Section

if TYPE_CHECKING:
    from mltwin.models.serving.tables import IterationCells, PrefixStores

# Length of the prefill of which the cost of a block without any before it is taken.
_PREFILL_TOKENS = 2048


class PrefixPool(Section):
    """Prefix KV beyond the HBM: a host tier of each replica, a pool that all share, or both."""

    host_gb: float = Field(
        0.0, ge=0, le=1e7, description="DRAM or SSD of each replica, 10^9 bytes; 0: no such tier"
    )
    host_blocks: int | None = Field(None, ge=0, le=2**30, description="instead of host_gb")
    host_gb_per_s: float = Field(
        50.0, gt=0, le=1e6, description="from a host tier to its replica, all its GPUs together"
    )
    host_latency_us: float = Field(10.0, ge=0, le=1e9, description="of a fetch; assumed")
    pool_gb: float = Field(
        0.0, ge=0, le=1e8, description="of the pool that all replicas share; 0: no pool"
    )
    pool_blocks: int | None = Field(None, ge=0, le=2**30, description="instead of pool_gb")
    pool_gb_per_s: float = Field(
        100.0,
        gt=0,
        le=1e7,
        description="from the pool to all replicas together; each has its NIC besides",
    )
    pool_latency_us: float = Field(20.0, ge=0, le=1e9, description="of a fetch; assumed")
    fetch: Literal["never", "always", "cheaper"] = Field(
        "cheaper", description="cheaper: where it takes less time than the prefill that it saves"
    )
    write: Literal["eviction", "completion"] = Field(
        "completion",
        description="completion: each block that a request has filled goes to host tier and pool; "
        "eviction: what leaves the HBM goes to the host tier, what leaves that to the pool",
    )
    evict: Literal["lru", "fifo", "lfu", "cost"] = Field(
        "lru", description="which block goes; cost: the cheapest to compute, with ageing"
    )


def prefix_stores(
    section: PrefixPool | None,
    *,
    caching: bool,
    block_tokens: int,
    kv_bytes_per_token: int,
    cells: "IterationCells",
) -> "PrefixStores | None":
    """The kernel's stores; `cells` say what a block costs by its depth.

    Raises InputError where nothing could be stored, or prefixes are not cached at all.
    """
    from mltwin.models.serving.tables import FETCHES, STORE_POLICIES, WRITES, PrefixStores
    from mltwin.sim.ticks import ticks

    if section is None:
        return None
    if not caching:
        raise InputError(
            "prefixes are not cached", where="prefix_pool", mend="set prefix_caching = true"
        )
    block_bytes = block_tokens * kv_bytes_per_token
    host = _blocks(section.host_gb, section.host_blocks, block_bytes)
    pool = _blocks(section.pool_gb, section.pool_blocks, block_bytes)
    if not host and not pool:
        raise InputError(
            f"room for no block of {block_bytes / 1e6:.4g} MB",
            where="prefix_pool",
            mend="give host_gb or pool_gb",
        )
    return PrefixStores(
        host_blocks=host,
        pool_blocks=pool,
        host_bytes_per_s=section.host_gb_per_s * 1e9,
        pool_bytes_per_s=section.pool_gb_per_s * 1e9,
        host_latency=int(ticks(section.host_latency_us / 1e6)),
        pool_latency=int(ticks(section.pool_latency_us / 1e6)),
        fetch=FETCHES[section.fetch],
        write=WRITES[section.write],
        policy=STORE_POLICIES[section.evict],
        depth_cost=_depth_cost(cells, block_tokens),
    )


def _blocks(gb: float, blocks: int | None, block_bytes: int) -> int:
    return int(gb * 1e9 / block_bytes) if blocks is None else blocks


def _depth_cost(cells: "IterationCells", block_tokens: int) -> float:
    """What a block before it adds to the time of a block, over that of a block alone.

    A token attends to each before it: B tokens behind d B others make d B^2 pairs more.
    """
    alone = max(1, cells.evaluate(_PREFILL_TOKENS, 0, 1, 1)) * block_tokens / _PREFILL_TOKENS
    return cells.per_work * block_tokens**2 / alone
