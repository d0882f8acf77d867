"""Which deployment a disaggregated run was, as far as its labels and published recipes tell.

Most exports leave out the number of workers, attention-data parallelism and multi-token
prediction. The rules below use labels only (GPUs of a worker, concurrency, day, image, place in
the export), never a result.

1. Published deployments of the benchmark that agree with the labels: workers and GPUs where both
   are told; the GPUs of one worker on each side; or, where an export wrote one number for both
   sides, that of all GPUs. Labels of one GPU a side say nothing.
2. Of these, the ones driven at the run's concurrency, else at the nearest.
3. Runs of one benchmark, day, image and export are a sweep. If plain decoding alone, or
   multi-token prediction alone, explains every run of it, all of it was that.
4. An export lists the runs of one deployment together: of several the one that also explains a
   run's neighbours. Runs of equal labels were different deployments.
5. What is still open goes by order: sweeps run in the order of publication, and exports list the
   newest run first (their days fall). Plain decoding where there is one run only.

Exports from the benchmark's database (``db-dump``) hold plain decoding only: no concurrency in
them is one of multi-token prediction alone. Where nothing was published, one worker of each side
has the GPUs of its label, attention-data parallel if tensor parallelism cannot be (heads that do
not divide) or each GPU has ``CROWD`` requests.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mltwin.calibration.silicon.recipes_disagg import Deployed, Workers, deployments, workers
from mltwin.calibration.silicon.resolver import known_model
from mltwin.models.llm.config import load_model
from mltwin.sim.errors import InputError

if TYPE_CHECKING:
    from .silicon_rows import Run, Side

CROWD = 16
NEAR = 4
SURE, LIKELY, OPEN, ASSUMED = 1.0, 0.8, 0.6, 0.4
# Least GPUs that hold a model of experts and still divide its heads, where labels are silent.
SILENT_GPUS = {"gb200": 4, "h100_sxm": 16}


@dataclass(frozen=True)
class Served:
    """How a disaggregated run was served.

    Attributes:
        deployed: the deployment.
        confidence: how sure that is.
        note: what was assumed; empty if nothing was.
    """

    deployed: Deployed
    confidence: float
    note: str = ""


def serve(runs: Sequence["Run"]) -> list[Served | None]:
    """The deployment of each run; None for aggregated ones and unknown models."""
    found: list[Served | None] = [None] * len(runs)
    sweeps: dict[tuple[object, ...], list[int]] = {}
    for i, run in enumerate(runs):
        if run.disaggregated and _shipped(run):
            what = (run.engine, run.model, run.system, run.precision, run.prompt, run.output)
            key = (*what, run.measured, run.image, run.export)
            sweeps.setdefault(key, []).append(i)
    for places in sweeps.values():
        places.sort(key=lambda i: (runs[i].place, i))
        for i, served in zip(places, _sweep([runs[i] for i in places]), strict=True):
            found[i] = served
    return found


def _sweep(runs: Sequence["Run"]) -> list[Served]:
    """The deployments of the runs of one sweep, in its order."""
    fits = [_fits(run) for run in runs]
    if runs[0].export.startswith("db-dump"):
        fits = [_plain(options) or options for options in fits]
    fits = _one_kind(fits)
    choice = _assign(runs, fits)
    return [_served(run, options, k) for run, options, k in zip(runs, fits, choice, strict=True)]


def _plain(options: list[Deployed]) -> list[Deployed]:
    return [d for d in options if not d.drafts]


def _drafted(options: list[Deployed]) -> list[Deployed]:
    return [d for d in options if d.drafts]


def _one_kind(fits: list[list[Deployed]]) -> list[list[Deployed]]:
    """Rule 3; a run that nothing explains has no say."""
    told = [options for options in fits if options]
    if all(_plain(options) for options in told) == all(_drafted(options) for options in told):
        return fits
    keep = _plain if all(_plain(options) for options in told) else _drafted
    return [keep(options) for options in fits]


def _fits(run: "Run") -> list[Deployed]:
    """Rules 1 and 2; nothing where no published deployment agrees with the labels."""
    what = (run.engine, _shipped(run), run.system, run.precision, run.prompt, run.output)
    published = [d for d in deployments(*what, measured=run.measured) if _image(d, run.image)]
    agreeing = [d for d in published if _agrees(d, run)]
    if not agreeing:
        return []
    exact = [d for d in agreeing if run.concurrency in d.concurrencies]
    if exact or run.sides[0].told:
        return exact
    nearest = min(_distance(d, run.concurrency) for d in agreeing)
    return [d for d in agreeing if _distance(d, run.concurrency) <= nearest + 1e-9]


def _image(deployed: Deployed, image: str) -> bool:
    return not (deployed.image and image) or image.endswith(deployed.image)


def _agrees(deployed: Deployed, run: "Run") -> bool:
    prefill, decode = run.sides
    p, d = deployed.prefill, deployed.decode
    groups = (prefill.group, decode.group)
    if prefill.told and decode.told:
        return (p.count, d.count, p.group, d.group) == (prefill.workers, decode.workers, *groups)
    if groups == (p.group, d.group) or groups == (1, 1):
        return True
    return groups[0] == groups[1] == deployed.gpus


def _distance(deployed: Deployed, concurrency: int) -> float:
    return min(abs(math.log(c / concurrency)) for c in deployed.concurrencies)


def _assign(runs: Sequence["Run"], fits: list[list[Deployed]]) -> list[int]:
    """Rules 4 and 5: the index of each run's deployment among those that fit (0 if none does)."""
    chosen: list[int | None] = [0 if len(options) < 2 else None for options in fits]
    alike: dict[tuple[object, ...], list[int]] = {}
    for i, run in enumerate(runs):
        if chosen[i] is None:
            alike.setdefault((run.concurrency, tuple(map(id, fits[i]))), []).append(i)
    for _ in range(2):
        scores = [[_support(runs, fits, chosen, i, d) for d in fits[i]] for i in range(len(runs))]
        for places in alike.values():
            for i, k in zip(places, _best(places, scores, fits), strict=True):
                chosen[i] = k
    return [k or 0 for k in chosen]


