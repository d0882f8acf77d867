"""From the `cluster` section of a serving scenario to kinds of replica and columns of replicas."""

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mltwin.models.gpu.draw import draw as draw_profile
from mltwin.models.gpu.iteration import IterationModel
from mltwin.models.gpu.lowering import lower
from mltwin.models.gpu.profile import GpuProfile, load_profile, shipped_path
from mltwin.models.gpu.user import UserTable, load_user_table
from mltwin.models.llm.config import load_model
from mltwin.models.llm.model import Model
from mltwin.models.llm.precision import precision
from mltwin.models.serving.hooks import ROLES
from mltwin.models.serving.tables import (
    CONTROL,
    FAIL,
    PREEMPTIONS,
    RECOVER,
    RESERVES,
    EngineKind,
    IterationCells,
)
from mltwin.sim.errors import InputError
from mltwin.sim.ticks import ticks

from .engines import Engine, make_engine
from .fields import placed
from .remembered import Remembered
from .serving import Pool, ServingScenario

# The batch at which replicas' decode speeds are compared.
_SPEED_BATCH, _SPEED_CONTEXT = 32, 1024


@dataclass(frozen=True)
class Cluster:
    """Replicas as columns, pool after pool, and the facts that a result keeps.

    Each attention rank of a replica (`dp`) is a replica of the kernel: a queue, a batch and KV
    memory of its own, and iterations that include the exchange with the other ranks.
    kinds has one entry a pool; kind_of and pool_of are therefore equal. nic_of numbers NICs over
    all pools.
    """

    kinds: list[EngineKind]
    pool_of: np.ndarray
    role_of: np.ndarray
    nic_of: np.ndarray
    up: np.ndarray
    control: np.ndarray
    kv_bytes_per_token: int
    facts: list[dict[str, Any]]
    notes: list[str]


def make_cluster(
    scenario: ServingScenario, block_tokens: int, longest: int, draw: int | None = None
) -> Cluster:
    """Lower the pools; `longest` is the most tokens that a request has.

    `draw` numbers a draw from the error of the pools' profiles (`mltwin.models.gpu.draw`); None
    takes the profiles as they are fitted.

    Raises InputError: unknown model, GPU or format, a model that does not fit, parallelism that
    does not divide; its place is the scenario's field.
    """
    model = served_model(scenario)
    kinds, facts, notes = [], [], []
    for name, pool in scenario.cluster.items():
        try:
            kind, fact, said = _kind(scenario, name, pool, model, block_tokens, longest, draw)
        except InputError as error:
            raise placed(error, f"cluster.{name}") from None
        kinds.append(kind)
        facts.append(fact)
        notes += [f"pool {name}: {note}" for note in said]
    _set_speeds(scenario, kinds)
    counts = [pool.replicas * pool.dp for pool in scenario.cluster.values()]
    pool_of = np.repeat(np.arange(len(counts)), counts)
    roles = [ROLES[scenario.role(name)] for name in scenario.cluster]
    return Cluster(
        kinds=kinds,
        pool_of=pool_of,
        role_of=np.array(roles)[pool_of],
        nic_of=_nics(counts, scenario.network.replicas_per_nic),
        up=np.concatenate([_up(pool) for pool in scenario.cluster.values()]),
        control=_control(scenario, counts),
        kv_bytes_per_token=model.kv_bytes_per_token(_moved_dtype(scenario)),
        facts=facts,
        notes=notes,
    )


def served_model(scenario: ServingScenario) -> Model:
    """The model of a scenario in the formats that it asks for."""
    section = scenario.model
    source = section.name
    path = scenario.resolve_path(source)
    try:
        model = load_model(str(path) if path.exists() else source)
    except InputError as error:
        raise placed(error, "model.name") from None
    for field in ("dtype", "quantisation", "kv_dtype"):
        value = getattr(section, field)
        if value is not None:
            precision(value, where=f"model.{field}")
    if section.dtype is not None:
        model = _with_dtype(model, precision(section.dtype).name)
    return model.with_weights(section.quantisation) if section.quantisation else model


def check_hardware(scenario: ServingScenario) -> None:
    """Look up the model and the pools' GPUs.

    Raises InputError for one that is not there.
    """
    served_model(scenario)
    for name, pool in scenario.cluster.items():
        try:
            _profile(*_profile_file(scenario, pool.gpu))
        except InputError as error:
            raise placed(error, f"cluster.{name}.gpu") from None


