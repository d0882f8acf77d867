"""Whole synthetic traces from a small description."""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt, TypeAdapter, model_validator

from mltwin.sim import rng_arrays as rng
from mltwin.sim.errors import InputError
from mltwin.sim.ticks import ticks

from .arrivals import Arrivals, arrival_ticks, arrivals_until
from .lengths import Fixed, Law, draw_lengths, resample
from .sessions import (
    MAX_TURNS,
    Drawn,
    Prefixes,
    Sessions,
    Turns,
    block_lists,
    prefix_tokens,
    unfold,
)
from .spec import Spec, checked
from .table import MAX_TOKENS, Trace
from .transforms import head, window


class SyntheticSpec(Spec):
    """What `synthesize` draws from.

    Attributes:
        name: of the trace.
        requests, duration_s: how many, or for how long; give one.
        arrivals: process of requests, or of first turns where there are sessions.
        prompt, output: laws of tokens; with `prefixes` the prompt's comes after the system prompt.
        spearman: rank correlation of prompt and output (Gaussian copula).
        resample: catalogue name or path of a trace whose (prompt, output) pairs are drawn instead.
        sessions, prefixes: multi-turn sessions, shared system prompts.
        warm_up_s: sessions begin this long before time 0, so that the trace opens in full swing.
        block_tokens: tokens of a prefix block; 0: no prefix information.
        tenants: name -> share of requests (of sessions).
        timeout_s: after which clients give up; 0: never.
    """

    name: str = "synthetic"
    requests: PositiveInt | None = None
    duration_s: PositiveFloat | None = None
    arrivals: Arrivals
    prompt: Law = Fixed(law="fixed", value=1024)
    output: Law = Fixed(law="fixed", value=128)
    spearman: float = Field(default=0.0, ge=-1, le=1)
    resample: str | None = None
    sessions: Sessions | None = None
    prefixes: Prefixes | None = None
    warm_up_s: float = Field(default=0.0, ge=0)
    block_tokens: int = Field(default=0, ge=0, le=MAX_TOKENS)
    tenants: dict[str, Annotated[float, Field(ge=0)]] | None = None
    timeout_s: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _one_size(self) -> "SyntheticSpec":
        if (self.requests is None) == (self.duration_s is None):
            raise ValueError("give either requests or duration_s")
        if self.prefixes is not None and not self.block_tokens:
            raise ValueError("prefixes need block_tokens")
        if self.warm_up_s and self.duration_s is None:
            raise ValueError("warm_up_s needs duration_s")
        if self.tenants is not None and not sum(self.tenants.values()) > 0:
            raise ValueError("one tenant's share must be above 0")
        return self


_ADAPTER: TypeAdapter[SyntheticSpec] = TypeAdapter(SyntheticSpec)


def synthesize(spec: Mapping[str, Any] | SyntheticSpec, seed: int = 0) -> Trace:
    """Draw a trace. The same spec and seed give the same trace.

    Lengths, turns and tenants of request (session) i depend on the seed and i alone, not on the
    rate. Raises InputError naming the part of the spec that is wrong.
    """
    plan = checked(_ADAPTER, spec, "spec")
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 1 << 63:
        raise InputError(f"seed = {seed!r} is not a whole number from 0 to 2**63 - 1")
    start = _starts(plan, seed)
    if not start.size:
        raise InputError("draws no request", where="spec", mend="raise the rate or the duration")
    index = np.arange(start.size)
    system = _system_prompts(plan, index, seed)
    turns = _turns(plan, start, system[1], seed)
    blocks: dict[str, Any] = {}
    if plan.block_tokens:
        lists = block_lists(turns, *system, plan.block_tokens)
        blocks = dict(zip(("block_start", "block_count", "block_ids"), lists, strict=True))
        blocks["block_tokens"] = plan.block_tokens
    tenant, tenants = _tenants(plan, index, seed)
    trace = Trace.make(
        turns.arrival,
        turns.prompt,
        turns.output,
        session=turns.session if plan.sessions else None,
        tenant=tenant[turns.session],
        tenants=tenants,
        after=turns.after,
        delay=turns.delay,
        timeout=np.full(turns.arrival.size, ticks(plan.timeout_s)),
        **blocks,
        name=plan.name,
        source="synthetic",
        meta={"spec": plan.model_dump(exclude_none=True), "seed": seed},
        sort=True,
    )
    if plan.requests is not None:
        return head(trace, plan.requests)
    if plan.sessions is None and not plan.warm_up_s:
        return trace
    assert plan.duration_s is not None
    return window(trace, plan.warm_up_s, plan.warm_up_s + plan.duration_s)


def _starts(plan: SyntheticSpec, seed: int) -> np.ndarray:
    if plan.requests is not None:
        return arrival_ticks(plan.arrivals, plan.requests, seed)
    assert plan.duration_s is not None
    return arrivals_until(plan.arrivals, plan.warm_up_s + plan.duration_s, seed)


def _system_prompts(
    plan: SyntheticSpec, index: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    if plan.prefixes is None:
        return np.zeros_like(index), np.zeros_like(index)
    return prefix_tokens(plan.prefixes, index, seed)


def _turns(plan: SyntheticSpec, start: np.ndarray, system: np.ndarray, seed: int) -> Turns:
    index = np.arange(start.size)
    keys = index * MAX_TURNS
    if plan.resample is not None:
        from .catalogue import open_trace

        origin = open_trace(plan.resample)
        prompt, output = resample(origin.prompt, origin.output, keys, seed)
    else:
        prompt, output = draw_lengths(plan.prompt, plan.output, keys, seed, plan.spearman)
    prompt = prompt + system
    if plan.sessions is None:
        return Turns(start, prompt, output, index, np.full(index.size, -1), np.zeros_like(start))
    first = Drawn(prompt, output, plan.output, plan.spearman)
    return unfold(plan.sessions, start, first, seed)


def _tenants(
    plan: SyntheticSpec, index: np.ndarray, seed: int
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    if plan.tenants is None:
        return np.zeros_like(index), None
    shares = np.cumsum(list(plan.tenants.values()))
    u = rng.uniforms(seed, rng.TENANTS, index) * shares[-1]
    place = np.searchsorted(shares, u, side="right")
    return np.minimum(place, shares.size - 1), tuple(plan.tenants)