def _support(
    runs: Sequence["Run"],
    fits: list[list[Deployed]],
    chosen: list[int | None],
    i: int,
    deployed: Deployed,
) -> float:
    """How much of a run's neighbourhood in the export the same deployment explains."""
    total = 0.0
    for j, options in enumerate(fits):
        gap = abs(runs[j].place - runs[i].place)
        same_run = runs[j].concurrency == runs[i].concurrency
        if j == i or not 0 < gap <= NEAR or deployed not in options or same_run:
            continue
        known = chosen[j]
        if known is None:
            total += 1.0 / gap / len(options)
        elif options[known] == deployed:
            total += 1.0 / gap
    return total


def _best(
    places: list[int], scores: list[list[float]], fits: list[list[Deployed]]
) -> tuple[int, ...]:
    """The deployments of runs of equal labels: different ones, as far as there are enough."""
    options = fits[places[0]]
    indices = range(len(options))
    if len(places) > len(options):
        return tuple(k % len(options) for k in range(len(places)))
    if len(places) == 1:
        only = scores[places[0]]
        return (max(indices, key=lambda k: (only[k], not options[k].drafts, -k)),)
    return max(
        itertools.permutations(indices, len(places)),
        key=lambda chosen: (
            round(sum(scores[i][k] for i, k in zip(places, chosen, strict=True)), 9),
            chosen,
        ),
    )


def _served(run: "Run", options: list[Deployed], k: int) -> Served:
    if not options:
        return _unpublished(run)
    deployed = options[k]
    if run.concurrency not in deployed.concurrencies:
        note = f"no published deployment for concurrency {run.concurrency}: the nearest one's"
        return Served(deployed, OPEN, note)
    if run.sides[0].told or len(options) == 1:
        return Served(deployed, SURE)
    note = f"one of {len(options)} published deployments that agree with the labels"
    return Served(deployed, LIKELY, note)


def _unpublished(run: "Run") -> Served:
    """The labels themselves, if they tell the workers, else a stated rule."""
    model = _shipped(run)
    if run.sides[0].told and run.sides[1].told:
        sides = [_as_labelled(side) for side in run.sides]
        confidence, note = SURE, ""
    else:
        sides = [_assumed(run, side, model) for side in run.sides]
        confidence, note = ASSUMED, "no published deployment: one worker of each side is assumed"
    return Served(Deployed((run.concurrency,), sides[0], sides[1], 0, 0, 0), confidence, note)


def _as_labelled(side: "Side") -> Workers:
    return Workers(side.workers, side.tp, side.dp, side.ep)


def _assumed(run: "Run", side: "Side", model: str) -> Workers:
    gpus = side.group if side.group > 1 else SILENT_GPUS.get(run.system, 8)
    heads = load_model(model).heads
    data = bool(heads % gpus) or run.concurrency >= CROWD * gpus
    return workers(1, gpus, model, spread=data or side.ep > 1, data=data)


def _shipped(run: "Run") -> str:
    try:
        return known_model(run.model)
    except InputError:
        return ""
