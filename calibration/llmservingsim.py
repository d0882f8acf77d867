"""Iteration times from LLMServingSim's per-layer tables of one GPU and model.

LLMServingSim (github.com/casys-kaist/LLMServingSim, MIT) times one layer of a model inside vLLM:
``dense.csv`` (layers against tokens), ``per_sequence.csv`` (head and sampler against sequences),
``attention.csv`` (one prefill chunk with decodes beside it), ``moe.csv`` (experts against tokens
and experts that get any), ``skew.csv`` (decodes of unequal length). All times are microseconds
there and seconds here. `LayerTables` reads them, `MeasuredIterations` adds them up to iterations,
in the form that :func:`mltwin.models.gpu.lowering.lower` takes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.gpu.batch import Batch
from mltwin.models.llm.model import Model
from mltwin.sim.errors import InputError

from .llmservingsim_attention import AttentionTable
from .read.llmservingsim import (
    layer_file,
    read_dense,
    read_experts,
    read_mixed_attention,
    read_per_sequence,
    read_skew,
)

FOLDER = "kernels/llmservingsim/v1"
# How often each layer of dense.csv runs: in every layer of the model, or once an iteration.
EACH_LAYER = {
    "layernorm": 2,
    "qkv_proj": 1,
    "qk_norm": 1,
    "rotary_emb": 1,
    "o_proj": 1,
    "gate_up_proj": 1,
    "act_fn": 1,
    "down_proj": 1,
}
ONCE = ("embedding", "final_layernorm")
FEED_FORWARD = ("gate_up_proj", "act_fn", "down_proj")
Floats = npt.NDArray[np.float64]
Exchange = Callable[[Floats], Floats]


def tables_folder(
    data: str | Path, gpu: str, model: str, tp: int = 1, variant: str = "bf16"
) -> Path:
    """Where the tables of a GPU and model (``org/name`` or its last part) lie under ``data``.

    Raises:
        InputError: there are none.
    """
    root = Path(data) / FOLDER
    name = model.rsplit("/", 1)[-1]
    found = sorted(root.glob(f"{gpu}/*/{name}/{variant}/tp{tp}"))
    if not found:
        raise InputError(
            f"no kernel tables of {model} on {gpu} at tp={tp}",
            where=str(root),
            mend="give a folder that has them with --kernels",
        )
    return found[0]


@dataclass(frozen=True, eq=False)
class LayerTables:
    """The tables of one GPU, model and tensor-parallel split.

    Attributes:
        dense: (tokens, seconds) by layer.
        heads: (sequences, seconds) by layer that runs once a sequence.
        attention: of one layer.
        experts: (tokens, experts that get any, seconds) rows; None without experts.
    """

    dense: dict[str, tuple[Floats, Floats]]
    heads: dict[str, tuple[Floats, Floats]]
    attention: AttentionTable
    experts: Floats | None

    @classmethod
    def read(cls, folder: str | Path) -> "LayerTables":
        """The tables of a ``tpN`` folder; files may be gzipped.

        Raises:
            InputError: a file or a column is missing, or a time is not positive.
        """
        place = Path(folder)
        # Experts are timed whole, on one GPU: their table stands with tp1.
        experts = _optional(place, "moe") or _optional(place.parent / "tp1", "moe")
        skew = _optional(place, "skew")
        rows = None if experts is None else read_experts(experts)
        return cls(
            dense=_curves(read_dense(layer_file(place, "dense")), "tokens"),
            heads=_curves(read_per_sequence(layer_file(place, "per_sequence")), "sequences"),
            attention=AttentionTable.of(
                read_mixed_attention(layer_file(place, "attention")),
                None if skew is None else read_skew(skew),
            ),
            experts=None
            if rows is None
            else rows[["tokens", "active_experts", "seconds"]].to_numpy(float),
        )


def _optional(folder: Path, name: str) -> Path | None:
    try:
        return layer_file(folder, name)
    except InputError:
        return None


def _curves(frame: Any, key: str) -> dict[str, tuple[Floats, Floats]]:
    frame = frame.sort_values(["layer", key])
    return {
        str(layer): (some[key].to_numpy(float), some["seconds"].to_numpy(float))
        for layer, some in frame.groupby("layer", sort=True)
    }


def stepped(curve: tuple[Floats, Floats], at: npt.ArrayLike) -> Floats:
    """The curve of a GEMM at a point: its next measured point.

    Tiles are whole: a GEMM takes equally long for all tokens up to a tile's edge (the measured
    points show it), so between two points it is the later one's time. Proportional beyond the
    last.
    """
    where, values = curve
    x = np.asarray(at, float)
    place = np.minimum(np.searchsorted(where, x - 1e-9), len(where) - 1)
    return np.asarray(values[place] * np.maximum(x / where[-1], 1.0))


def interpolated(curve: tuple[Floats, Floats], at: npt.ArrayLike) -> Floats:
    """The curve at a point: linear between points, proportional beyond the last one."""
    where, values = curve
    x = np.asarray(at, float)
    beyond = np.maximum(x / where[-1], 1.0)
    return np.asarray(np.interp(x, where, values) * beyond)


class MeasuredIterations:
    """Iterations of a replica, added up from the tables of its GPU.

    A replica of ``dp`` attention ranks whose experts meet in every layer runs in lock-step, and
    is described as a whole: its decodes spread evenly, and all wait for the rank that has most
    prompt tokens. Experts are spread over all tp x dp GPUs; tokens choose them evenly, so that of
    E experts on all GPUs E (1 - (1 - k/E)^M) get any of M tokens.

    Args:
        tables: of one rank.
        model: for its numbers of layers and experts.
        tp: GPUs of a rank, for the all-reduces.
        dp: attention ranks.
        all_reduce: seconds of one all-reduce against its bytes, if tp > 1.
        exchange: seconds of the experts' gathering and scattering in one layer, against the
            tokens of the rank that has most, if dp > 1.
        prompt: tokens of a typical prompt. Ranks take prompts by turns, so an iteration with more
            prompt tokens than that has them on more than one rank.
        host_s: added to each iteration.
        graph_sizes: token counts for which CUDA graphs were captured, ascending: smaller batches
            are padded to the next one, and padding runs through all but attention.
        skewed: use the measured excess of unequal decodes.
        max_context: the longest request; beside a prompt no decode is taken to be longer than
            that, however few share a sum of contexts.

    Raises:
        InputError: a table that the model needs is missing.
    """

    pp = 1
    sequence_s = 0.0

    def __init__(
        self,
        tables: LayerTables,
        model: Model,
        *,
        tp: int = 1,
        dp: int = 1,
        all_reduce: Exchange | None = None,
        exchange: Exchange | None = None,
        prompt: float = np.inf,
        host_s: float = 0.0,
        graph_sizes: Sequence[int] = (),
        skewed: bool = True,
        max_context: float = np.inf,
    ) -> None:
        self.tables, self.model, self.tp, self.dp = tables, model, tp, dp
        self.all_reduce, self.exchange, self.host_s = all_reduce, exchange, host_s
        self.prompt = prompt
        self.graph_sizes = np.asarray(graph_sizes, float)
        self.skewed = skewed
        self.max_context = max_context
        self.window_layers = {0: model.layers}
        self.once = [n for n in ONCE if n in tables.dense]
        wanted = [n for n in EACH_LAYER if not (model.moe and n in FEED_FORWARD)]
        missing = [n for n in wanted if n not in tables.dense and n != "qk_norm"]
        if missing or not tables.heads:
            raise InputError(f"layers {missing or 'of the head'} were not measured")
        if model.moe and tables.experts is None:
            raise InputError(f"the experts of {model.name} were not measured", mend="add moe.csv")
        if (tp > 1 and all_reduce is None) or (dp > 1 and exchange is None):
            raise InputError(f"tp={tp}, dp={dp} without measured collectives")
        self.each = {n: EACH_LAYER[n] for n in wanted if n in tables.dense}

    def batch_seconds(self, batch: Batch) -> Floats:
        """Seconds of iterations; see :class:`mltwin.models.gpu.batch.Batch` (of all ranks)."""
        prefill = np.asarray(batch.prefill, float)
        decoding = np.asarray(batch.decoding, float) / self.dp
        sequences = np.asarray(batch.sequences, float) / self.dp
        total = np.asarray(batch.tokens, float)
        tokens = decoding + self._fullest(prefill)
        padded = self._padded(tokens)
        # Ranks whose batches run as a graph are padded to the same size.
        routed = np.where(padded > tokens, self.dp * padded, total)
        layer = self._dense(padded) + self._attention(batch, prefill, decoding)
        layer = layer + self._experts(routed) + self._communication(padded)
        time = self.model.layers * layer + self.host_s
        for name in self.once:
            time = time + interpolated(self.tables.dense[name], padded)
        for name, curve in self.tables.heads.items():
            time = time + _curve(name)(curve, np.maximum(sequences, 1.0))
        return np.asarray(time)

    def _fullest(self, prefill: Floats) -> Floats:
        """Prompt tokens of the rank that has most, if prompts are equally long."""
        spread = np.maximum(prefill / self.dp, np.minimum(prefill, self.prompt))
        return np.asarray(spread)

    def _padded(self, tokens: Floats) -> Floats:
        """Tokens with those that a CUDA graph's size adds."""
        if not len(self.graph_sizes):
            return tokens
        last = len(self.graph_sizes) - 1
        size = self.graph_sizes[np.minimum(np.searchsorted(self.graph_sizes, tokens - 1e-9), last)]
        return np.asarray(np.maximum(size, tokens))

    def pair_seconds(self) -> float:
        """Seconds of one more (query, key) pair of prefill in one layer."""
        return self.tables.attention.pair_s

    def _dense(self, tokens: Floats) -> Floats:
        time = np.zeros(())
        for name, count in self.each.items():
            time = time + count * _curve(name)(self.tables.dense[name], tokens)
        return time

    def _attention(self, batch: Batch, prefill: Floats, decoding: Floats) -> Floats:
        context = np.asarray(batch.context[0], float) / self.dp
        mean = context / np.maximum(decoding, 1e-9)
        mean = np.where(prefill > 0, np.minimum(mean, self.max_context), mean)
        pairs = np.asarray(batch.pairs.get(0, 0), float)
        before = np.maximum(pairs / np.maximum(prefill, 1.0) - (prefill + 1) / 2, 0.0)
        table = self.tables.attention
        return table.seconds(prefill, before, decoding, mean, skewed=self.skewed)

    def _experts(self, total: Floats) -> Floats:
        moe, rows = self.model.moe, self.tables.experts
        if moe is None or rows is None:
            return np.zeros(())
        ranks = self.tp * self.dp
        chance = moe.experts_per_token / moe.experts
        active = moe.experts / ranks * -np.expm1(total * np.log1p(-chance))
        return expert_seconds(rows, total / ranks, active)

    def _communication(self, tokens: Floats) -> Floats:
        time: Floats = np.zeros(())
        if self.all_reduce is not None and self.tp > 1:
            reductions = 1 if self.model.moe and self.dp > 1 else 2
            time = time + reductions * self.all_reduce(tokens * self.model.hidden_size * 2)
        if self.exchange is not None and self.dp > 1:
            time = time + self.exchange(tokens)
        return time


