"""What a live vLLM says of itself: scrapes of its Prometheus text, and the intervals between them.

Names are those of vLLM's metrics page; where a name changed over releases all are tried. Counters
are differenced between two scrapes of one engine; a counter that went back means a restart.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from mltwin.sim.errors import InputError

_SAMPLE = re.compile(
    r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)(?:\s+(?P<at>-?\d+))?"
)
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')

GAPS = ("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds")
ITERATIONS = ("vllm:iteration_tokens_total",)
RUNNING = ("vllm:num_requests_running",)
USAGE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
CACHE = ("vllm:cache_config_info",)
PREEMPTIONS = ("vllm:num_preemptions_total",)


@dataclass(frozen=True)
class Scrape:
    """Samples of one scrape: name -> list of (labels, value)."""

    where: str
    samples: dict[str, list[tuple[dict[str, str], float]]]

    def total(self, names: Sequence[str], suffix: str = "") -> float | None:
        """The sum over label sets of the first of ``names`` that is there; None if none is."""
        for name in names:
            found = self.samples.get(name + suffix)
            if found:
                return sum(value for _, value in found)
        return None

    def label(self, names: Sequence[str], key: str) -> str | None:
        """A label of the first of ``names`` that has it."""
        for name in names:
            for labels, _ in self.samples.get(name, []):
                if key in labels:
                    return labels[key]
        return None

    def engines(self) -> int:
        """How many engines the scrape covers (label ``engine``); at least 1."""
        found = {
            labels.get("engine", "0")
            for name in RUNNING
            for labels, _ in self.samples.get(name, [])
        }
        return max(1, len(found))


@dataclass(frozen=True)
class Interval:
    """One engine between two scrapes.

    Attributes:
        gap_s: mean time between output tokens.
        gaps: how many went into it.
        running: mean of the requests running at both ends.
        tokens: mean tokens of an iteration.
        iterations: how many there were.
        context: KV tokens held, mean of both ends; None where the cache's size is not told.
    """

    gap_s: float
    gaps: float
    running: float
    tokens: float
    iterations: float
    context: float | None


@dataclass(frozen=True)
class CacheConfig:
    """Blocks of the KV cache and tokens of one block, as the engine reports them."""

    blocks: int
    block_tokens: int


def parse_scrape(text: str, where: str = "scrape") -> Scrape:
    """Samples of Prometheus's text format, version 0.0.4 (OpenMetrics reads alike here).

    Raises:
        InputError: a line that is no sample, a value that is no number, or nothing of vLLM.
    """
    samples: dict[str, list[tuple[dict[str, str], float]]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _SAMPLE.match(line.strip())
        if not match:
            raise InputError(
                f"{line[:60]!r} is no sample",
                where=f"{where}, line {number}",
                mend="give the text of the /metrics page",
            )
        try:
            value = float(match["value"])
        except ValueError:
            raise InputError(
                f"value {match['value'][:40]!r} is no number", where=f"{where}, line {number}"
            ) from None
        labels = dict(_LABEL.findall(match["labels"] or ""))
        samples.setdefault(match["name"], []).append((labels, value))
    if not any(name.startswith("vllm:") for name in samples):
        raise InputError(
            "no sample of vLLM", where=where, mend="scrape the /metrics page of a vLLM server"
        )
    return Scrape(where, samples)


def read_scrapes(paths: Sequence[str | Path]) -> list[Scrape]:
    """Scrapes of one server, in the order of the files.

    Raises:
        InputError: fewer than two files, or one that is no scrape.
    """
    if len(paths) < 2:
        raise InputError(
            f"{len(paths)} scrape", mend="give at least two, some seconds apart, in order"
        )
    scrapes = []
    for path in paths:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot be read ({error})", where=str(path)) from None
        scrapes.append(parse_scrape(text, str(path)))
    return scrapes


def cache_config(scrape: Scrape) -> CacheConfig | None:
    """The KV cache of one engine, or None where the scrape does not tell."""
    blocks, size = (scrape.label(CACHE, key) for key in ("num_gpu_blocks", "block_size"))
    if blocks is None or size is None or not (blocks.isdigit() and size.isdigit()):
        return None
    return CacheConfig(int(blocks), int(size))


def intervals(scrapes: Sequence[Scrape]) -> list[Interval]:
    """Intervals in which the engine made tokens.

    Raises:
        InputError: a metric that is needed is missing, or a counter went back.
    """
    found = []
    for before, after in pairwise(scrapes):
        gaps = _rise(before, after, GAPS, "_count")
        iterations = _rise(before, after, ITERATIONS, "_count")
        engines = after.engines()
        if gaps <= 0 or iterations <= 0:
            continue
        found.append(
            Interval(
                gap_s=_rise(before, after, GAPS, "_sum") / gaps,
                gaps=gaps,
                running=_mean(before, after, RUNNING) / engines,
                tokens=_rise(before, after, ITERATIONS, "_sum") / iterations,
                iterations=iterations / engines,
                context=_context(before, after),
            )
        )
    return found


def _needed(scrape: Scrape, names: Sequence[str], suffix: str = "") -> float:
    value = scrape.total(names, suffix)
    if value is None:
        raise InputError(
            f"no sample {names[0] + suffix!r}",
            where=scrape.where,
            mend="scrape a vLLM of release 0.8 or later with metrics on",
        )
    return value


def _rise(before: Scrape, after: Scrape, names: Sequence[str], suffix: str) -> float:
    rise = _needed(after, names, suffix) - _needed(before, names, suffix)
    if rise < 0:
        raise InputError(
            f"{names[0] + suffix!r} went back since {before.where}",
            where=after.where,
            mend="the server restarted, or the files are out of order: give scrapes of one run",
        )
    return rise


def _mean(before: Scrape, after: Scrape, names: Sequence[str]) -> float:
    return (_needed(before, names) + _needed(after, names)) / 2


def _context(before: Scrape, after: Scrape) -> float | None:
    config = cache_config(after)
    if config is None:
        return None
    share = _mean(before, after, USAGE) / after.engines()
    return share * config.blocks * config.block_tokens
