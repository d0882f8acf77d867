"""How far fitted kernels are from measured ones that they have not seen.

Five questions, each an error on rows kept from the answer:

- *unseen shapes*: a fit to four fifths of the shapes, scored on the last fifth, beside a
  roofline, a random forest and nearest neighbours on the same split and beside the noise of the
  measurements;
- *shipped profile*: on rows whose shape it was not fitted to, and, where the file is not the one
  of the fit, on those whose shape it knows;
- *held-out model*: no shape of one model in the fit;
- *held-out GPU*: another GPU's profile, scaled by the data sheets;
- *transferred profile*: a shipped profile of a GPU that was not measured for it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.sim.errors import InputError

from .kernel_errors import Mask, count_shapes, errors_of, row_of
from .kernel_others import OTHERS
from .kernel_report import (
    HELD_GPU,
    HELD_MODEL,
    NOISE,
    OURS,
    SERVED,
    SHIPPED,
    SHIPPED_KNOWN,
    TRANSFERRED,
    UNSEEN,
    KernelReport,
    KernelRow,
)

if TYPE_CHECKING:
    from mltwin.calibration.cases import Case
    from mltwin.calibration.fit import FitError
    from mltwin.calibration.sources import Source
    from mltwin.calibration.tables import Index

HELD_OUT_MODEL = "llama-3.1-70b"
MODEL_OPERATORS = ("gemm.bfloat16", "decode.bfloat16.128", "prefill.bfloat16.128")
TPS = (1, 2, 4, 8)
NEIGHBOURS_OF = {
    "h100-sxm-80gb": "a100-sxm-80gb",
    "b200": "h100-sxm-80gb",
    "rtx-pro-6000": "l40s",
}
"""A GPU and the one it is predicted from."""
# Of fewer rows nothing is fitted; the shipped profile is still scored on them.
LEAST_ROWS = {"gemm": 1000, "decode": 200, "prefill": 200, "moe": 50, "collective": 10}


@dataclass(frozen=True)
class _Task:
    """One operator of one GPU, for one process."""

    index: "Index"
    others: "Index | None"
    source: "Source"
    operator: str
    refit: bool
    data: Path | None = None


def validate_kernels(
    data: str | Path,
    gpus: Sequence[str] | None = None,
    progress: Callable[[float, str], None] | None = None,
    *,
    refit: bool = True,
    jobs: int | None = None,
) -> KernelReport:
    """Score fitted kernels on shapes, heads, a model and a GPU that they have not seen.

    Args:
        data: the data folder, its ``kernels``, any folder or file of tables in the same form.
        gpus: names of shipped profiles; None: all that the folder has tables of.
        progress: called with (share, text).
        refit: False scores only what is shipped.
        jobs: processes; None: one a core, at most 4.

    Raises:
        InputError: a name that is no shipped profile, no table of it, or a damaged table.
    """
    from mltwin.calibration.tables import index_tables

    index = index_tables(data)
    notes: list[str] = []
    others = _package(notes)
    chosen = _sources(gpus, index, others, notes)
    tasks = [
        _Task(index, None, source, operator, refit, Path(data))
        for source, _ in chosen
        for operator in OTHERS
    ]
    for source, tables in chosen:
        for operator in _operators(tables, source):
            tasks.append(_Task(tables, others, source, operator, refit))
    rows: list[KernelRow] = []
    for number, (some, said) in enumerate(_run(tasks, jobs)):
        rows += some
        notes += said
        if progress:
            task = tasks[number]
            progress((number + 1) / len(tasks), f"{task.source.name} {task.operator}")
    if not rows:
        raise InputError(
            "holds no operator that a profile has", where=str(data), mend="; ".join(notes) or None
        )
    return KernelReport(tuple(rows), tuple(dict.fromkeys(notes)))


def _package(notes: list[str]) -> "Index | None":
    """The installed package's tables: other campaigns, and GPUs that the folder lacks."""
    from mltwin.calibration.silicon.package import package_folder
    from mltwin.calibration.tables import index_tables

    try:
        return index_tables(package_folder())
    except InputError as error:
        notes.append(f"no tables of other campaigns and of the H200: {error}")
        return None


