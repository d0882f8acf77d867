"""Bytes of a LoRA adapter, and of a token's KV where agents share it.

A LoRA adapter of rank r adds to a weight W [out, in] the product B A with A [r, in] and B [out, r]
(Hu et al., "LoRA", arXiv 2106.09685, section 4.1): r (in + out) numbers a matrix.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mltwin.models.llm import Model, precision
from mltwin.sim.errors import InputError

ATTENTION = ("q", "k", "v", "o")
MLP = ("gate", "up", "down")
TARGETS = (*ATTENTION, *MLP)
"""Names of the projections that an adapter may change."""

SCHEMES = ("separate", "full_shared", "base_shared", "base_lr_shared")
"""How KV is kept across agents; see `KvSplit`."""


def projection(model: Model, target: str) -> tuple[int, int]:
    """(inputs, outputs) of a projection of one layer.

    Raises InputError for an unknown name, or a projection that the model does not have in this
    form (latent or linear attention, experts, a feed-forward block without a gate).
    """
    if target not in TARGETS:
        raise InputError(
            f"unknown projection {target!r}", where="targets", mend=f"known: {', '.join(TARGETS)}"
        )
    if target in ATTENTION and (model.mla or model.linear):
        raise _not_there(model, target, "its attention is latent or linear")
    if target in MLP and model.moe:
        raise _not_there(model, target, "its feed-forward blocks are experts")
    if target == "gate" and not model.gated_mlp:
        raise _not_there(model, target, "its feed-forward blocks have no gate")
    h, i = model.hidden_size, model.intermediate_size
    queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
    return {
        "q": (h, queries),
        "k": (h, keys),
        "v": (h, keys),
        "o": (queries, h),
        "gate": (h, i),
        "up": (h, i),
        "down": (i, h),
    }[target]


def _not_there(model: Model, target: str, why: str) -> InputError:
    return InputError(
        f"{model.name} has no projection {target!r}: {why}",
        where="targets",
        mend="leave it out, or choose another model",
    )


def adapter_parameters(model: Model, rank: int, targets: Sequence[str]) -> int:
    """Numbers of one adapter: L times the sum of r (in + out) over its targets.

    Raises InputError for no targets, one that is unknown or named twice, or a rank below 1.
    """
    if rank < 1:
        raise InputError(f"rank {rank}", where="rank", mend="give 1 or more")
    if not targets or len(set(targets)) != len(targets):
        raise InputError("must name each projection once", where="targets")
    return model.layers * sum(rank * sum(projection(model, target)) for target in targets)


def adapter_bytes(model: Model, rank: int, targets: Sequence[str], dtype: str | None = None) -> int:
    """Bytes of one adapter; `dtype` None: that of the model's plain weights."""
    width = precision(dtype or model.dtype).weight_bytes
    return round(adapter_parameters(model, rank, targets) * width)


@dataclass(frozen=True)
class KvSplit:
    """Bytes of one token's KV, over all layers, where agents share a base model.

    LRAgent (arXiv 2602.01053) writes what an adapted projection caches as
    x W + (x A) B: the base part is (nearly) the same for all agents, the low-rank part x A takes
    r numbers instead of K D. A projection that no adapter changes is shared as a whole.

    - `separate`: each agent keeps all of its own: A B for A agents and base bytes B.
    - `full_shared`: one copy for all, adapter parts dropped: B (the paper's lossy bound).
    - `base_shared`: one base part and a low-rank part for each agent: B + A r-part.
    - `base_lr_shared`: all adapters have the same A, so the low-rank part is one too: B + r-part.

    So a block of KV has a part that all agents share and a part of each agent's own (`parts`).

    Attributes:
        base_bytes: B, keys and values.
        low_rank_bytes: r numbers for each adapted projection (key, value) that is split, a layer.
        whole_bytes: of adapted projections that are kept whole for each agent (keys, where only
            values are split); a part of `base_bytes`.
    """

    base_bytes: int
    low_rank_bytes: int
    whole_bytes: int = 0

    def parts(self, scheme: str) -> tuple[int, int]:
        """(bytes that all agents share, bytes of each agent's own) of a token.

        Raises InputError for an unknown scheme, or `base_lr_shared` where an adapted projection is
        kept whole: an agent could not use what another one has computed.
        """
        _check_scheme(scheme)
        if scheme == "separate":
            return 0, self.base_bytes
        if scheme == "full_shared":
            return self.base_bytes, 0
        if scheme == "base_shared":
            return self.base_bytes - self.whole_bytes, self.whole_bytes + self.low_rank_bytes
        if self.whole_bytes:
            raise InputError(
                "base_lr_shared needs every adapted projection of k and v to be split",
                where="split",
                mend="split them all, or leave them unadapted",
            )
        return self.base_bytes + self.low_rank_bytes, 0

    def token_bytes(self, scheme: str, agents: int) -> int:
        """Bytes of a token that `agents` agents have all processed."""
        shared, own = self.parts(scheme)
        return shared + agents * own

    def capacity_tokens(self, scheme: str, agents: int, budget_bytes: int, adapter: int = 0) -> int:
        """Tokens that fit beside the agents' adapters of `adapter` bytes; 0 if those do not fit."""
        left = budget_bytes - agents * adapter
        return max(0, left) // self.token_bytes(scheme, agents)

    def capacity_agents(self, scheme: str, tokens: int, budget_bytes: int, adapter: int = 0) -> int:
        """Agents that fit with a common context of `tokens`; -1 where there is no limit."""
        shared, own = self.parts(scheme)
        left = budget_bytes - tokens * shared
        each = adapter + tokens * own
        if left < each:
            return 0
        return left // each if each else -1


def kv_split(
    model: Model,
    rank: int,
    adapted: Sequence[str] = ("v",),
    split: Sequence[str] = ("v",),
    kv_dtype: str | None = None,
) -> KvSplit:
    """The bytes of a model whose adapters of a rank change the projections `adapted` (of k and v).

    `split`: which of those are kept as base and low-rank part, the paper's being the values.
    Raises InputError for other names, or a model without plain keys and values.
    """
    for name, given in (("adapted", adapted), ("split", split)):
        if set(given) - {"k", "v"}:
            raise InputError(f"{list(given)} has others than k and v", where=name)
    if set(split) - set(adapted):
        raise InputError("splits a projection that is not adapted", where="split")
    for target in ("k", "v"):
        projection(model, target)
    width = precision(kv_dtype or model.dtype).weight_bytes
    whole = set(adapted) - set(split)
    keys = model.kv_heads * model.head_dim
    return KvSplit(
        base_bytes=model.kv_bytes_per_token(kv_dtype),
        low_rank_bytes=round(model.layers * len(split) * rank * width),
        whole_bytes=round(model.layers * len(whole) * keys * width),
    )


def prefilled_tokens(scheme: str, agents: int, tokens: int) -> int:
    """Tokens that must pass the model until all agents have a context of `tokens`.

    Sharing memory alone saves no computing: an agent's low-rank part x A needs its hidden states.
    Where A is shared, whoever was first has computed it for all (LRAgent's second scheme).
    """
    _check_scheme(scheme)
    return tokens if scheme in ("full_shared", "base_lr_shared") else agents * tokens


def _check_scheme(scheme: str) -> None:
    if scheme not in SCHEMES:
        raise InputError(
            f"unknown scheme {scheme!r}", where="scheme", mend=f"known: {', '.join(SCHEMES)}"
        )
