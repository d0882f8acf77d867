"""A measured closed-loop run, replayed: tables, engine and client put together."""

import functools
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mltwin.calibration.silicon import MeasuredProfile, silicon_profile
from mltwin.calibration.silicon.recipes import Recipe, drafts_of_image, recipe
from mltwin.calibration.silicon.recipes_disagg import engine_version
from mltwin.calibration.silicon.resolver import known_model
from mltwin.calibration.silicon.wide_exchange import alltoall
from mltwin.calibration.silicon.wide_experts import wide_experts
from mltwin.models.gpu.draw import draw as draw_profile
from mltwin.models.gpu.iteration import IterationModel
from mltwin.models.serving.hooks import ROLES
from mltwin.models.serving.tables import DONE, RESERVES, EngineKind, IterationCells, ServingInput
from mltwin.serving_cluster import lowered_cells
from mltwin.sim.errors import InputError
from mltwin.sim.rng import LENGTHS
from mltwin.sim.rng_arrays import uniforms
from mltwin.sim.ticks import ticks

from .silicon_mtp import context_factor, emitted, iterations, speculative
from .silicon_rows import Run, Side

PROMPTS_A_SLOT = 10
LEAST_SHARE = 0.8
BLOCK_TOKENS = 16
# One direction of the network that carries KV between pools, of each GPU.
KV_LINK_BYTES_PER_S = 50e9
HANDOVER_S = 2e-3
ALL_MEMORY = 0.97
WIDE_SYSTEMS = ("gb200",)
"""Whose SGLang recipes exchange tokens by DeepEP."""
POLICIES = {"route": "least_requests_in_turn", "place_decode": "least_requests_decode"}
"""Front ends hand out requests evenly; engines do so among their attention ranks."""


@dataclass(frozen=True)
class Prediction:
    """Means of a replayed run.

    ``confidence`` and ``notes`` say how exact the tables were for it, ``knee`` at which concurrency
    the deployment saturates.
    """

    ttft_s: float
    tpot_s: float
    confidence: float
    knee: float
    notes: tuple[str, ...] = field(default=())


def replay(
    run: Run,
    seed: int = 0,
    draw: tuple[int, float] | None = None,
    **changes: Any,
) -> Prediction:
    """Simulate the run as its client drove it.

    Args:
        run: what was measured.
        seed: of the lengths.
        draw: on tables drawn from their error: which draw, and the confidence of the prediction
            without one (:func:`mltwin.models.gpu.draw.draw`).
        changes: fields of the recipe to change, for studies of what each does.

    Raises:
        InputError: no tables for it, or a deployment that does not fit its GPUs.
    """
    prompts, outputs = _lengths(run, seed)
    drafts = _drafts(run)
    steps = iterations(outputs, drafts)
    ranks, notes, confidence, flags = [], [], 1.0, None
    for i, side in enumerate(sides(run)):
        kind, profile, flags = _kind(run, side, i, int(prompts.max()), int(outputs.max()),
                                     tuple(sorted(changes.items())), draw)  # fmt: skip
        ranks.append((kind, side.workers * side.dp))
        notes += profile.answers.notes
        confidence = min(confidence, profile.answers.confidence)
    if run.served:
        confidence *= run.served.confidence
        notes += [run.served.note] if run.served.note else []
    assert flags is not None
    front = flags.frontend_s + flags.frontend_token_s * prompts
    given = _input(run, ranks, prompts, steps, float(front.mean()))
    from mltwin.models.serving.simulate import simulate

    outcome = simulate(given, _policies() if len(given.kind_of) > 1 else None)
    done = np.asarray(outcome.requests["state"]) == DONE
    if not done.any():
        raise InputError("no request fits the KV cache", mend="the deployment is not as labelled")
    times = {
        name: np.asarray(outcome.requests[name], float)[done] * 1e-12
        for name in ("first", "finish", "arrival", "transfer")
    }
    first = times["first"]
    if run.disaggregated:
        first = _seen(first + times["transfer"], times["finish"], steps[done])
    gaps = outputs[done] - 1
    return Prediction(
        ttft_s=float(np.mean(first - times["arrival"] + front[done])),
        tpot_s=float(np.mean((times["finish"] - first)[gaps > 0] / gaps[gaps > 0])),
        confidence=confidence,
        knee=knee(kind.cells, run) * ranks[-1][1],
        notes=tuple(dict.fromkeys(notes)),
    )


def _drafts(run: Run) -> int:
    """Draft tokens of multi-token prediction, as far as it is known to have been on."""
    if run.served is not None:
        return run.served.deployed.drafts
    shipped = known_model(run.model)
    return drafts_of_image(run.engine, shipped, run.system, run.version, run.sides[0].dp)


