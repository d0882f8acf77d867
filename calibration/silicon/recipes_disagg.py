"""Which disaggregated deployments were published for a benchmark, and how each was started.

The tables are :mod:`.recipes_disagg_table` and :mod:`.recipes_disagg_sglang`; their notation and
sources are told there.
"""

import functools
import math
import re
from dataclasses import dataclass

from mltwin.models.llm.config import load_model
from mltwin.sim.errors import InputError

from .recipes_disagg_sglang import SGLANG
from .recipes_disagg_table import TRTLLM, Block

_WORKERS = re.compile(r"(\d+)(tp|tep|dp|dep)(\d+)")
# The same deployments were measured under either name.
_SAME = {"deepseek-v3": "deepseek-r1"}
# TensorRT-LLM in a release of NVIDIA Dynamo (its support matrix, docs.nvidia.com/dynamo). Images
# of 0.5.1 and 1.1.0-dev are not in it: the next release's counts.
_DYNAMO = {
    "0.5.1": "1.1.0rc5",
    "0.6.0": "1.1.0rc5",
    "0.6.1": "1.1.0rc5",
    "0.7.0": "1.2.0rc2",
    "0.7.0.post1": "1.2.0rc3",
    "0.7.0.post2": "1.2.0rc3",
    "0.7.1": "1.2.0rc3",
    "0.8.0": "1.2.0rc6.post1",
    "0.8.1": "1.2.0rc6.post1",
    "0.8.1.post1": "1.2.0rc6.post1",
    "0.8.1.post2": "1.2.0rc6.post2",
    "0.8.1.post3": "1.2.0rc6.post3",
    "0.9.0": "1.3.0rc1",
    "0.9.1": "1.3.0rc3",
    "1.0.0": "1.3.0rc5.post1",
    "1.1.0": "1.3.0rc11",
}


@dataclass(frozen=True)
class Workers:
    """Workers of one kind: how many, and the plan of each.

    Attributes:
        count: workers.
        tp, dp, ep: tensor parallel, attention-data-parallel and expert-parallel ranks of one.
            Where the ranks do not divide the experts (engines then keep copies of some), ep is
            the largest divisor that does; each GPU holds and computes as much.
    """

    count: int
    tp: int
    dp: int
    ep: int

    @property
    def group(self) -> int:
        """GPUs of one worker."""
        return self.tp * self.dp

    @property
    def gpus(self) -> int:
        """GPUs of all of them."""
        return self.count * self.group


@dataclass(frozen=True)
class Deployed:
    """A published deployment.

    Attributes:
        concurrencies: of the client.
        prefill, decode: the workers.
        batch: most sequences of a decode rank; 0 where not told.
        drafts: draft tokens of multi-token prediction; 0 without.
        prefill_tokens: prompt tokens of a prefill rank's iteration.
        image: what the name of the server's image ends with, where that tells two apart.
    """

    concurrencies: tuple[int, ...]
    prefill: Workers
    decode: Workers
    batch: int
    drafts: int
    prefill_tokens: int
    image: str = ""

    @property
    def gpus(self) -> int:
        """GPUs of both sides."""
        return self.prefill.gpus + self.decode.gpus


def deployments(
    engine: str,
    model: str,
    system: str,
    precision: str,
    prompt: int,
    output: int,
    concurrency: int | None = None,
    measured: str = "",
) -> list[Deployed]:
    """Published deployments in the order of their publication.

    Args:
        engine, model, system: as in the table; ``model`` is the shipped name.
        precision: ``fp8`` (blocks or not) or ``fp4``.
        prompt, output: nominal tokens.
        concurrency: only deployments that were driven so; None for all of the benchmark's.
        measured: day of the measurement (ISO); the table has what was published by then, or the
            oldest where nothing was. Empty: the newest.
    """
    model = _SAME.get(model, model)
    precision = {"nvfp4": "fp4", "fp8_block": "fp8"}.get(precision, precision)
    wanted = (engine, model, system, precision, prompt, output)
    blocks = sorted((b for b in (*TRTLLM, *SGLANG) if b[:6] == wanted), key=lambda b: b[6])
    if not blocks:
        return []
    by_then = [b for b in blocks if not measured or b[6] <= measured]
    found = _parse((by_then or blocks)[-1] if by_then else blocks[0])
    return [d for d in found if concurrency is None or concurrency in d.concurrencies]


def engine_version(engine: str, label: str) -> str:
    """The engine's own version where a label is that of a Dynamo release: TensorRT-LLM's
    disaggregated rows have such labels."""
    release = re.split(r"-(?:rc|dev)", label)[0]
    return _DYNAMO.get(release, label) if engine == "trtllm" else label


def every_block() -> list[Block]:
    """All blocks of the table, for checks."""
    return [*TRTLLM, *SGLANG]


@functools.cache
def _parse(block: Block) -> tuple[Deployed, ...]:
    engine, model, tokens = block[0], block[1], block[7]
    return tuple(_line(line, engine, model, tokens) for line in block[8].split("\n") if line)


def _line(line: str, engine: str, model: str, tokens: int) -> Deployed:
    """One line of a block.

    Raises:
        InputError: it is not written as the table says.
    """
    driven, _, rest = line.partition(":")
    words = rest.split()
    if len(words) < 2:
        raise InputError("a line needs prefill and decode workers", where=line)
    options = {word[0]: word[1:] for word in words[2:]}
    prefill, decode = _workers(words[0], model), _workers(words[1], model)
    return Deployed(
        concurrencies=tuple(int(c) for c in driven.split()),
        prefill=prefill,
        decode=decode,
        batch=int(options.get("b", 0)) // (decode.dp if engine == "sglang" else 1),
        drafts=int(options.get("m", 0)),
        prefill_tokens=tokens // (prefill.dp if engine == "sglang" else 1),
        image=options.get("@", ""),
    )


def _workers(word: str, model: str) -> Workers:
    found = _WORKERS.fullmatch(word)
    if found is None:
        raise InputError("workers are a count, tp, tep, dp or dep, and GPUs", where=word)
    count, kind, gpus = int(found[1]), found[2], int(found[3])
    return workers(count, gpus, model, spread=kind in ("tep", "dep"), data=kind in ("dp", "dep"))


def workers(count: int, gpus: int, model: str, *, spread: bool, data: bool) -> Workers:
    """``count`` workers of ``gpus`` GPUs each.

    Args:
        spread: experts are spread over the GPUs, not split.
        data: attention is data parallel, not tensor parallel.
    """
    moe = load_model(model).moe
    ep = math.gcd(gpus, moe.experts) if spread and moe else 1
    return Workers(count, 1 if data else gpus, gpus if data else 1, ep)