def _curve(name: str) -> Callable[[tuple[Floats, Floats], npt.ArrayLike], Floats]:
    """How a layer's curve is read: GEMMs are the layers named ``*_proj`` and ``*_head``."""
    return stepped if name.endswith(("_proj", "_head")) else interpolated


def expert_seconds(rows: Floats, tokens: Floats, active: Floats) -> Floats:
    """Seconds of the experts' kernels, linear in the experts that get any (their weights are
    read) and in the logarithm of the tokens.

    Args:
        rows: (tokens, experts that get any, seconds).
        tokens: rows of activations divided by experts per token.
        active: experts that get any.
    """
    known = np.unique(rows[:, 0])
    tokens, active = np.broadcast_arrays(np.asarray(tokens, float), np.asarray(active, float))
    values = np.stack([_line(rows[rows[:, 0] == t], active) for t in known])
    place = np.interp(np.log2(np.maximum(tokens, known[0])), np.log2(known), np.arange(len(known)))
    low = np.minimum(place.astype(int), max(len(known) - 2, 0))
    high = np.minimum(low + 1, len(known) - 1)
    share = place - low
    below = np.take_along_axis(values, low[None], 0)[0]
    above = np.take_along_axis(values, high[None], 0)[0]
    return np.asarray((below * (1 - share) + above * share) * np.maximum(tokens / known[-1], 1.0))


def _line(rows: Floats, active: Floats) -> Floats:
    """Linear through the rows of one token count, their last slope going on."""
    rows = rows[np.argsort(rows[:, 1])]
    if len(rows) == 1:
        return np.full(active.shape, rows[0, 2])
    slope = (rows[-1, 2] - rows[-2, 2]) / (rows[-1, 1] - rows[-2, 1])
    inside = np.interp(active, rows[:, 1], rows[:, 2])
    return np.asarray(inside + np.maximum(active - rows[-1, 1], 0.0) * slope)
