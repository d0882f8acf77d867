"""What a training framework does around the matrix products: `Recipe`.

Each entry counts bytes that kernels must read and write, forward and backward, from the
framework's own code. "Per number" is per element of a 2-byte activation: an addition of two
tensors reads 2 + 2 and writes 2 bytes a number.
"""

from dataclasses import dataclass, replace

from mltwin.sim.errors import InputError

Passes = tuple[float, float]


@dataclass(frozen=True)
class Recipe:
    """Bytes moved by the kernels between the matrix products; pairs are (forward, backward).

    Attributes:
        name: of the recipe.
        attention: ``triton``, ``flash2`` or ``flash3``, the kernel of the attention's core.
        norm: a norm, per number of the hidden state.
        fused_norm: norms are one kernel of their own (timed at the rate of LayerNorm); otherwise
            they are plain additions and products.
        residual: the addition after a block's half, per number of the hidden state.
        rope: rotary embedding, per number of queries and keys.
        layout: copies around the attention, per number of queries.
        activation: GELU, or SiLU and product, per number of the intermediate state.
        loss: cross-entropy without the matrix product, per token and word.
        flatten: gradients copied together, bytes a parameter and backward pass.
        optimizer: clipping and AdamW, bytes a parameter held.
        cast: rounding one operand of a matrix product to fp8, bytes a number (the backward pass
            rounds once more for the transposed product).
        step_s: of the host between two steps, in which the GPU waits.
    """

    name: str
    attention: str
    norm: Passes
    fused_norm: bool
    residual: Passes
    rope: Passes
    layout: Passes
    activation: Passes
    loss: Passes
    flatten: float
    optimizer: float
    cast: Passes
    step_s: float = 0.0


# LayerNorm reads x, writes y; its backward pass reads dy and x twice (for dx, and for weight and
# bias) and writes dx. A residual's gradient is the sum of two. GELU reads x (and dy), writes one.
# Splitting q, k, v is free; its backward pass copies all three. The loss is the fused
# cross-entropy of flash-attention. FSDP copies gradients into one flat tensor. Decoupled AdamW of
# Composer: 22 passes over float32 (weight decay 2, moments 2 + 3 + 2 + 3, root, division and sum
# 6, update 4), and 3 for clipping.
LLM_FOUNDRY = Recipe(
    name="llm-foundry",
    attention="flash2",
    norm=(4, 10),
    fused_norm=True,
    residual=(6, 6),
    rope=(0, 0),
    layout=(0, 12),
    activation=(4, 6),
    loss=(2, 4),
    flatten=4,
    optimizer=100,
    cast=(4, 4),
)
# Its runs of early 2023 had FlashAttention in Triton (the default of submit_benchmarks.py then).
LLM_FOUNDRY_TRITON = replace(LLM_FOUNDRY, name="llm-foundry-triton", attention="triton")
# RMSNorm of separate kernels in float32: cast 6, square 8, mean 4, product 8, cast 6, weight 4.
# Rotary embedding in float32: cast 6, complex product 8, cast 6. Keys and values are repeated for
# the query heads that share them (8 a query number for both), the output made contiguous (4). SiLU
# 4, product 6. Cross-entropy in float32: cast 6, log-softmax 8; backward 12 and cast 6. Fused AdamW
# reads 4 and writes 3 float32, clipping 3 more.
TORCHTITAN_EAGER = Recipe(
    name="torchtitan",
    attention="flash2",
    norm=(36, 72),
    fused_norm=False,
    residual=(6, 6),
    rope=(20, 20),
    layout=(12, 16),
    activation=(10, 18),
    loss=(14, 18),
    flatten=4,
    optimizer=40,
    cast=(5, 7),
)
# torch.compile fuses a norm with the addition before it (reads 2, writes 2 tensors), the rotary
# embedding, and SiLU with the product; copies around the attention stay, the loss is not compiled.
TORCHTITAN_COMPILED = Recipe(
    name="torchtitan-compile",
    attention="flash2",
    norm=(4, 8),
    fused_norm=False,
    residual=(4, 4),
    rope=(4, 4),
    layout=(12, 16),
    activation=(6, 10),
    loss=(14, 18),
    flatten=4,
    optimizer=40,
    cast=(5, 7),
)
# Everything fused that can be: the newest attention, one kernel a norm, a fused loss.
FUSED = Recipe(
    name="fused",
    attention="flash3",
    norm=(4, 8),
    fused_norm=False,
    residual=(4, 4),
    rope=(4, 4),
    layout=(0, 0),
    activation=(6, 10),
    loss=(2, 4),
    flatten=0,
    optimizer=40,
    cast=(3, 4),
)
RECIPES = {
    r.name: r
    for r in (LLM_FOUNDRY, LLM_FOUNDRY_TRITON, TORCHTITAN_EAGER, TORCHTITAN_COMPILED, FUSED)
}


def recipe_of(recipe: Recipe | str) -> Recipe:
    """A recipe by its name, or as given.

    Raises:
        InputError: no such name.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        raise InputError(f"no recipe {recipe!r}", mend=f"use one of {sorted(RECIPES)}")
    return RECIPES[recipe]
