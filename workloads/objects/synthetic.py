"""Whole synthetic object traces from a small description.

from mltwin.workloads.objects import make_objects, zipf

trace = zipf(objects=100_000, requests=1_000_000, alpha=0.9, seed=1)
trace = make_objects({"requests": 10_000, "accesses": {"pattern": "loop", "objects": 500}})
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, TypeAdapter

from mltwin.sim import rng_arrays as rng
from mltwin.sim.errors import InputError
from mltwin.workloads.arrivals import Arrivals, arrival_ticks
from mltwin.workloads.spec import Spec, checked

from .numbering import Densifier
from .patterns import Drawn, Pattern, Zipf, gather
from .sizes import Sizes
from .table import MAX_TIME, TICKS_PER_S, ObjectTrace, frozen

_PS_PER_NS = 1000


class Tenant(Spec):
    """One tenant: its share of requests, its own objects and popularity, its own law of sizes."""

    share: PositiveFloat = Field(default=1.0, description="weight among the tenants")
    accesses: Pattern = Field(default=Zipf(), description="which objects it asks for")
    sizes: Sizes | None = Field(default=None, description="of its objects; none: as for all")


class ObjectSpec(Spec):
    """What `make_objects` draws from."""

    name: str = Field(default="synthetic", description="name of the trace")
    requests: PositiveInt = Field(default=100_000, le=1 << 31, description="how many")
    accesses: Pattern = Field(default=Zipf(), description="which objects are asked for")
    tenants: dict[str, Tenant] | None = Field(
        default=None, min_length=1, description="name -> tenant; takes the place of accesses"
    )
    sizes: Sizes | None = Field(default=None, description="sizes; none: every object counts 1")
    arrivals: Arrivals | None = Field(default=None, description="times; none: no times")
    ttl_s: NonNegativeFloat = Field(default=0.0, description="life of an object; 0: for ever")


_ADAPTER: TypeAdapter[ObjectSpec] = TypeAdapter(ObjectSpec)


def make_objects(spec: Mapping[str, Any] | ObjectSpec, seed: int = 0) -> ObjectTrace:
    """Draw a trace. The same spec and seed give the same trace.

    Objects of request i depend on the seed and i, sizes on the seed and the object, times on the
    seed and i: a change of one leaves the others as they were. `keys` holds the keys that patterns
    give (of a Zipf pattern: the rank from 0).
    Raises InputError naming the part of the spec that is wrong.
    """
    plan = checked(_ADAPTER, spec, "spec")
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 1 << 63:
        raise InputError(f"seed = {seed!r} is not a whole number from 0 to 2**63 - 1")
    index = np.arange(plan.requests)
    tenant = _tenants(plan, index, seed)
    keys, shares = _accesses(plan, index, tenant, seed)
    numbering = Densifier()
    ids = numbering.add(keys)
    sizes = _sizes(plan, keys, shares, tenant, seed)
    if sizes is not None:
        sizes = _first_sizes(ids, sizes, numbering.count)
    ttl = None
    if plan.ttl_s:
        ttl = np.full(plan.requests, min(round(plan.ttl_s * TICKS_PER_S), MAX_TIME))
    return ObjectTrace.make(
        frozen(ids),
        objects=numbering.count,
        size_bytes=sizes,
        arrival=_arrivals(plan, seed),
        tenant=tenant,
        tenants=None if plan.tenants is None else tuple(plan.tenants),
        ttl_ns=ttl,
        keys=numbering.keys(),
        name=plan.name,
        source="synthetic",
        meta={"spec": plan.model_dump(exclude_none=True), "seed": seed},
    )


def zipf(
    objects: int, requests: int, alpha: float = 1.0, seed: int = 0, **spec: Any
) -> ObjectTrace:
    """Independent requests with Zipf popularity; `spec` holds other parts of `ObjectSpec`."""
    accesses = {"pattern": "zipf", "objects": objects, "alpha": alpha}
    return make_objects({"name": "zipf", "requests": requests, "accesses": accesses, **spec}, seed)


def scan(requests: int, seed: int = 0, **spec: Any) -> ObjectTrace:
    """Each request asks for a new object."""
    accesses = {"pattern": "scan"}
    return make_objects({"name": "scan", "requests": requests, "accesses": accesses, **spec}, seed)


def loop(objects: int, requests: int, seed: int = 0, **spec: Any) -> ObjectTrace:
    """Objects 0 to objects - 1 in order, again and again."""
    accesses = {"pattern": "loop", "objects": objects}
    return make_objects({"name": "loop", "requests": requests, "accesses": accesses, **spec}, seed)


def drifting(
    objects: int, requests: int, alpha: float = 1.0, every: int = 10_000, seed: int = 0, **how: Any
) -> ObjectTrace:
    """Zipf whose popularity changes; `how` holds `change`, `step`, `share` of `Drifting`."""
    accesses = {"pattern": "drifting", "objects": objects, "alpha": alpha, "every": every, **how}
    return make_objects({"name": "drifting", "requests": requests, "accesses": accesses}, seed)


def mixture(
    parts: Sequence[tuple[float, Mapping[str, Any]]],
    requests: int,
    seed: int = 0,
    order: str = "interleaved",
    **spec: Any,
) -> ObjectTrace:
    """Several (share, pattern) together, e.g. [(0.9, {"pattern": "zipf"}), (0.1, ...)]."""
    listed = [{"share": share, "accesses": accesses} for share, accesses in parts]
    accesses = {"pattern": "mixture", "parts": listed, "order": order}
    given = {"name": "mixture", "requests": requests, "accesses": accesses, **spec}
    return make_objects(given, seed)


def _tenants(plan: ObjectSpec, index: np.ndarray, seed: int) -> np.ndarray | None:
    if plan.tenants is None:
        return None
    shares = np.cumsum([one.share for one in plan.tenants.values()])
    u = rng.uniforms(seed, rng.TENANTS, index) * shares[-1]
    return np.minimum(np.searchsorted(shares, u, side="right"), shares.size - 1).astype(np.int32)


def _accesses(plan: ObjectSpec, index: np.ndarray, tenant: np.ndarray | None, seed: int) -> Drawn:
    if plan.tenants is None or tenant is None:
        return plan.accesses.draw(index, seed, rng.OBJECTS)
    return gather(tenant, [one.accesses for one in plan.tenants.values()], seed, rng.OBJECTS)


def _sizes(
    plan: ObjectSpec,
    keys: np.ndarray,
    shares: np.ndarray | None,
    tenant: np.ndarray | None,
    seed: int,
) -> np.ndarray | None:
    """Bytes at each request; 1 where only others have a law."""
    whole = None if plan.sizes is None else plan.sizes.of(keys, shares, seed)
    if plan.tenants is None or tenant is None:
        return whole
    for number, one in enumerate(plan.tenants.values()):
        if one.sizes is not None:
            whole = np.ones(keys.size, np.int64) if whole is None else whole
            rows = np.flatnonzero(tenant == number)
            whole[rows] = one.sizes.of(keys[rows], None if shares is None else shares[rows], seed)
    return whole


def _first_sizes(ids: np.ndarray, sizes: np.ndarray, objects: int) -> np.ndarray:
    """Each object keeps the size of its first request, also where its popularity changed."""
    of_object = np.empty(objects, np.int64)
    of_object[ids[::-1]] = sizes[::-1]
    return of_object[ids]


def _arrivals(plan: ObjectSpec, seed: int) -> np.ndarray | None:
    if plan.arrivals is None:
        return None
    return arrival_ticks(plan.arrivals, plan.requests, seed) // _PS_PER_NS