def sides(run: Run) -> tuple[Side, ...]:
    """The workers that are replayed: as published, where the row does not tell them."""
    if run.served is None:
        return run.sides
    deployed = run.served.deployed
    return tuple(
        Side(workers=w.count, tp=w.tp, pp=1, dp=w.dp, ep=w.ep, batch=deployed.batch)
        for w in (deployed.prefill, deployed.decode)
    )


def _seen(arrived: np.ndarray, finish: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """When the client sees the first token: it comes with the decode worker's first iteration, for
    which the prompt's KV cache has to arrive and a place in the batch has to be free."""
    return np.asarray(arrived + (finish - arrived) / np.maximum(steps - 1, 1))


@functools.cache
def _policies() -> dict[str, Any]:
    from mltwin.policies.registry import resolve

    return {hook: resolve(name, hook)[0].compiled() for hook, name in POLICIES.items()}


def _lengths(run: Run, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Integer lengths uniform in [0.8 L, L]; fixed where the client is not known."""
    count = PROMPTS_A_SLOT * run.concurrency
    if not run.known:
        return np.full(count, run.prompt), np.full(count, run.output)
    found = []
    for stream, length in enumerate((run.prompt, run.output)):
        low = max(1, int(LEAST_SHARE * length))
        draws = uniforms(seed, LENGTHS, np.arange(count), stream)
        found.append(low + np.floor(draws * (length - low + 1)).astype(np.int64))
    return found[0], found[1]


@functools.lru_cache(maxsize=256)
def _profile(system: str, engine: str, model: str, precision: str, version: str) -> MeasuredProfile:
    return silicon_profile(system, engine, model, precision, version or None)


@functools.lru_cache(maxsize=1024)
def _times(
    system: str,
    engine: str,
    model: str,
    precision: str,
    version: str,
    plan: tuple[int, int, int, int],
    phase: str,
    graphs: str,
    launch_s_per_layer: float,
    draw: tuple[int, float] | None = None,
) -> IterationModel:
    profile: Any = _profile(system, engine, model, precision, version)
    tp, pp, ep, dp = plan
    if engine == "sglang" and system in WIDE_SYSTEMS and dp > 1 and ep > 1 and phase:
        profile = wide_experts(profile, system, phase, tp * dp)
    if engine == "trtllm" and dp > 1:
        profile = alltoall(profile, system)
    if draw is not None:
        profile = draw_profile(profile, draw[0], confidence=draw[1])
    return IterationModel(
        profile.deployment.model,
        profile,
        tp=tp,
        pp=pp,
        ep=ep,
        dp=dp,
        kv_dtype=profile.deployment.kv_dtype,
        graphs=graphs,  # type: ignore[arg-type]
        launch_s_per_layer=launch_s_per_layer,
    )


@functools.lru_cache(maxsize=2048)
def _kind(
    run: Run,
    side: Side,
    place: int,
    prompt: int,
    output: int,
    changes: tuple[tuple[str, Any], ...],
    draw: tuple[int, float] | None = None,
) -> tuple[EngineKind, MeasuredProfile, Recipe]:
    """The engine of a side; ``place`` 0 is the only or the prefill side, 1 the decode side."""
    flags = recipe(
        run.engine,
        known_model(run.model),
        run.system,
        run.precision,
        run.prompt,
        run.output,
        side.tp,
        side.dp,
        run.concurrency,
        run.version or None,
    )
    flags = replace(flags, **dict(changes))
    drafts = 0 if run.disaggregated else _drafts(run)
    if run.disaggregated:
        flags = _prefill_only(run, flags) if place == 0 else _decode_only(flags, side.batch)
        drafts = run.served.deployed.drafts if run.served and place == 1 else 0
    plan = (side.tp, side.pp, side.ep, side.dp)
    where = _where(run)
    phase = ("prefill", "decode")[place] if run.disaggregated else ""
    times = _times(*where, plan, phase, flags.graphs, flags.launch_s_per_layer, draw)
    batch = min(flags.max_batch, max(1, -(-run.concurrency // (side.workers * side.dp)) * 2))
    reach = batch * (drafts + 1)
    if place == 0:
        reach = max(flags.max_tokens, reach)
    if not flags.chunked and place == 0:
        reach = max(reach, 1 << (prompt - 1).bit_length())
    cells = lowered_cells(times, reach, prompt + output + 1, batch * (drafts + 1))
    shorter = emitted(drafts)
    cells = speculative(
        cells,
        drafts,
        read=context_factor(times, drafts),
        stretch=(prompt + output / 2) / (prompt + output / (2 * shorter)),
        draft_share=drafts / times.model.layers,
        prompts=not run.disaggregated,
    )
    blocks = _blocks(times, flags.memory)
    kind = EngineKind(
        cells=cells,
        max_batch=batch,
        max_tokens=max(flags.max_tokens, batch),
        blocks=int(blocks * (prompt + output / shorter) / (prompt + output)),
        mixed=flags.mixed,
        chunked=flags.chunked,
        reserve=RESERVES[flags.reserve],
        asynchronous=flags.asynchronous,
        wait_iterations=flags.wait_iterations,
        whole_prompt=flags.admit_whole_prompt,
        batch_wait_iterations=flags.batch_wait_iterations,
        batch_wait_tokens=int(flags.batch_wait_ratio * flags.max_tokens),
    )
    return kind, _profile(*where), flags


def _where(run: Run) -> tuple[str, str, str, str, str]:
    """Whose tables are read."""
    version = engine_version(run.engine, run.version) if run.disaggregated else run.version
    return run.system, run.engine, run.model, run.precision, version


def _blocks(times: IterationModel, memory: float) -> int:
    """KV blocks; an engine is given all of the memory where the usual share does not do."""
    try:
        return times.kv_blocks(BLOCK_TOKENS, memory)
    except InputError:
        return times.kv_blocks(BLOCK_TOKENS, ALL_MEMORY)


def _prefill_only(run: Run, flags: Recipe) -> Recipe:
    """A prefill worker: prompts launched kernel by kernel and memory for them alone. SGLang and
    vLLM cut prompts; TensorRT-LLM does not, and its prefill workers do without overlap."""
    tokens = run.served.deployed.prefill_tokens if run.served else 0
    whole = run.engine == "trtllm"
    tokens = tokens or flags.max_tokens
    return replace(
        flags,
        mixed=not whole,
        chunked=not whole,
        reserve="prompt",
        max_tokens=max(tokens, run.prompt) if whole else tokens,
        asynchronous=flags.asynchronous and not whole,
        graphs="decode",
        wait_iterations=0,
        batch_wait_iterations=0,
    )


def _decode_only(flags: Recipe, batch: int) -> Recipe:
    """A decode worker: nothing waits for prompts."""
    return replace(
        flags, max_batch=batch or flags.max_batch, wait_iterations=0, batch_wait_iterations=0
    )


def knee(cells: IterationCells, run: Run) -> float:
    """Concurrency of one rank at which it saturates.

    Operational analysis of closed systems (Denning and Buzen, Computing Surveys 10 (3), 1978):
    N* = D / D_max, a request's whole demand alone over what each further one adds. Alone a request
    takes ``output`` iterations of its own; another one adds its share of a full batch's.
    """
    context = run.prompt + run.output // 2
    batch = max(2, min(128, len(cells.token_row) - 1))
    alone = cells.evaluate(1, context, 1, 0)
    more = (cells.evaluate(batch, batch * context, batch, 0) - alone) / (batch - 1)
    prefill = 0.0
    if not run.disaggregated:
        tokens = min(run.prompt, len(cells.token_row) - 1)
        work = tokens * (tokens + 1) // 2
        prefill = max(0.0, run.prompt / tokens * cells.evaluate(tokens, 0, 1, work) - alone)
    demand = prefill + run.output * alone
    return demand / max(prefill + run.output * more, 1e-9 * demand)


def _input(
    run: Run,
    ranks: list[tuple[EngineKind, int]],
    prompts: np.ndarray,
    outputs: np.ndarray,
    front_s: float,
) -> ServingInput:
    kinds = [kind for kind, _ in ranks]
    kind_of = np.repeat(np.arange(len(ranks)), [count for _, count in ranks])
    roles = ("mixed",) if len(ranks) == 1 else ("prefill", "decode")
    model_bytes = _kv_bytes(run)
    gpus = np.array([side.tp * side.pp for side in sides(run)])
    return ServingInput(
        arrival=np.zeros(len(prompts), np.int64),
        prompt=prompts.astype(np.int32),
        output=outputs.astype(np.int32),
        predicted=outputs.astype(np.int32),
        kinds=kinds,
        kind_of=kind_of,
        role_of=np.array([ROLES[role] for role in roles])[kind_of],
        pool_of=kind_of,
        nic_of=np.arange(len(kind_of)),
        nic_bytes_per_s=KV_LINK_BYTES_PER_S * gpus[kind_of],
        latency=int(ticks(HANDOVER_S)),
        kv_bytes_per_token=model_bytes,
        block_tokens=BLOCK_TOKENS,
        concurrency=run.concurrency,
        think=int(ticks(front_s)),
        memory={"route": 1},
    )


def _kv_bytes(run: Run) -> int:
    profile = _profile(*_where(run))
    return profile.deployment.model.kv_bytes_per_token(profile.deployment.kv_dtype)
