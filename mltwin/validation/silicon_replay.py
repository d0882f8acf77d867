"""A measured closed-loop run, replayed: tables, engine and client put together."""

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mltwin.calibration.silicon import MeasuredProfile, silicon_profile
from mltwin.calibration.silicon.recipes import Recipe, recipe
from mltwin.calibration.silicon.resolver import known_model
from mltwin.models.gpu.iteration import IterationModel
from mltwin.models.serving.hooks import ROLES
from mltwin.models.serving.tables import DONE, RESERVES, EngineKind, IterationCells, ServingInput
from mltwin.policies.registry import resolve
from mltwin.sim.errors import InputError
from mltwin.sim.rng import LENGTHS
from mltwin.sim.rng_arrays import uniforms
from mltwin.sim.ticks import ticks

from .silicon_rows import Run, Side

PROMPTS_A_SLOT = 10
LEAST_SHARE = 0.8
BLOCK_TOKENS = 16
# One direction of the network that carries KV between pools, of each GPU.
KV_LINK_BYTES_PER_S = 50e9
HANDOVER_S = 2e-3


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


def replay(run: Run, seed: int = 0, scale: float = 1.0, **changes: Any) -> Prediction:
    """Simulate the run as its client drove it.

    Args:
        run: what was measured.
        seed: of the lengths.
        scale: iterations last this many times as long (for a fitted scale).
        changes: fields of the recipe to change, for studies of what each does.

    Raises:
        InputError: no tables for it, or a deployment that does not fit its GPUs.
    """
    prompts, outputs = _lengths(run, seed)
    ranks, notes, confidence, flags = [], [], 1.0, None
    for side in run.sides:
        kind, profile, flags = _kind(run, side, int(prompts.max()), int(outputs.max()), scale,
                                     tuple(sorted(changes.items())))  # fmt: skip
        ranks.append((kind, side.workers * side.dp))
        notes += profile.answers.notes
        confidence = min(confidence, profile.answers.confidence)
    assert flags is not None
    front = flags.frontend_s + flags.frontend_token_s * prompts
    given = _input(run, ranks, prompts, outputs, float(front.mean()))
    from mltwin.models.serving.simulate import simulate

    outcome = simulate(given, _balanced())
    done = np.asarray(outcome.requests["state"]) == DONE
    if not done.any():
        raise InputError("no request fits the KV cache", mend="the deployment is not as labelled")
    first, finish, arrival = (
        np.asarray(outcome.requests[name], float)[done] for name in ("first", "finish", "arrival")
    )
    gaps = outputs[done] - 1
    return Prediction(
        ttft_s=float(np.mean((first - arrival) * 1e-12 + front[done])),
        tpot_s=float(np.mean(((finish - first) * 1e-12)[gaps > 0] / gaps[gaps > 0])),
        confidence=confidence,
        knee=knee(kind.cells, run) * ranks[-1][1],
        notes=tuple(dict.fromkeys(notes)),
    )


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
    graphs: str,
    launch_s_per_layer: float,
) -> IterationModel:
    profile = _profile(system, engine, model, precision, version)
    tp, pp, ep, dp = plan
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
    prompt: int,
    output: int,
    scale: float,
    changes: tuple[tuple[str, Any], ...],
) -> tuple[EngineKind, MeasuredProfile, Recipe]:
    from dataclasses import replace

    shipped = known_model(run.model)
    flags = recipe(
        run.engine,
        shipped,
        run.system,
        run.precision,
        run.prompt,
        run.output,
        side.tp,
        side.dp,
        run.concurrency,
    )
    flags = replace(flags, **dict(changes))
    plan = (side.tp, side.pp, side.ep, side.dp)
    where = (run.system, run.engine, run.model, run.precision, run.version)
    times = _times(*where, plan, flags.graphs, flags.launch_s_per_layer)
    batch = min(flags.max_batch, max(1, -(-run.concurrency // (side.workers * side.dp)) * 2))
    reach = max(flags.max_tokens, batch)
    if not flags.chunked:
        reach = max(reach, 1 << (prompt - 1).bit_length())
    cells = _cells(_Key(times), reach, prompt + output + 1, batch, scale)
    kind = EngineKind(
        cells=cells,
        max_batch=batch,
        max_tokens=max(flags.max_tokens, batch),
        blocks=times.kv_blocks(BLOCK_TOKENS, flags.memory),
        mixed=flags.mixed,
        chunked=flags.chunked,
        reserve=RESERVES[flags.reserve],
        asynchronous=flags.asynchronous,
        wait_iterations=flags.wait_iterations,
        whole_prompt=flags.admit_whole_prompt,
        batch_wait_iterations=flags.batch_wait_iterations,
        batch_wait_tokens=int(flags.batch_wait_ratio * flags.max_tokens),
    )
    return kind, times.profile, flags


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


@functools.cache
def _balanced() -> dict[str, Any]:
    """Ranks and workers get equal shares of the requests, as every recipe's router gives them."""
    names = {"route": "least_requests_in_turn", "place_decode": "least_requests_decode"}
    return {hook: resolve(name, hook)[0].compiled() for hook, name in names.items()}


class _Key:
    """Equal to itself only: what cannot be hashed, as a key of a cache."""

    def __init__(self, value: Any) -> None:
        self.value = value


_LOWERED: dict[tuple[int, int, int, int], Any] = {}


def _cells(key: _Key, reach: int, context: int, batch: int, scale: float) -> IterationCells:
    times = key.value
    name = (id(times), reach, context, batch)
    if name not in _LOWERED:
        _LOWERED[name] = times.lower(reach, context, max_decode=batch)
    table = _LOWERED[name]
    cells = table.cells
    if scale != 1.0:
        cells = np.rint(cells * scale).astype(np.int64)
    return IterationCells(
        token_row=table.token_row,
        context_knots=table.context_knots,
        cells=cells,
        per_sequence=round(table.per_sequence * scale),
        per_work=round(table.per_work * scale),
        prefill_row=table.prefill_row,
        prefill_per_sequence=round(table.prefill_per_sequence * scale),
    )


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
    gpus = np.array([side.tp * side.pp for side in run.sides])
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
    profile = _profile(run.system, run.engine, run.model, run.precision, run.version)
    return profile.deployment.model.kv_bytes_per_token(profile.deployment.kv_dtype)
