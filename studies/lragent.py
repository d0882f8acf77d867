"""How many agents fit into a GPU when they share one KV cache and differ by LoRA adapters?

Paper: Jeon, Ha and Kim, "LRAgent: Efficient KV Cache Sharing for Multi-LoRA LLM Agents",
arXiv 2602.01053 (February 2026): abstract and published code.

Theirs: the two schemes. An adapted projection caches x W + (x A) B; the base part x W is nearly the
same for all agents and is kept once, and of the adapter's part only x A is kept, rank numbers
instead of all. BaseShared keeps an x A for each agent; BaseLRShared has adapters with one common A,
so that x A is kept once too, and a context that one agent has processed need not pass the model
again for the next. Three agents (plan, action, reflect), Llama-3.1-8B, rank 8, values split:
their published scripts. Claims: throughput and time to first token close to fully shared caching;
accuracy near separate caches. Ours: the arithmetic (bytes of a token's keys and values follow from
the model's shape), the replay of conversations with a cache of limited size, and the conversations.

What we find:
- Memory for each agent falls as one over the number of agents, to a floor that rank sets. For
  three agents at rank 8 BaseShared takes 33.7 % of separate caches and BaseLRShared 33.5 %; sharing
  everything takes 33.3 %, and no scheme can take less. The low-rank part is 1.2 % of the base part
  for three agents, and reaches the size of the base part at 256 agents of rank 8 or 32 of rank 64.
- So BaseShared all but reaches fully shared caching in memory; it saves no prefill by itself, as an
  agent's x A needs its hidden states. The claim of a time to first token close to fully shared
  caching can only be BaseLRShared's, and there it follows from counting: a context passes the model
  once instead of once for each agent.
- In the replay (three agents taking turns) with memory for all contexts BaseShared computes exactly
  as many tokens as separate caches, and 2.4 times as many as BaseLRShared. With less memory it
  computes fewer than separate caches, because more of what it has stays.
- BaseLRShared finds as much as fully shared caching, to half a per cent of the tokens, at every
  size: the low-rank part is 0.4 % of a block.

Limits: no time: tokens that pass the model stand for latency. Neither the cost of expanding x A
inside attention nor the loss of accuracy is modelled, and the base part is taken to be the same for
all agents. Adapters' own weights are counted with the memory that the caches have.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

import mltwin as mt
from mltwin.plots import COLOURS, FAINT, new_figure, number_axis
from mltwin.text import Table
from studies._common import Options, main, mean, publish, run_all

MODEL, RANK, AGENTS = "llama-3.1-8b", 8, 3
COUNTS = [1, 2, 3, 4, 6, 8, 16, 32, 64]
RANKS = [4, 8, 16, 32, 64, 128]
MEMORY_GB = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
CONTEXT = 32_768  # tokens; the longest of their runs
SCHEMES = {
    "separate": "separate",
    "BaseShared": "base_shared",
    "BaseLRShared": "base_lr_shared",
    "fully shared": "full_shared",
}


def scenario(scheme: str, **fields: Any) -> mt.Scenario:
    """Agents in turn over common conversations."""
    agents = {"agents": AGENTS, "rank": RANK, "context_tokens": CONTEXT, "memory_gb": 16.0}
    return mt.Scenario.parse(
        {
            "system": "adapter-cache",
            "mode": "agents",
            "model": MODEL,
            "agents": {**agents, "scheme": scheme, **fields},
        }
    )


def by_formula(field: str, values: list[int], fixed: Mapping[str, int]) -> dict[str, list[float]]:
    """kB of KV for a token and agent in each scheme, as one size varies."""
    few = {"conversations": 1, "turns": 1, "memory_gb": 1000.0}
    cases = [
        scenario(s, **few, **{**fixed, field: value}) for s in SCHEMES.values() for value in values
    ]
    found = [run.metrics["bytes_per_token_per_agent"] / 1e3 for run in map(mt.run, cases)]
    rows = np.array(found).reshape(len(SCHEMES), len(values)).tolist()
    return dict(zip(SCHEMES, rows, strict=True))


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    memory = MEMORY_GB[::3] if options.quick else MEMORY_GB
    seeds = range(1 if options.quick else 5)
    replay: dict[str, Any] = {}
    for name, scheme in SCHEMES.items():
        groups = run_all([scenario(scheme, memory_gb=gb) for gb in memory], options, seeds)
        replay[name] = {
            "computed": [mean(g, "prefilled_tokens") / mean(g, "context_tokens") for g in groups],
            "tokens": [mean(g, "prefilled_tokens") for g in groups],
            "hits": [mean(g, "token_hit_ratio") for g in groups],
        }
    sized = run_all([scenario(s) for s in SCHEMES.values()], options)
    figures: dict[str, Any] = {
        "counts": COUNTS,
        "ranks": RANKS,
        "memory_gb": memory,
        "by_count": by_formula("agents", COUNTS, {}),
        "by_rank": by_formula("rank", RANKS, {"agents": 8}),
        "replay": replay,
        "sizes": {
            name: {
                "kb_per_token": run.metrics["bytes_per_token"] / 1e3,
                "capacity_tokens": run.metrics["capacity_tokens"],
                "capacity_agents": run.metrics.get("capacity_agents"),
            }
            for name, (run,) in zip(SCHEMES, sized, strict=True)
        },
    }
    tables = {"memory": memory_table(figures), "replay": replay_table(figures)}
    publish(options, "lragent", picture(figures), tables, figures)
    return figures


def memory_table(figures: Mapping[str, Any]) -> Table:
    """What three agents of rank 8 take, and what fits."""
    separate = figures["sizes"]["separate"]["kb_per_token"]
    passes = {"separate": AGENTS, "BaseShared": AGENTS, "BaseLRShared": 1, "fully shared": 1}
    rows: list[list[Any]] = [
        [
            name,
            mine["kb_per_token"],
            f"{mine['kb_per_token'] / separate:.1%}",
            mine["capacity_tokens"],
            mine["capacity_agents"],
            passes[name],
        ]
        for name, mine in figures["sizes"].items()
    ]
    columns = ["scheme", "kB a token", "of separate", "tokens in 16 GB"]
    columns += [f"agents at {CONTEXT:,} tokens", "passes of a context"]
    caption = (
        f"{MODEL}, {AGENTS} agents, rank {RANK}, values split (queries and values adapted); 16 GB "
        "for KV and adapters."
    )
    return Table(columns, rows, caption=caption)


def replay_table(figures: Mapping[str, Any]) -> Table:
    """Tokens that pass the model, by scheme and memory."""
    rows: list[list[Any]] = []
    for i, gb in enumerate(figures["memory_gb"]):
        for name, mine in figures["replay"].items():
            rows.append([gb, name, f"{mine['hits'][i]:.1%}", mine["tokens"][i]])
    caption = (
        "200 conversations of 9 turns with 16 under way at a time, 400 new tokens a turn on "
        "average, after a common start of 512. Hits: context tokens found in the cache."
    )
    return Table(["memory, GB", "scheme", "hits", "tokens computed"], rows, caption=caption)


def picture(figures: Mapping[str, Any]) -> Any:
    """Bytes by agents and rank; the replay by memory."""
    colours = dict(zip(SCHEMES, (COLOURS[6], COLOURS[5], COLOURS[0], COLOURS[1]), strict=True))
    styles = dict(zip(SCHEMES, ("-", "-", "-", "--"), strict=True))
    with new_figure(1, 3, (11.0, 3.6), "KV shared by agents with LoRA adapters") as (figure, axes):
        left, middle, right = axes[0]
        for name in SCHEMES:
            look = {"color": colours[name], "linestyle": styles[name], "label": name}
            left.plot(figures["counts"], figures["by_count"][name], **look)
            middle.plot(figures["ranks"], figures["by_rank"][name], **look)
            right.plot(figures["memory_gb"], figures["replay"][name]["computed"], **look)
        for panel in (left, middle):
            number_axis(panel)
            number_axis(panel, "y")
        number_axis(right)
        left.set_xlabel("agents")
        left.set_ylabel("kB of KV for a token and agent")
        left.set_title(f"By agents, rank {RANK}")
        middle.set_xlabel("rank of the adapters")
        middle.set_title("By rank, 8 agents")
        right.set_ylim(0)
        right.axhline(1, color=FAINT, linewidth=1, linestyle=":")
        right.set_xlabel("memory for KV, GB")
        right.set_title(f"Replay, {AGENTS} agents: tokens computed\nover tokens of context")
        right.legend()
    return figure


if __name__ == "__main__":
    main(study, __doc__)