def pool_times(scenario: ServingScenario, name: str) -> IterationModel:
    """The iteration model of a pool's replicas.

    Raises InputError as `make_cluster`.
    """
    pool = scenario.cluster[name]
    if pool.timing is not None:
        raise InputError(
            "the pool brings its own iteration times",
            where=f"cluster.{name}.timing",
            mend="leave them out: a GPU profile is needed here",
        )
    try:
        profile = _profile(*_profile_file(scenario, pool.gpu))
        return _times(_Same(profile), served_model(scenario), _options(scenario, pool))
    except InputError as error:
        raise placed(error, f"cluster.{name}") from None


def _options(scenario: ServingScenario, pool: Pool) -> tuple[tuple[str, Any], ...]:
    """What a pool's IterationModel is given besides model and profile; defaults are left out."""
    overhead = None if pool.host_overhead_ms is None else pool.host_overhead_ms / 1000
    given = {
        "kv_dtype": pool.kv_dtype or scenario.model.kv_dtype,
        "dtype": pool.dtype,
        "host_overhead_s": overhead,
        "graphs": pool.graphs,
    }
    ways = {name: getattr(pool, name) for name in ("tp", "pp", "dp", "ep")}
    return (
        *((name, value) for name, value in given.items() if value is not None),
        *((name, count) for name, count in ways.items() if count > 1),
    )


def _moved_dtype(scenario: ServingScenario) -> str | None:
    """Format of the KV that moves between replicas: that of the first pool that prefills."""
    for name, pool in scenario.cluster.items():
        if scenario.role(name) != "decode" and pool.replicas:
            return pool.kv_dtype or scenario.model.kv_dtype
    return scenario.model.kv_dtype


def _with_dtype(model: Model, name: str) -> Model:
    """The model unquantised in another format; weights that were quantised stay so."""
    return replace(
        model,
        dtype=name,
        weight_dtype=name if model.weight_dtype == model.dtype else model.weight_dtype,
        expert_dtype=name if model.expert_dtype == model.dtype else model.expert_dtype,
    )


def _kind(
    scenario: ServingScenario,
    name: str,
    pool: Pool,
    model: Model,
    block_tokens: int,
    longest: int,
    draw: int | None,
) -> tuple[EngineKind, dict[str, Any], list[str]]:
    engine = make_engine(
        pool.engine,
        max_batch=pool.max_batch,
        max_tokens=pool.max_tokens,
        preemption=pool.preemption,
        watermark=pool.watermark,
    )
    try:
        profile = _profile(*_profile_file(scenario, pool.gpu))
        if draw is not None:
            profile = _drawn(_Same(profile), draw)
    except InputError as error:
        raise placed(error, "gpu") from None
    for field in ("dtype", "kv_dtype"):
        value = getattr(pool, field)
        if value is not None:
            precision(value, where=field)
    times: IterationModel | UserTable
    if pool.timing is None:
        times = _times(_Same(profile), model, _options(scenario, pool))
    else:
        times = _own_times(scenario, pool, draw)
    blocks = pool.kv_blocks or times.kv_blocks(
        block_tokens, gpu_memory_utilization=pool.gpu_memory_utilization
    )
    kv_bytes = model.kv_bytes_per_token(pool.kv_dtype or scenario.model.kv_dtype)
    host_s = times.host_s
    if pool.timing is not None and pool.host_overhead_ms is not None:
        host_s = pool.host_overhead_ms / 1000
    cells = rescaled(cells_of(times, engine, longest), times, pool.time_scale, host_s)
    kind = replace(
        engine_kind(engine, cells, blocks),
        host_blocks=int(pool.host_memory_gb * 1e9 / (block_tokens * kv_bytes)),
        swap_ticks=_swap_ticks(model, pool, profile, pool.kv_dtype or scenario.model.kv_dtype),
        startup=int(ticks(pool.startup_s)),
    )
    power = profile.power
    facts = {
        "name": name,
        "role": scenario.role(name),
        "replicas": pool.replicas,
        "ranks": pool.dp,
        "gpus_per_replica": pool.dp * pool.tp * pool.pp,
        "gpu": profile.name,
        "engine": engine.model_dump(),
        "kv_blocks": blocks,
        "kv_tokens": blocks * block_tokens,
        "dollars_per_gpu_hour": pool.dollars_per_gpu_hour,
        "power": {
            "busy_prefill_w": power.busy_prefill_w,
            "busy_decode_w": power.busy_decode_w,
            "idle_w": power.idle_w,
        },
    }
    return kind, facts, list(times.notes)


