"""Mode agents of the adapter system: KV across agents that share a base model (LRAgent).

Two answers: what a token takes and how much fits in each scheme, by formula
(`models.adapters.sizes`), and a replay of conversations in the scenario's scheme, block by block
(`models.adapters.agents`).
"""

from typing import TYPE_CHECKING

import numpy as np

from mltwin.models.adapters.sizes import (
    SCHEMES,
    KvSplit,
    adapter_bytes,
    kv_split,
    prefilled_tokens,
)
from mltwin.sim.errors import InputError

from .fields import placed

if TYPE_CHECKING:
    from mltwin.models.adapters.agents import TurnsInput

    from .adapters import AdapterScenario
    from .adapters_result import AdapterResult

MAX_TURNS = 2_000_000
MAX_KEYS = 50_000_000


def split_of(scenario: "AdapterScenario") -> tuple[KvSplit, int]:
    """(bytes of a token's parts, bytes of one agent's adapter).

    Raises InputError for projections or a scheme that do not go together.
    """
    a, model = scenario.agents, scenario.loaded_model()
    adapted = [target for target in ("k", "v") if target in a.targets]
    split = [target for target in a.split if target in adapted]
    try:
        found = kv_split(model, a.rank, adapted, split, a.kv_dtype)
        if set(a.split) - {"k", "v"}:
            raise InputError(f"{a.split} has others than k and v", where="split")
        weights = adapter_bytes(model, a.rank, a.targets)
        found.parts(a.scheme)
    except InputError as error:
        raise placed(error, "agents") from None
    return found, weights


def budget_bytes(scenario: "AdapterScenario") -> int:
    """The memory for KV and adapters."""
    return int(scenario.agents.memory_gb * 1e9)


def turns_input(scenario: "AdapterScenario", seed: int) -> "TurnsInput":
    """The turns of a scenario.

    Raises InputError where the adapters alone do not fit, or there are too many turns.
    """
    from mltwin.models.adapters.agents import TurnsInput, draw_turns

    a = scenario.agents
    if a.conversations * a.turns > MAX_TURNS:
        raise InputError(
            f"{a.conversations * a.turns} turns", where="agents.turns", mend=f"at most {MAX_TURNS}"
        )
    split, weights = split_of(scenario)
    capacity = budget_bytes(scenario) - a.agents * weights
    if capacity < 0:
        raise InputError(
            f"{a.agents} adapters take {a.agents * weights / 1e9:.3g} GB",
            where="agents.memory_gb",
            mend="give more memory, fewer agents or a lower rank",
        )
    columns = draw_turns(seed, a.conversations, a.turns, a.together, a.turn_tokens, a.shared_tokens)
    shared, own = split.parts(a.scheme)
    given = TurnsInput(
        conversation=columns["conversation"],
        agent=columns["turn"] % a.agents,
        before=columns["before"],
        after=columns["after"],
        agents=a.agents,
        block_tokens=a.block_tokens,
        shared_tokens=a.shared_tokens,
        shared_bytes=shared * a.block_tokens,
        own_bytes=own * a.block_tokens,
        capacity=capacity,
    )
    if given.first_blocks()[1] * (1 + a.agents) > MAX_KEYS:
        raise InputError(
            "the conversations have too many blocks",
            where="agents.block_tokens",
            mend="give larger blocks or fewer tokens",
        )
    return given


def scheme_table(scenario: "AdapterScenario") -> dict[str, np.ndarray]:
    """For each scheme that fits the projections: bytes, capacities and computing, by formula."""
    a = scenario.agents
    split, weights = split_of(scenario)
    budget = budget_bytes(scenario)
    rows = []
    for scheme in possible(split):
        tokens = split.token_bytes(scheme, a.agents)
        rows.append(
            (
                tokens / 1e3,
                tokens / a.agents / 1e3,
                split.capacity_tokens(scheme, a.agents, budget, weights),
                split.capacity_agents(scheme, a.context_tokens, budget, weights),
                prefilled_tokens(scheme, a.agents, a.context_tokens),
            )
        )
    names = (
        *("kb_per_token", "kb_per_token_and_agent", "capacity_tokens", "capacity_agents"),
        "prefilled_tokens",
    )
    return {
        name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }


def possible(split: KvSplit) -> list[str]:
    """The schemes that the projections allow."""
    return [scheme for scheme in SCHEMES if scheme != "base_lr_shared" or not split.whole_bytes]


def run_agents(
    scenario: "AdapterScenario", seed: int, *, reference: bool = False
) -> "AdapterResult":
    """Run mode agents."""
    from mltwin.models.adapters.agents import replay_turns
    from mltwin.models.adapters.splitting import replay_reference

    from .adapters_result import AdapterResult

    a = scenario.agents
    given = turns_input(scenario, seed)
    outcome = replay_reference(given) if reference else replay_turns(given)
    split, _ = split_of(scenario)
    schemes = scheme_table(scenario)
    names = possible(split)
    place = names.index(a.scheme)
    computed = given.after - outcome.hit_tokens
    totals = outcome.totals
    metrics = {
        "turns": float(len(computed)),
        "bytes_per_token": float(split.token_bytes(a.scheme, a.agents)),
        "bytes_per_token_per_agent": split.token_bytes(a.scheme, a.agents) / a.agents,
        "capacity_tokens": float(schemes["capacity_tokens"][place]),
        "capacity_agents": float(schemes["capacity_agents"][place]),
        "context_tokens": float(given.before.sum()),
        "token_hit_ratio": float(outcome.hit_tokens.sum() / max(1, int(given.before.sum()))),
        "prefilled_tokens": float(computed.sum()),
        "saved_ratio": float(1 - computed.sum() / given.after.sum()),
        "peak_gb": totals["peak"] / 1e9,
        "evicted_gb": totals["bytes_out"] / 1e9,
    }
    notes = []
    if metrics["capacity_agents"] < 0:
        del metrics["capacity_agents"]
    if totals["refused"]:
        notes.append(
            f"{totals['refused']:,} turns had a context that memory could not hold as a whole."
        )
    if a.scheme == "full_shared":
        notes.append("full_shared drops what adapters add to keys and values: answers change.")
    if a.scheme in ("base_shared", "base_lr_shared"):
        notes.append(
            "The shared base part is taken to be the same for all agents; LRAgent measures that it "
            "nearly is, and what accuracy that costs, which is not modelled."
        )
    turns = {
        "conversation": given.conversation,
        "agent": given.agent,
        "context_tokens": given.before,
        "hit_tokens": outcome.hit_tokens,
        "prefilled_tokens": computed,
    }
    laws = {
        "bytes in = resident + evicted": totals["bytes_in"] == totals["used"] + totals["bytes_out"],
        "memory is enough": totals["peak"] <= given.capacity,
        "hits lie within the context": bool(np.all(outcome.hit_tokens <= given.before)),
    }
    return AdapterResult(
        metrics,
        {"turns": turns, "schemes": schemes},
        facts={"mode": "agents", "scheme": a.scheme, "schemes_names": names},
        notes=notes,
        violations=[f"broken: {law}" for law, holds in laws.items() if not holds],
    )
