"""From an `ExpertScenario` to a plan, and from its outcome to a result."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from mltwin.models.experts import TICKS_PER_S, make_plan, run_plan
from mltwin.models.experts.prediction import given, issued, previous, quality
from mltwin.models.experts.routing import regroup, routes, visits_of
from mltwin.models.experts.shape import MoeShape, Roofline, shape_of
from mltwin.models.experts.tables import Plan
from mltwin.models.gpu.profile import load_profile
from mltwin.models.llm import load_model, model_names, precision
from mltwin.sim.errors import InputError

from .experts import ExpertScenario
from .experts_result import ExpertResult
from .experts_trace import read_routes
from .fields import placed

MOST_ACTIVATIONS = 400_000_000


@dataclass(frozen=True)
class Lowered:
    """A plan, what the result tells of it, and the digest of the routing."""

    plan: Plan
    facts: dict[str, Any]
    notes: list[str]
    routing_sha256: str


def run_experts(scenario: ExpertScenario, seed: int, *, reference: bool = False) -> ExpertResult:
    """Simulate a scenario once.

    Raises InputError: an unknown model, GPU or trace, or a cache that cannot be.
    """
    lowered = lower(scenario, seed)
    outcome = run_plan(lowered.plan, reference=reference)
    return ExpertResult.of(outcome, lowered)


def check_names(scenario: ExpertScenario) -> None:
    """Raises InputError for a model, GPU or trace that is not there."""
    model_shape(scenario)
    _speed(scenario, "bfloat16")
    trace = scenario.routing.trace
    if trace is not None and not scenario.resolve_path(trace).is_file():
        raise InputError(f"no file {trace!r}", where="routing.trace", mend="check the path")


@cache
def moe_model_names() -> tuple[str, ...]:
    """The shipped models that have experts."""
    return tuple(name for name in model_names() if load_model(name).moe is not None)


def model_shape(scenario: ExpertScenario) -> tuple[MoeShape, str]:
    """The model's shape and the format in which its experts are multiplied.

    Raises InputError: unknown model, one without experts, or half a shape.
    """
    given_model = scenario.model
    numbers = {
        name: getattr(given_model, name)
        for name in ("layers", "experts", "experts_per_token", "expert_mb")
    }
    missing = [name for name, value in numbers.items() if value is None]
    if len(missing) < len(numbers):
        if missing:
            raise InputError(f"{missing[0]!r} is missing", where="model", mend="give all four")
        return _shape_in_numbers(scenario), "bfloat16"
    try:
        model = load_model(str(scenario.resolve_path(given_model.name)))
        if given_model.quantisation is not None:
            model = model.with_weights(given_model.quantisation)
        return shape_of(model), precision(model.expert_dtype).compute
    except InputError as error:
        raise placed(error, "model.name") from None


def _shape_in_numbers(scenario: ExpertScenario) -> MoeShape:
    m = scenario.model
    assert m.layers and m.experts and m.experts_per_token and m.expert_mb
    if m.experts_per_token > m.experts:
        raise InputError(
            f"{m.experts_per_token} of {m.experts} experts", where="model.experts_per_token"
        )
    expert, other = round(m.expert_mb * 1e6), round(m.other_gb * 1e9)
    return MoeShape(
        layers=m.layers,
        experts=m.experts,
        chosen=m.experts_per_token,
        expert_bytes=expert,
        expert_parameters=expert // 2,  # 16-bit weights
        other_bytes=other,
        pass_bytes=other,
        pass_parameters=other // 2,
        kv_bytes_per_token=0,
    )


def _speed(scenario: ExpertScenario, compute_format: str) -> Roofline:
    c = scenario.compute
    try:
        facts = load_profile(scenario.resolve_path(c.gpu)).facts
    except InputError as error:
        raise placed(error, "compute.gpu") from None
    kind = "fp8" if compute_format.startswith("fp8") else compute_format
    return Roofline(
        bandwidth=facts.hbm_bandwidth,
        flops=facts.peak_flops.get(kind, facts.peak_flops["bfloat16"]),
        memory_efficiency=c.memory_efficiency,
        compute_efficiency=c.compute_efficiency,
        overhead_s=c.overhead_us * 1e-6,
    )


def lower(scenario: ExpertScenario, seed: int) -> Lowered:
    """The plan of a scenario's run."""
    from mltwin.sim.runspec import array_digest

    shape, compute_format = model_shape(scenario)
    found = _routes(scenario, shape, seed)
    steps, batch = found.shape[:2]
    groups = min(scenario.micro_batches, batch)
    order = np.tile(np.arange(batch), (steps, 1))
    if scenario.regroup and groups > 1:
        known = scenario.predictor.recall if scenario.predictor.kind == "given" else 1.0
        order = regroup(seed, found, shape.experts, groups, known)
    start, keys, tokens, visit_tokens = visits_of(found, order, shape.experts, groups)
    passes = -(-batch // -(-batch // groups))
    told_start, told = _predictions(scenario, seed, start, keys, shape, passes)
    visits = len(start) - 1
    pre = np.zeros(visits, np.int64)
    if scenario.predictor.kind != "none":
        pre[:: shape.layers] = round(scenario.predictor.time_us * 1000)
    entry_ticks, dense_ticks = _times(scenario, shape, compute_format, tokens, visit_tokens)
    uses = np.bincount(keys, minlength=shape.layers * shape.experts)
    on_ssd = _on_ssd(scenario, uses)
    capacity = _capacity(scenario, shape)
    plan = make_plan(
        layers=shape.layers,
        experts=shape.experts,
        capacity=capacity,
        policy=scenario.policy,
        visit_start=start,
        entry_key=keys,
        entry_ticks=entry_ticks,
        dense_ticks=dense_ticks,
        pre_ticks=pre,
        load_ticks=_load_ticks(scenario, shape, on_ssd),
        pred_start=told_start,
        pred_key=told,
        issue_at=issued(visits, shape.layers, passes, scenario.predictor.lookahead),
        streams=scenario.link.streams,
        seed=seed,
        preload=scenario.memory.preload,
    )
    recall, precision = quality(start, keys, told_start, told)
    facts = {
        "layers": shape.layers,
        "experts": shape.experts,
        "experts_per_token": shape.chosen,
        "expert_bytes": shape.expert_bytes,
        "other_bytes": shape.other_bytes,
        "capacity": plan.capacity,
        "steps": steps,
        "batch": batch,
        "passes_a_step": passes,
        "tokens": steps * batch,
        "dense_ticks": int(dense_ticks.sum()),
        "expert_ticks": int(entry_ticks.sum()),
        "predictor_ticks": int(pre.sum()),
        "streams": plan.streams,
        "preloaded": len(plan.preloaded),
        "predicted": len(told),
        "recall": recall if len(told) else None,
        "precision": precision,
    }
    notes = _notes(scenario, plan, on_ssd)
    return Lowered(plan, facts, notes, array_digest(found))


def _routes(scenario: ExpertScenario, shape: MoeShape, seed: int) -> np.ndarray:
    """int32[steps, batch, layers, chosen]."""
    r = scenario.routing
    if r.trace is None:
        total = r.steps * r.batch * shape.layers * shape.chosen
        if total > MOST_ACTIVATIONS:
            raise InputError(
                f"{total:.3g} activations do not fit into memory",
                where="routing.steps",
                mend=f"at most {MOST_ACTIVATIONS:.0e}: steps x batch x layers x experts_per_token",
            )
        return routes(
            seed,
            steps=r.steps,
            batch=r.batch,
            layers=shape.layers,
            experts=shape.experts,
            chosen=shape.chosen,
            skew=r.skew,
            token_correlation=r.token_correlation,
            layer_correlation=r.layer_correlation,
            topics=r.topics,
            topic_strength=r.topic_strength,
            output_tokens=r.output_tokens,
        )
    path = scenario.resolve_path(r.trace)
    found = read_routes(path)
    tokens, layers, chosen = found.shape
    for name, has, wants in (
        ("layers", layers, shape.layers),
        ("experts per token", chosen, shape.chosen),
    ):
        if has != wants:
            raise InputError(
                f"has {has} {name}, the model {wants}", where=str(path), mend="change `model`"
            )
    if int(found.max()) >= shape.experts:
        raise InputError(
            f"names expert {int(found.max())}, the model has {shape.experts}",
            where=str(path),
            mend="experts are numbered from 0; change `model` or the file",
        )
    steps = min(r.steps, tokens // r.batch)
    if steps == 0:
        raise InputError(
            f"has {tokens} tokens, less than a batch of {r.batch}",
            where=str(path),
            mend="lower routing.batch",
        )
    return np.ascontiguousarray(found[: steps * r.batch].reshape(steps, r.batch, layers, chosen))


def _predictions(
    scenario: ExpertScenario,
    seed: int,
    start: np.ndarray,
    keys: np.ndarray,
    shape: MoeShape,
    passes: int,
) -> tuple[np.ndarray, np.ndarray]:
    p = scenario.predictor
    if p.kind == "given":
        return given(seed, start, keys, shape.experts, p.recall, p.precision)
    if p.kind == "previous":
        return previous(start, keys, shape.layers * passes)
    return np.zeros(len(start), np.int64), np.zeros(0, np.int64)


def _times(
    scenario: ExpertScenario,
    shape: MoeShape,
    compute_format: str,
    tokens: np.ndarray,
    visit_tokens: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Ticks of each activation and of the dense part of each visit."""
    c = scenario.compute
    speed = _speed(scenario, compute_format)
    sizes = np.arange(max(int(tokens.max(initial=0)), int(visit_tokens.max())) + 1)
    expert_s = speed.expert_s(shape, sizes)
    dense_s = speed.dense_s(shape, sizes, c.context_tokens)
    if c.expert_us is not None:
        expert_s = np.full(len(sizes), c.expert_us * 1e-6)
    if c.layer_us is not None:
        dense_s = np.full(len(sizes), c.layer_us * 1e-6)
    expert, dense = (np.rint(s * TICKS_PER_S).astype(np.int64) for s in (expert_s, dense_s))
    return expert[tokens], dense[visit_tokens]


def _capacity(scenario: ExpertScenario, shape: MoeShape) -> int:
    m, keys = scenario.memory, shape.layers * shape.experts
    if m.hbm_experts is not None:
        return min(m.hbm_experts, keys)
    if m.hbm_gb is not None:
        fits = int(m.hbm_gb * 1e9) // shape.expert_bytes
        if fits < 1:
            raise InputError(
                f"{m.hbm_gb:g} GB hold no expert of {shape.expert_bytes / 1e9:.3g} GB",
                where="memory.hbm_gb",
                mend="give room for one at least",
            )
        return min(fits, keys)
    return max(1, round(m.hbm_share * keys))


def _on_ssd(scenario: ExpertScenario, uses: np.ndarray) -> np.ndarray:
    """Which experts live on the SSD: those used least over the run."""
    share = scenario.memory.dram_share
    ssd = np.zeros(len(uses), bool)
    by_use = np.lexsort((np.arange(len(uses)), -uses))
    ssd[by_use[round(share * len(uses)) :]] = True
    return ssd


def _load_ticks(scenario: ExpertScenario, shape: MoeShape, on_ssd: np.ndarray) -> np.ndarray:
    """Ticks of loading each expert: latency + bytes over the stream's part of the bandwidth."""
    link = scenario.link

    def ticks(latency_us: float, gb_per_s: float) -> int:
        return round(latency_us * 1000 + shape.expert_bytes * link.streams / gb_per_s)

    dram = ticks(link.dram_latency_us, link.dram_gb_per_s)
    ssd = ticks(link.ssd_latency_us, min(link.ssd_gb_per_s, link.dram_gb_per_s))
    return np.where(on_ssd, ssd, dram).astype(np.int64)


def _notes(scenario: ExpertScenario, plan: Plan, on_ssd: np.ndarray) -> list[str]:
    notes = []
    widest = int(np.diff(plan.visit_start).max())
    if plan.capacity < widest:
        notes.append(
            f"HBM holds {plan.capacity} experts, one layer of a pass activates up to {widest}: "
            "they are loaded and computed in turns."
        )
    if scenario.regroup and scenario.micro_batches == 1:
        notes.append("Regrouping changes nothing with one micro-batch.")
    if scenario.policy in ("static", "belady") and not scenario.routing.trace:
        notes.append(f"{scenario.policy} knows the whole run beforehand.")
    if on_ssd.any():
        notes.append(f"{int(on_ssd.sum())} of {plan.keys} experts live on the SSD.")
    return notes