def engine_kind(engine: Engine, cells: IterationCells, blocks: int) -> EngineKind:
    """The kernel's description of an engine with these iteration times and so many KV blocks."""
    return EngineKind(
        cells=cells,
        max_batch=engine.max_batch,
        max_tokens=engine.max_tokens,
        blocks=blocks,
        watermark=int(engine.watermark * blocks),
        mixed=engine.mixed,
        chunked=engine.chunked,
        reserve=RESERVES[engine.reserve],
        static=engine.static,
        wait_iterations=engine.wait_iterations,
        peak=engine.peak,
        preemption=PREEMPTIONS[engine.preemption],
        whole_prompt=engine.admit_whole_prompt,
        refuse_over_budget=engine.refuse_over_budget,
        asynchronous=engine.async_scheduling,
        batch_wait_iterations=engine.batch_wait_iterations,
        batch_wait_tokens=math.ceil(engine.batch_wait_ratio * engine.max_tokens),
        keep_preempted=engine.keep_preempted,
    )


def cells_of(times: Any, engine: Engine, longest: int) -> IterationCells:
    """The iteration times of a replica as the kernel's integer table.

    Engines that do not chunk run prompts beyond their budget in one piece, so their table reaches
    as far as the longest request.

    Args:
        times: a UserTable, an IterationModel, or anything that `mltwin.models.gpu.lowering.lower`
            takes.
        engine: whose budget and batch the table covers.
        longest: most tokens of one request.
    """
    most = engine.max_tokens
    if not engine.chunked:
        most = max(most, 1 << (longest - 1).bit_length())
    return lowered_cells(times, most, longest, engine.max_batch)


def lowered_cells(times: Any, max_tokens: int, longest: int, max_decode: int) -> IterationCells:
    """Integer tables up to ``max_tokens`` of an iteration, ``longest`` of a request and
    ``max_decode`` sequences; made once."""
    key = _Same(times), max_tokens, max(longest, 2), max_decode
    return _tables.get(key, lambda: _lowered(*key))


def rescaled(
    cells: IterationCells, times: IterationModel | UserTable, scale: float, host_s: float
) -> IterationCells:
    """Cells whose GPU part lasts ``scale`` times as long, with another host overhead.

    The host's share, ``times.host_s`` an iteration and ``times.sequence_s`` a sequence, is not
    scaled; pipelines hide none of it.
    """
    if scale == 1.0 and host_s == times.host_s:
        return cells
    old, new, sequence = (int(ticks(v)) for v in (times.host_s, host_s, times.sequence_s))

    def scaled(values: Any) -> Any:
        return np.rint(np.asarray(values, np.float64) * scale).astype(np.int64)

    table = cells.cells.copy()
    table[:, 0] -= old
    table = scaled(table)
    table[:, 0] += new
    return replace(
        cells,
        cells=table,
        per_sequence=int(scaled(max(0, cells.per_sequence - sequence))) + sequence,
        prefill_per_sequence=int(scaled(max(0, cells.prefill_per_sequence - sequence))) + sequence,
        per_work=int(scaled(cells.per_work)),
    )


class _Same:
    """Something too large to hash, equal to itself only: a key for the caches below."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


# A comparison lowers the same pools again and again, with error bars in a hundred draws; profiles
# are large and tables take time.
_KEPT = 256


@functools.lru_cache(maxsize=16)
def _profile(source: str, stamp: tuple[int, int]) -> GpuProfile:
    """A profile, read again when its file (of this time and size) has changed."""
    del stamp
    return load_profile(source)


def _profile_file(scenario: ServingScenario, given: str) -> tuple[str, tuple[int, int]]:
    """What `load_profile` takes for a pool's `gpu`, and what tells that the file has changed."""
    path = scenario.resolve_path(given)
    source, file = (str(path), path) if path.is_file() else (given, shipped_path(given.lower()))
    return source, _stamp(file)


@functools.lru_cache(maxsize=_KEPT)
def _drawn(profile: _Same, index: int) -> Any:
    """The index-th draw of a profile, the same one for all pools, scenarios and seeds."""
    return draw_profile(profile.value, index)


