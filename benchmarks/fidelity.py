"""How far the twin is from what was measured, against its bars: `python -m benchmarks.fidelity`.

Reads kernels and deployments below MLTWIN_DATA (or --data), refits and replays, and prints one
figure a key. Each group of keys can be asked for alone (--only). The local engine runs for real and
wants an otherwise idle machine; --local FOLDER takes the report of a run that was done.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .serving import machine


class Bar(NamedTuple):
    """Most of a figure, or least where `at_least`."""

    bar: float
    at_least: bool = False

    def met(self, value: float) -> bool:
        return value >= self.bar if self.at_least else value <= self.bar


BARS: dict[str, Bar] = {
    "gemm_h100_unseen_median_pct": Bar(3),
    "gemm_h100_unseen_p95_pct": Bar(13),
    "attention_unseen_median_pct": Bar(3),
    "lowering_error_pct": Bar(1),
    "vllm_runs_mean_abs_pct": Bar(3),
    "silicon_tpot_median_pct": Bar(8),
    "silicon_ttft_median_pct": Bar(15),
    "silicon_all_tpot_median_pct": Bar(15),
    "silicon_all_ttft_median_pct": Bar(30),
    "silicon_fitted_tpot_median_pct": Bar(5),
    "silicon_fitted_ttft_median_pct": Bar(10),
    "silicon_answered_share": Bar(0.90, at_least=True),
    "local_step_match_pct": Bar(99.9, at_least=True),
    "local_engine_ttft_p50_pct": Bar(15),
    "local_engine_tpot_p50_pct": Bar(20),
}


class Options(NamedTuple):
    """data: folder of measurements; local: folder of a local report, or None to run the engine."""

    data: Path
    local: Path | None


class Group(NamedTuple):
    """Figures that one measurement gives, and more detail."""

    figures: dict[str, float]
    detail: dict[str, Any]


def _kernels(options: Options) -> Group:
    from mltwin.validation.kernels import validate_kernels

    report = validate_kernels(options.data)
    wanted = [key for key in BARS if key.startswith(("gemm_", "attention_"))]
    figures = {key: report.figures[key] for key in wanted}
    return Group(figures, {"figures": report.figures, "notes": report.notes})


def _lowering(options: Options) -> Group:
    """All shipped models on the fewest H100s that hold them (tensor parallel), 300 random batches
    each; the figure is the 95th percentile over all batches."""
    from mltwin.models.gpu.lowering_check import lowering_errors
    from mltwin.models.llm import model_names

    errors, detail = [], {}
    for name in model_names():
        model = _smallest(name)
        if model is None:
            continue
        found = lowering_errors(model, model.lower(8192, 8192), batches=300, seed=7)
        errors.append(found)
        p50, p95 = np.quantile(found, [0.5, 0.95])
        detail[f"{name} tp{model.tp}"] = {"p50_pct": 100 * p50, "p95_pct": 100 * p95}
    return Group(
        {"lowering_error_pct": 100 * float(np.quantile(np.concatenate(errors), 0.95))}, detail
    )


def _smallest(name: str) -> Any:
    """The model on the fewest H100s that hold it; None if eight do not."""
    from mltwin.models.gpu.iteration import IterationModel
    from mltwin.sim.errors import InputError

    for tp in (1, 2, 4, 8):
        try:
            model = IterationModel(name, "h100-sxm-80gb", tp=tp)
            model.kv_blocks(16)
        except InputError:
            continue
        return model
    return None


def _vllm_runs(options: Options) -> Group:
    from mltwin.validation.runs_llmservingsim import mean_abs_pct, validate_llmservingsim

    pairs = validate_llmservingsim(options.data / "groundtruth/llmservingsim", options.data)
    detail = {f"{p.row_id} {p.metric}": p.error_pct for p in pairs if p.metric.endswith("_mean")}
    return Group({"vllm_runs_mean_abs_pct": mean_abs_pct(pairs)}, detail)


def _silicon(options: Options) -> Group:
    from mltwin.validation import silicon
    from mltwin.validation.silicon_rows import development, read_runs

    outcomes = silicon.predict_runs(read_runs(options.data))
    parts = {
        "development fifth": [o for o in outcomes if development(o.run)],
        "the rest": [o for o in outcomes if not development(o.run)],
        "aggregated": [o for o in outcomes if not o.run.disaggregated],
        "disaggregated": [o for o in outcomes if o.run.disaggregated],
    }
    detail: dict[str, Any] = {"runs": len(outcomes)}
    for name, part in parts.items():
        detail[name] = {"runs": len(part), **silicon.figures(part)}
    return Group(silicon.figures(outcomes), detail)


def _local(options: Options) -> Group:
    if options.local is not None:
        found = json.loads((options.local / "report.json").read_text("utf-8"))["figures"]
    else:
        from mltwin.validation.local import validate_local

        found = validate_local(seed=1).figures()
    known = {key: value for key, value in found.items() if value is not None}
    wanted = {key: known[key] for key in BARS if key in known}
    return Group(wanted, {key: found[key] for key in found.keys() - wanted.keys()})


GROUPS: dict[str, Callable[[Options], Group]] = {
    "kernels": _kernels,
    "lowering": _lowering,
    "vllm_runs": _vllm_runs,
    "silicon": _silicon,
    "local": _local,
}


def measure(names: list[str], options: Options, tell: Callable[[str], None]) -> dict[str, Any]:
    """Take the figures of some groups; what fails is left out, with the reason."""
    from mltwin.sim.errors import InputError

    figures: dict[str, float] = {}
    details: dict[str, Any] = {}
    failures: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for name in names:
        tell(f"measuring {name} ...")
        started = time.perf_counter()
        try:
            group = GROUPS[name](options)
        except (InputError, OSError) as error:
            failures[name] = str(error)
            continue
        seconds[name] = round(time.perf_counter() - started, 1)
        figures |= group.figures  # also those without a bar, which are only reported
        details[name] = group.detail
    return {
        **figures,
        "figures": figures,
        "bars": {key: BARS[key].met(value) for key, value in figures.items() if key in BARS},
        "seconds": seconds,
        "details": details,
        "failures": failures,
        "machine": machine(),
    }


def show(results: dict[str, Any]) -> str:
    """The results as text."""
    lines = [f"{'key':34} {'value':>9} {'bar':>9}  met"]
    for key, met in results["bars"].items():
        bar = BARS[key]
        sign = ">=" if bar.at_least else "<="
        lines.append(f"{key:34} {results[key]:9.3f} {sign} {bar.bar:>6g}  {'yes' if met else 'NO'}")
    others = results["figures"].keys() - results["bars"].keys()
    lines += [f"{key:34} {results[key]:9.3f}" for key in sorted(others)]
    lines += [f"{name}: {reason}" for name, reason in results["failures"].items()]
    about = results["machine"]
    return "\n".join([*lines, f"{about['cpu']}, {about['cores']} cores, Python {about['python']}"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fidelity", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--data", type=Path, default=os.environ.get("MLTWIN_DATA"), metavar="DIR")
    parser.add_argument("--only", action="append", choices=list(GROUPS), help="may be repeated")
    parser.add_argument("--local", type=Path, metavar="DIR", help="a report of validate local")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON object there too")
    chosen = parser.parse_args()
    if chosen.data is None:
        parser.error("give --data DIR, or set MLTWIN_DATA")
    return chosen


def main() -> int:
    """Measure, print, write. The exit status is 1 if something could not be measured."""
    chosen = _arguments()
    names = chosen.only or list(GROUPS)
    options = Options(Path(chosen.data), chosen.local)
    results = measure(names, options, lambda text: print(text, file=sys.stderr, flush=True))
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    print(json.dumps(results) if chosen.json else show(results))
    return 1 if results["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