def _sources(
    gpus: Sequence[str] | None, index: "Index", others: "Index | None", notes: list[str]
) -> list[tuple["Source", "Index"]]:
    from mltwin.calibration.sources import H200, SOURCES

    transferred = replace(H200, folder=H200.folder.replace("h100", "h200"))
    known = {source.name: source for source in (*SOURCES, transferred)}
    for name in gpus or ():
        if name not in known:
            raise InputError(f"no profile {name!r}", mend=f"use some of {list(known)}")
    found = []
    for name, source in known.items():
        if gpus is not None and name not in gpus:
            continue
        system = source.folder.rsplit("/", 1)[-1]
        there = any(name == system for name, _ in index.files)
        # Tables whose path names no system are those of the one GPU that was asked for.
        there = there or (
            gpus is not None and len(gpus) == 1 and ("" in {s for s, _ in index.files})
        )
        if there:
            found.append((source, index))
        elif (
            source.transfer_of and others is not None and any(s == system for s, _ in others.files)
        ):
            found.append((source, others))
            notes.append(f"{name}: tables of the installed package, the folder has none")
        else:
            notes.append(f"{name}: no tables of {system}")
    if gpus is None:
        systems = {source.folder.rsplit("/", 1)[-1] for source in known.values()}
        for system in sorted({name for name, _ in index.files} - systems - {""}):
            notes.append(f"{system}: no profile, its tables are not scored")
    if not found:
        raise InputError(
            "no tables of a GPU that has a profile", where=str(index.root), mend="; ".join(notes)
        )
    return found


def _operators(index: "Index", source: "Source") -> list[str]:
    """Names of the operators that the tables hold."""
    from mltwin.calibration.cases import cases

    return [case.operator for case in cases(index, source)]


def _run(tasks: list[_Task], jobs: int | None) -> Iterable[tuple[list[KernelRow], list[str]]]:
    """Results in the order of the tasks, the same for any number of processes."""
    import os

    from joblib import Parallel, delayed, parallel_config

    jobs = min(4, os.cpu_count() or 1) if jobs is None else jobs
    if jobs == 1:
        yield from map(_score, tasks)
        return
    with parallel_config(backend="loky", inner_max_num_threads=1):
        yield from Parallel(n_jobs=jobs, return_as="generator")(delayed(_score)(t) for t in tasks)


def _score(task: _Task) -> tuple[list[KernelRow], list[str]]:
    from mltwin.calibration.cases import case_of
    from mltwin.models.gpu import load_profile

    notes: list[str] = []
    if task.operator in OTHERS:
        return OTHERS[task.operator](task.data or Path(), task.source, task.refit), notes
    case = case_of(task.index, task.source, task.operator)
    profile = load_profile(task.source.name)
    if task.source.transfer_of:
        return _transferred(case, profile), notes
    if case.version not in (task.source.version, task.source.comm) and case.family != "collective":
        notes.append(f"{task.source.name} {case.operator}: {case.version}, not the profile's")
    rows = []
    if task.refit:
        rows += _unseen(task, case, notes)
        rows += _held_model(case)
    rows += _shipped(case, profile, notes)
    rows += _held_gpu(task, case)
    return rows, notes


def _unseen(task: _Task, case: "Case", notes: list[str]) -> list[KernelRow]:
    """A fit with a fifth of the shapes held out, baselines on the same split, and the noise."""
    from mltwin.calibration.baselines import baselines, between_campaigns

    held, name = case.held, case.source.name
    if len(case.rows) < LEAST_ROWS[case.family] or not held.any() or held.all():
        notes.append(f"{name} {case.operator}: {len(case.rows)} rows are too few to fit")
        return []
    shapes = count_shapes(case, held)
    rows = _fitted(UNSEEN, case, held, case.fit(), case.version)
    for predictor, other in baselines(case).items():
        rows.append(row_of(UNSEEN, name, case.operator, predictor, case.version, other, shapes))
    if case.family != "collective":
        noise = between_campaigns(case, task.index)
        if noise is None and task.others is not None:
            noise = between_campaigns(case, task.others)
        if noise is not None:
            basis = f"the same shapes in the closest other campaign, {noise[1]}"
            rows.append(row_of(UNSEEN, name, case.operator, NOISE, basis, noise[0], 0))
    return rows


def _fitted(
    task: str, case: "Case", held: Mask, fitted: "tuple[Any, FitError]", basis: str
) -> list[KernelRow]:
    """Our row of a fit. A collective's cost holds all sizes: only the fit's own error, of a table
    without those held out, is one of unseen sizes."""
    cost, error = fitted
    name, shapes = case.source.name, count_shapes(case, held)
    if case.family == "collective":
        return [row_of(task, name, case.operator, OURS, basis, error, shapes)]
    return [errors_of(task, case, held, case.predict(cost), basis)]