@functools.lru_cache(maxsize=_KEPT)
def _times(profile: _Same, model: Model, options: tuple[tuple[str, Any], ...]) -> IterationModel:
    return IterationModel(model, profile.value, **dict(options))


# Made once where several threads of a sweep ask at the same moment.
_tables: Remembered[IterationCells] = Remembered(lambda _: 1, _KEPT)


def _lowered(times: _Same, max_tokens: int, max_context: int, max_decode: int) -> IterationCells:
    given = times.value
    if isinstance(given, UserTable):
        table = given.lower(max_tokens, max_context)
    else:
        table = lower(given, max_tokens, max_context, max_decode=max_decode)
    return IterationCells(
        token_row=table.token_row,
        context_knots=table.context_knots,
        cells=table.cells,
        per_sequence=int(table.per_sequence),
        per_work=int(table.per_work),
        prefill_row=table.prefill_row,
        prefill_per_sequence=int(table.prefill_per_sequence),
    )


def _own_times(scenario: ServingScenario, pool: Pool, draw: int | None) -> UserTable:
    """The iteration times that a pool brings along, of its whole replica.

    Raises InputError for malformed ones, and for a draw: they state no error.
    """
    assert pool.timing is not None
    if draw is not None:
        raise InputError(
            "iteration times of one's own state no error to draw from",
            where="timing",
            mend="leave the error bars out",
        )
    given = pool.timing
    try:
        if isinstance(given, str):
            file = scenario.resolve_path(given)
            return _read_times(str(file), _stamp(file))
        return _made_times(json.dumps(given, sort_keys=True))
    except InputError as error:
        raise placed(error, "timing") from None


@functools.lru_cache(maxsize=64)
def _read_times(file: str, stamp: tuple[int, int]) -> UserTable:
    """The times in a file, read again when it (of this time and size) has changed."""
    del stamp
    return load_user_table(file)


@functools.lru_cache(maxsize=64)
def _made_times(text: str) -> UserTable:
    return load_user_table(json.loads(text))


def _stamp(file: Path) -> tuple[int, int]:
    """What tells that a file has changed."""
    try:
        info = file.stat()
    except OSError:
        return 0, 0
    return info.st_mtime_ns, info.st_size


def _swap_ticks(model: Model, pool: Pool, profile: GpuProfile, kv_dtype: str | None) -> int:
    """Ticks to copy the KV of one token to or from the host, each GPU its own part."""
    part = model.kv_bytes_per_token_per_gpu(pool.tp, pool.pp, kv_dtype)
    return int(ticks(part / profile.facts.host_link_bandwidth))


def _set_speeds(scenario: ServingScenario, kinds: list[EngineKind]) -> None:
    """Decode speeds relative to the first replica's."""
    batch, context = _SPEED_BATCH, _SPEED_BATCH * _SPEED_CONTEXT
    times = [kind.cells.evaluate(batch, context, batch, 0) for kind in kinds]
    first = next(i for i, pool in enumerate(scenario.cluster.values()) if pool.replicas)
    for kind, time in zip(kinds, times, strict=True):
        kind.speed = times[first] / time


def _nics(counts: list[int], replicas_per_nic: int) -> np.ndarray:
    """The NIC of each replica; pools do not share NICs."""
    nics: list[np.ndarray] = []
    start = 0
    for count in counts:
        nics.append(start + np.arange(count) // replicas_per_nic)
        start += -(-count // replicas_per_nic)
    return np.concatenate(nics)


def _up(pool: Pool) -> np.ndarray:
    count = pool.replicas if pool.initially_up is None else pool.initially_up
    return (np.arange(pool.replicas * pool.dp) < count * pool.dp).astype(np.int64)


def _control(scenario: ServingScenario, counts: list[int]) -> np.ndarray:
    """Failures and recoveries in order of time."""
    starts: Mapping[str, int] = dict(
        zip(scenario.cluster, np.cumsum([0, *counts[:-1]]).tolist(), strict=True)
    )
    rows = []
    for failure in scenario.control.failures:
        dp = scenario.cluster[failure.pool].dp
        for rank in range(dp):
            replica = starts[failure.pool] + failure.index * dp + rank
            rows.append((int(ticks(failure.at_s)), FAIL, replica, 0))
            if failure.until_s is not None:
                rows.append((int(ticks(failure.until_s)), RECOVER, replica, 0))
    rows.sort(key=lambda row: row[0])
    return np.array(rows, CONTROL) if rows else np.zeros(0, CONTROL)
