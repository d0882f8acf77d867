"""Mode memory of the adapter system: adapters, KV of prefixes and experts in one budget.

Each request asks for its adapter (Zipf over the library), the KV of its prompt's beginning (Zipf
over `prefixes`; whole prefixes, rounded up to blocks) and some experts (Zipf over `experts`). A
miss costs the load of an adapter or expert over the store's link, or the prefill of a prefix.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from mltwin.models.adapters import TICKS_PER_S
from mltwin.sim.errors import InputError

from .adapters_serving import adapter_sizes, load_ticks, pace

if TYPE_CHECKING:
    from mltwin.models.adapters.arbiter import SharedInput

    from .adapters import AdapterScenario
    from .adapters_result import AdapterResult

CLASSES = ("adapters", "kv", "experts")
MAX_REFERENCES = 20_000_000


def shared_input(scenario: "AdapterScenario", seed: int) -> "SharedInput":
    """The references of a scenario.

    Raises InputError for too many of them.
    """
    from mltwin.models.adapters.arbiter import SHARINGS, SharedInput

    m = scenario.memory
    wanted = m.requests * (2 + m.experts_per_request)
    if wanted > MAX_REFERENCES:
        raise InputError(
            f"{wanted} references", where="memory.requests", mend=f"at most {MAX_REFERENCES}"
        )
    objects, drawn = _objects(scenario), _drawn(scenario, seed)
    budget = int(m.memory_gb * 1e9)
    capacity = np.floor(np.array(m.shares) / sum(m.shares) * budget).astype(np.int64)
    capacity[int(np.argmax(m.shares))] += budget - capacity.sum()
    return SharedInput(
        request=np.repeat(np.arange(m.requests), drawn.shape[1]),
        object=drawn.reshape(-1),
        capacity=capacity,
        sharing=SHARINGS.index(m.sharing),
        step=max(1, int(m.step * budget)),
        every=m.every,
        **objects,
    )


def _objects(scenario: "AdapterScenario") -> dict[str, np.ndarray]:
    """Columns kind, size and cost of all objects: adapters, prefixes, experts."""
    m, model = scenario.memory, scenario.loaded_model()
    adapters = adapter_sizes(scenario, scenario.adapters.count)
    blocks = math.ceil(m.prefix_tokens / m.block_tokens)
    prefix = blocks * m.block_tokens * model.kv_bytes_per_token()
    prefixes = np.full(m.prefixes if prefix else 0, prefix, np.int64)
    experts = np.full(m.experts, round(m.expert_mb * 1e6), np.int64)
    prefill_s, _ = pace(scenario)
    computing = max(1, round(m.prefix_tokens * prefill_s * TICKS_PER_S))
    return {
        "kind": np.repeat(np.arange(3), [len(adapters), len(prefixes), len(experts)]),
        "size": np.concatenate([adapters, prefixes, experts]),
        "cost": np.concatenate(
            [
                load_ticks(scenario, adapters),
                np.full(len(prefixes), computing, np.int64),
                load_ticks(scenario, experts),
            ]
        ),
    }


def _drawn(scenario: "AdapterScenario", seed: int) -> np.ndarray:
    """int64[requests, references each]: an adapter, a prefix and experts."""
    from mltwin.models.adapters.contexts import zipf_draws, zipf_weights
    from mltwin.sim.rng_arrays import LENGTHS, ROUTING, uniforms

    m, library = scenario.memory, scenario.adapters
    rows = np.arange(m.requests)
    columns = [zipf_draws(seed, m.requests, library.count, library.zipf, library.persistence)]
    first = library.count
    if m.prefix_tokens:
        below = np.cumsum(zipf_weights(m.prefixes, m.prefix_zipf))
        found = np.searchsorted(below, uniforms(seed, LENGTHS, rows), side="right")
        columns.append(first + np.minimum(found, m.prefixes - 1))
        first += m.prefixes
    if m.experts:
        below = np.cumsum(zipf_weights(m.experts, m.expert_zipf))
        for turn in range(m.experts_per_request):
            found = np.searchsorted(below, uniforms(seed, ROUTING, rows, turn), side="right")
            columns.append(first + np.minimum(found, m.experts - 1))
    return np.stack(columns, axis=1).astype(np.int64)


def run_memory(
    scenario: "AdapterScenario", seed: int, *, reference: bool = False
) -> "AdapterResult":
    """Run mode memory."""
    from mltwin.models.adapters.arbiter import replay_shared
    from mltwin.models.adapters.dividing import share_reference

    from .adapters_result import AdapterResult

    given = shared_input(scenario, seed)
    outcome = share_reference(given) if reference else replay_shared(given)
    c = outcome.classes
    asked = c["hits"] + c["misses"]
    classes: dict[str, np.ndarray] = {
        "hit_ratio": c["hits"] / np.maximum(1, asked),
        "requests": asked,
        "held_gb": c["used"] / 1e9,
        "paged_gb": c["bytes_in"] / 1e9,
        "miss_seconds": c["miss_cost"] / TICKS_PER_S,
    }
    metrics: dict[str, float] = {"requests": float(given.requests)}
    for i, name in enumerate(CLASSES):
        if asked[i]:
            metrics[f"{name}_hit_ratio"] = float(classes["hit_ratio"][i])
            metrics[f"{name}_held_gb"] = float(classes["held_gb"][i])
    metrics |= {
        "hit_ratio": float(c["hits"].sum() / asked.sum()),
        "miss_seconds": float(c["miss_cost"].sum() / TICKS_PER_S),
        "mean_miss_ms": float(c["miss_cost"].sum() / given.requests / (TICKS_PER_S / 1000)),
        "paged_gb": float(c["bytes_in"].sum() / 1e9),
        "moves": float(outcome.moves),
    }
    shares: dict[str, np.ndarray] = {"request": outcome.history[:, 0]}
    for i, name in enumerate(CLASSES):
        shares[f"{name}_gb"] = outcome.history[:, 1 + i] / 1e9
    held = np.bincount(given.kind[outcome.held], given.size[outcome.held], len(CLASSES))
    laws = {
        "hits + misses = references": int(asked.sum()) == len(given.object),
        "bytes in = resident + evicted": bool(
            np.array_equal(c["bytes_in"], c["used"] + c["bytes_out"])
        ),
        "bytes held are those of the residents": bool(np.array_equal(c["used"], held.astype(int))),
        "the budget is kept": int(c["used"].sum()) <= given.budget,
        "shares add up to the budget": int(c["capacity"].sum()) == given.budget,
    }
    return AdapterResult(
        metrics,
        {"classes": classes, "shares": shares},
        facts={
            "mode": "memory",
            "classes_names": list(CLASSES),
            "sharing": scenario.memory.sharing,
        },
        notes=_passed(c["passed"]),
        violations=[f"broken: {law}" for law, holds in laws.items() if not holds],
    )


def _passed(passed: np.ndarray) -> list[str]:
    return [
        f"{count:,} of the {name} asked for had no room in their share and were not kept."
        for name, count in zip(CLASSES, passed.tolist(), strict=True)
        if count
    ]
