"""The report of :mod:`mltwin.validation.kernels`: rows, tables, figures, a picture."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mltwin.plots import COLOURS, FAINT, new_figure, number_axis, save_figure
from mltwin.sim.errors import InputError
from mltwin.text import Cell, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNSEEN = "unseen shapes"
SHIPPED = "shipped profile, new shapes"
SHIPPED_KNOWN = "shipped profile, fitted shapes"
HELD_MODEL = "held-out model"
HELD_GPU = "held-out GPU"
TRANSFERRED = "transferred profile"
REPEATS = "repeats"
TASKS = (UNSEEN, SHIPPED, SHIPPED_KNOWN, HELD_MODEL, HELD_GPU, TRANSFERRED, REPEATS)
OURS, SERVED, NOISE = "mltwin", "as served", "noise"
PREDICTORS = (OURS, SERVED, "roofline", "random forest", "nearest neighbours", NOISE)
_ERRORS = "Median / p95 absolute error in per cent"
FILES = ("groups.csv", "report.md", "report.json", "errors.png")
_CAPTIONS = {
    UNSEEN: "A fit to four fifths of the shapes, scored on the last fifth; baselines on the same "
    "split. noise: the same shapes in the closest other campaign (other kernels too: an upper "
    "bound).",
    SHIPPED: "as served: what an iteration asks for, never falling as the batch grows, "
    "key-value caches read from memory (a benchmark that repeats a call finds small ones in L2).",
    SHIPPED_KNOWN: "The file is not the one of the fit: another measurement of its shapes, or one "
    "that holds its rows among others.",
    HELD_MODEL: "No shape of Llama-3.1-70B at TP 1, 2, 4, 8 in the fit; scored on all of them. "
    "gemm.float16: Vidur's models, each held out of a fit to the others.",
    HELD_GPU: "The profile of another GPU, scaled by the two data sheets; its roofline likewise.",
    TRANSFERRED: "A shipped profile of a GPU whose kernels nobody measured for it.",
    REPEATS: "The same shape timed twice in one campaign: fp16 GEMMs of Vidur.",
}


@dataclass(frozen=True)
class KernelRow:
    """The error of one predictor on one operator of one GPU.

    Attributes:
        task: one of ``TASKS``.
        gpu, operator: a profile's name; as in its provenance.
        predictor: one of ``PREDICTORS``.
        basis: version measured, model held out, or GPU predicted from.
        rows, shapes: rows scored, and how many shapes they are of.
        median_pct, p95_pct: absolute error in per cent.
        bias_pct: median signed error.
        median_low_pct, median_high_pct: 95 % interval of the median, shapes resampled; None where
            it was not made (baselines, collectives, one shape).
    """

    task: str
    gpu: str
    operator: str
    predictor: str
    basis: str
    rows: int
    shapes: int
    median_pct: float
    p95_pct: float
    bias_pct: float
    median_low_pct: float | None = None
    median_high_pct: float | None = None

    @property
    def family(self) -> str:
        """First word of the operator; all collectives are ``collective``."""
        kind = self.operator.split(".")[0]
        return "collective" if kind in ("all_reduce", "nccl") else kind


@dataclass(frozen=True)
class KernelReport:
    """What was scored, and what could not be and why."""

    rows: tuple[KernelRow, ...]
    notes: tuple[str, ...] = ()
    kind: ClassVar[str] = "groups"

    @property
    def figures(self) -> dict[str, float | None]:
        """Figures in per cent; None where the data does not hold them.

        All but those with ``served`` are of times as they were measured. The shipped profile on
        new shapes counts, else a refit on unseen ones. ``attention_unseen_*``: for each GPU, and
        for decode and prefill apart, the mean of the medians (p95s) of its groups (KV format,
        head size); then the mean of the two; then the mean over GPUs.
        """
        of = self._of
        h100 = {"gpu": "h100-sxm-80gb", "operator": "gemm.bfloat16"}
        return {
            "gemm_h100_unseen_median_pct": _mean(r.median_pct for r in of(**h100)),
            "gemm_h100_unseen_p95_pct": _mean(r.p95_pct for r in of(**h100)),
            "gemm_h100_served_median_pct": _mean(
                r.median_pct for r in of(predictor=SERVED, **h100)
            ),
            "gemm_h100_served_p95_pct": _mean(r.p95_pct for r in of(predictor=SERVED, **h100)),
            "attention_unseen_median_pct": self._attention(lambda r: r.median_pct),
            "attention_unseen_p95_pct": self._attention(lambda r: r.p95_pct),
            "attention_served_median_pct": self._attention(lambda r: r.median_pct, SERVED),
        }

    def _of(self, predictor: str = OURS, **wanted: str) -> list[KernelRow]:
        """Rows of the first task that has any: the shipped profile, then a refit."""
        for task in (SHIPPED, UNSEEN):
            found = [
                r
                for r in self.rows
                if r.task == task
                and r.predictor == predictor
                and all(getattr(r, name) == value for name, value in wanted.items())
            ]
            if found:
                return found
        return []

    def _attention(
        self, value: Callable[[KernelRow], float], predictor: str = OURS
    ) -> float | None:
        means = []
        for gpu in _once(r.gpu for r in self.rows):
            parts = [
                _mean(map(value, self._of(predictor, gpu=gpu, family=family)))
                for family in ("decode", "prefill")
            ]
            if None not in parts:
                means.append(_mean(p for p in parts if p is not None))
        return _mean(m for m in means if m is not None)

    def tables(self) -> list[Table]:
        """A summary by kind of operator, and a table for each task; collectives are averaged."""
        return [self._summary(), *(t for t in map(self._task_table, TASKS) if t.rows)]

    def _summary(self) -> Table:
        rows: list[list[Cell]] = []
        breaks = set()
        for task in TASKS:
            some = [r for r in self.rows if r.task == task]
            for family in _once(r.family for r in some):
                of = [r for r in some if r.family == family]
                gpus = len({r.gpu for r in of})
                groups = len({(r.gpu, r.operator) for r in of})
                rows.append([task, family, gpus, groups, *_errors(of, PREDICTORS)])
            breaks.add(len(rows) - 1)
        return Table(
            ["task", "operator", "GPUs", "groups", *PREDICTORS],
            rows,
            title=f"{_ERRORS}, means over groups",
            breaks=breaks,
        )

    def _task_table(self, task: str) -> Table:
        some = [r for r in self.rows if r.task == task]
        shown = [p for p in PREDICTORS if any(r.predictor == p for r in some)]
        ours = int(OURS in shown)  # which has an interval beside it
        rows: list[list[Cell]] = []
        breaks = set()
        for gpu in _once(r.gpu for r in some):
            here = [r for r in some if r.gpu == gpu]
            for label in _once(map(_label, here)):
                of = [r for r in here if _label(r) == label]
                # Noise is counted on its own pairs.
                scored = [r for r in of if r.predictor == OURS] or of
                errors = _errors(of, shown)
                errors[ours:ours] = [_interval(scored)] * ours
                rows.append([gpu, label, sum(r.rows for r in scored), *errors])
            breaks.add(len(rows) - 1)
        return Table(
            ["GPU", "operator", "rows", *shown[:ours], *["95 % of median"] * ours, *shown[ours:]],
            rows,
            title=f"{task}: {_ERRORS.lower()}",
            caption=_CAPTIONS.get(task, ""),
            breaks=breaks,
        )

    def markdown(self) -> str:
        """The tables, the figures and the notes."""
        lines = ["# Kernels: predicted against measured", ""]
        lines += [f"- `{k}`: {'-' if v is None else f'{v:.2f}'}" for k, v in self.figures.items()]
        lines += ["", *(table.markdown() for table in self.tables())]
        if self.notes:
            lines += ["", "Not scored, or of note:", "", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines) + "\n"

    def data(self) -> dict[str, Any]:
        """Figures, rows and notes, for JSON."""
        return {
            "figures": self.figures,
            "rows": [asdict(row) for row in self.rows],
            "notes": list(self.notes),
        }

    def csv(self) -> str:
        """One line a row, with a header."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [f.name for f in fields(KernelRow)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in self.rows)
        return text.getvalue()

    def plot(self, path: str | Path | None = None) -> "Figure":
        """A panel a GPU: bars to the median, whiskers to the p95, by operator and predictor.

        Raises:
            InputError: the file cannot be written.
        """
        some = [r for r in self.rows if r.task == UNSEEN] or list(self.rows)
        gpus = _once(r.gpu for r in some)
        with new_figure(
            -(-len(gpus) // 2), min(2, len(gpus)), (9.5, 0.6 + 2.5 * -(-len(gpus) // 2)),
            "Error of single kernels on what was held out: bars median, whiskers p95",
        ) as (figure, axes):  # fmt: skip
            for panel, gpu in zip(axes.flat, gpus, strict=False):
                _draw_gpu(panel, gpu, [r for r in some if r.gpu == gpu])
            for panel in list(axes.flat)[len(gpus) :]:
                panel.set_axis_off()
            handles, labels = axes.flat[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
            return save_figure(figure, path)

    def save(self, folder: str | Path) -> list[Path]:
        """Write ``FILES`` into a folder (made if missing); their paths.

        Raises:
            InputError: it cannot be written.
        """
        place = Path(folder)
        try:
            place.mkdir(parents=True, exist_ok=True)
            (place / "groups.csv").write_text(self.csv(), encoding="utf-8")
            (place / "report.md").write_text(self.markdown(), encoding="utf-8")
            text = json.dumps(self.data(), indent=1, allow_nan=False) + "\n"
            (place / "report.json").write_text(text, encoding="utf-8")
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", where=str(place)) from None
        self.plot(place / "errors.png")
        return [place / name for name in FILES]


def _errors(rows: Sequence[KernelRow], predictors: Sequence[str]) -> list[Cell]:
    """Median and p95 of each predictor, the means over rows."""
    cells: list[Cell] = []
    for predictor in predictors:
        of = [r for r in rows if r.predictor == predictor]
        median, p95 = _mean(r.median_pct for r in of), _mean(r.p95_pct for r in of)
        cells.append("-" if median is None else f"{median:.1f} / {p95:.1f}")
    return cells


def _interval(rows: Sequence[KernelRow]) -> str:
    """Of the median; groups that are averaged have none."""
    if len(rows) != 1 or rows[0].median_low_pct is None:
        return "-"
    return f"{rows[0].median_low_pct:.1f} to {rows[0].median_high_pct:.1f}"


def _label(row: KernelRow) -> str:
    return row.operator if row.family != "collective" else row.operator.rsplit(".", 1)[0]


def _draw_gpu(axes: Any, gpu: str, rows: Sequence[KernelRow]) -> None:
    families = _once(r.family for r in rows)
    shown = [p for p in PREDICTORS if p != SERVED and any(r.predictor == p for r in rows)]
    wide = 0.8 / len(shown)
    for j, predictor in enumerate(shown):
        colour = FAINT if predictor == NOISE else COLOURS[PREDICTORS.index(predictor) % 6]
        for i, family in enumerate(families):
            of = [r for r in rows if r.family == family and r.predictor == predictor]
            median, p95 = _mean(r.median_pct for r in of), _mean(r.p95_pct for r in of)
            if median is None or p95 is None:
                continue
            at = i - 0.4 + (j + 0.5) * wide
            axes.bar(at, median, 0.9 * wide, color=colour)
            axes.plot([at, at], [median, p95], color=colour, linewidth=1)
        axes.plot([], [], "s", color=colour, label=predictor)
    axes.set_xticks(range(len(families)), families)
    axes.grid(axis="x", visible=False)
    axes.set_title(gpu)
    axes.set_ylabel("absolute error, %")
    number_axis(axes, "y")


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return round(sum(found) / len(found), 3) if found else None


def _once(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
