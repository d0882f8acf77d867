"""How far the twin is from what was measured, against its bars: `python -m benchmarks.fidelity`.

Reads kernels and deployments below MLTWIN_DATA (or --data), refits and replays, and prints one
figure a key. Each group of keys can be asked for alone (--only). The local engine runs for real and
wants an otherwise idle machine; --local FOLDER takes the report of a run that was done.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .bars import Bar, Group, give, measure

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
    groups = {name: partial(take, options) for name, take in GROUPS.items()}
    results = measure(groups, names, BARS, lambda text: print(text, file=sys.stderr, flush=True))
    return give(results, BARS, as_json=chosen.json, out=chosen.out)


if __name__ == "__main__":
    sys.exit(main())