def _shipped(case: "Case", profile: Any, notes: list[str]) -> list[KernelRow]:
    """The shipped profile on shapes that it was not fitted to, or on another measurement."""
    from mltwin.calibration import read
    from mltwin.calibration.trained import unseen

    name, cost = case.source.name, case.cost_of(profile.operators)
    if cost is None:
        notes.append(f"{name} {case.operator}: the profile has no such operator")
        return []
    new = unseen(case, profile)
    if new is None:
        notes.append(f"{name} {case.operator}: not recorded which shapes it was fitted to")
        return []
    entry = next(p for p in profile.provenance if p.operator == case.operator)
    same = read.sha256(case.file) == entry.sha256
    rows = []
    for task, mask in ((SHIPPED, new), (SHIPPED_KNOWN, ~new)):
        if mask.any() and not (task == SHIPPED_KNOWN and same):
            rows += _scored(task, case.only(mask), cost, case.version)
    return rows


def _transferred(case: "Case", profile: Any) -> list[KernelRow]:
    cost = case.cost_of(profile.operators)
    if cost is None:
        return []
    return _scored(TRANSFERRED, case, cost, f"{case.version}, from {case.source.transfer_of}")


def _scored(task: str, case: "Case", cost: Any, basis: str) -> list[KernelRow]:
    """As it was measured, and as an iteration asks for it."""
    every = np.ones(len(case.rows), bool)
    rows = [errors_of(task, case, every, case.predict(cost), basis)]
    if case.family != "collective":
        rows.append(errors_of(task, case, every, case.predict_served(cost), basis, SERVED))
    return rows


def _held_model(case: "Case") -> list[KernelRow]:
    """No shape of one model in the fit; scored on all of them."""
    from mltwin.calibration.baselines import baselines

    if case.operator not in MODEL_OPERATORS or len(case.rows) < LEAST_ROWS[case.family]:
        return []
    own = _of_model(case)
    if not own.any():
        return []
    cost, _ = case.only(~own).fit()
    rows = [errors_of(HELD_MODEL, case, own, case.predict(cost), HELD_OUT_MODEL)]
    shapes, name = count_shapes(case, own), case.source.name
    for predictor, error in baselines(case, own).items():
        rows.append(
            row_of(HELD_MODEL, name, case.operator, predictor, HELD_OUT_MODEL, error, shapes)
        )
    return rows


def _of_model(case: "Case") -> Mask:
    """Rows of the model's own shapes at any of the usual splits."""
    from mltwin.models.llm.config import load_model

    model = load_model(HELD_OUT_MODEL)
    if case.family == "gemm":
        own = {(g.n, g.k) for tp in TPS for g in model.gemms(tp)}
        pairs = zip(case.rows["n"].tolist(), case.rows["k"].tolist(), strict=True)
    else:
        own = {(model.heads // tp, max(1, model.kv_heads // tp)) for tp in TPS}
        pairs = zip(case.rows["heads"].tolist(), case.rows["kv_heads"].tolist(), strict=True)
    return np.array([pair in own for pair in pairs], dtype=bool)


def _held_gpu(task: _Task, case: "Case") -> list[KernelRow]:
    """The profile of another GPU and its roofline, both scaled by the data sheets."""
    from mltwin.calibration.baselines import ROOFLINE, roofline_constants, roofline_times
    from mltwin.calibration.cases import case_of
    from mltwin.calibration.scale import scale_cost
    from mltwin.calibration.sources import SOURCES
    from mltwin.models.gpu import load_profile

    name = case.source.name
    near = NEIGHBOURS_OF.get(name)
    if near is None or case.family == "collective":
        return []
    old = load_profile(near)
    cost = case.cost_of(old.operators)
    if cost is None:
        return []
    source = next(s for s in SOURCES if s.name == near)
    dtype = case.operator.split(".")[1]
    gain = case.source.narrow.get(dtype, 2.0) / source.narrow.get(dtype, 2.0)
    scaled = scale_cost(case.family, cost, old.facts, case.source.facts, gain)
    every = np.ones(len(case.rows), bool)
    found = {OURS: case.predict(scaled)}
    system = source.folder.rsplit("/", 1)[-1]
    if any(s == system for s, _ in task.index.files):
        other = case_of(task.index, source, case.operator)
        found[ROOFLINE] = roofline_times(
            roofline_constants(other, np.ones(len(other.rows), bool)), case
        )
    return [
        errors_of(HELD_GPU, case, every, times, f"from {near}", predictor)
        for predictor, times in found.items()
    ]
