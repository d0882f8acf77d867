"""How often the gate sees what is there, and how often what is not.

Each trial makes a baseline of seeds that no other trial has and checks it, through files, as users
do. All default metrics are guarded with default tolerances; a trial counts as caught where the gate
fails with exit code 1.

- `gate_power_pct`: the GPUs take 2 % longer; 10 seeds, paired.
- `gate_false_pct`: nothing has changed; 10 seeds, paired. The runs are then the same to the last
  bit, so any alarm at all would be an error of the gate.
- `gate_harmless_false_pct`: a random router draws other numbers of the same law; 10 seeds, paired.
  Every run is another, the true difference is 0: the harder case, which can go wrong.
- `gate_remapped_false_pct`: nothing has changed but every random draw, as after another sampler:
  30 seeds against 30 others, no pairs. As hard.
- `gate_remapped_power_pct`: the same with GPUs 10 % slower, to show what losing the pairs costs.
"""

import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

SEEDS, UNPAIRED = 10, 30
TRIALS = {
    "power": 200,
    "false": 200,
    "harmless_false": 200,
    "remapped_false": 200,
    "remapped_power": 50,
}
SLOWER, MUCH_SLOWER = 1.02, 1.10
# Far from any seed of a baseline: the draws of a changed sampler.
ELSEWHERE = 1_000_000_000
WORKERS = 2

# Two H100 that serve conversations, well loaded: 40 % of the time they prefill, 55 % they decode.
SCENARIO = """\
system = "serving"

[workload.trace]
requests = 2000
arrivals = {{ process = "poisson", rate_per_s = 26.0 }}
prompt = {{ law = "lognormal", p50 = 1020, p90 = 2880 }}
output = {{ law = "lognormal", p50 = 130, p90 = 420 }}

[model]
name = "llama-3.1-8b"

[cluster.mixed]
replicas = 2
tp = 1

[policy]
route = "{route}"

[slo]
ttft_ms = 500.0
tpot_ms = 30.0
"""
# Like `random` of mltwin.policies.routing, which takes the even draws.
OTHER_DRAWS = """\
from mltwin.models.serving.hooks import PREFILL_ROLE
from mltwin.policies import policy
from mltwin.policies.views import count_serving, nth_serving
from mltwin.sim.rng import ROUTING, keyed_below


@policy("route")
def odd_draws(request, replicas, _hits, ctx, _params, _memory):
    able = count_serving(replicas, PREFILL_ROLE)
    if able == 0:
        return -1
    draw = keyed_below(ctx.seed, ROUTING, ctx.request, 2 * request.attempts + 1, able)
    return nth_serving(replicas, PREFILL_ROLE, draw)
"""


def figures() -> tuple[dict[str, float], dict[str, Any]]:
    """The shares in per cent, and for each case the trials and a 95 % bound on the truth."""
    found: dict[str, float] = {}
    detail: dict[str, Any] = {
        "scenario": SCENARIO.format(route="..."),
        "seeds": SEEDS,
        "unpaired_seeds": UNPAIRED,
    }
    slow = {"cluster.mixed.time_scale": SLOWER}
    much = {"cluster.mixed.time_scale": MUCH_SLOWER}
    other = {"policy.route": "other_draws.py:odd_draws"}
    start = 0
    for case, count, route, changes in (
        ("power", SEEDS, "least_requests", slow),
        ("false", SEEDS, "least_requests", {}),
        ("harmless_false", SEEDS, "random", other),
        ("remapped_false", UNPAIRED, "least_requests", {}),
        ("remapped_power", UNPAIRED, "least_requests", much),
    ):
        many = TRIALS[case]
        remapped = case.startswith("remapped")
        reports = _trials(many, count, start, route, changes, remapped=remapped)
        start += many * count
        caught = sum(report["exit_code"] == 1 for report in reports)
        found[f"gate_{case}_pct"] = 100.0 * caught / len(reports)
        detail[case] = _told(reports, caught)
    return found, detail


def _trials(
    trials: int, count: int, start: int, route: str, changes: dict[str, Any], *, remapped: bool
) -> list[dict[str, Any]]:
    """What the gate said in each of so many trials."""
    with tempfile.TemporaryDirectory() as folder:
        scenario = Path(folder) / "chat.toml"
        scenario.write_text(SCENARIO.format(route=route), "utf-8")
        (Path(folder) / "other_draws.py").write_text(OTHER_DRAWS, "utf-8")

        def one(trial: int) -> dict[str, Any]:
            return _trial(scenario, trial, count, start + trial * count, changes, remapped)

        with ThreadPoolExecutor(WORKERS) as pool, _remapping():
            # The first alone: it loads and compiles the policies.
            return [one(0), *pool.map(one, range(1, trials))]


def _trial(
    scenario: Path, trial: int, count: int, start: int, changes: dict[str, Any], remapped: bool
) -> dict[str, Any]:
    """Make a baseline of these seeds and check it."""
    import mltwin as mt

    path = scenario.with_name(f"{trial}.json")
    mt.make_baseline(
        scenario, path, reason="benchmark", seeds=count, hold=count, start=start, workers=1
    )
    _here.shift = ELSEWHERE if remapped else 0
    try:
        report = mt.check(path, changes=changes, workers=1)
    finally:
        _here.shift = 0
    (part,) = report.parts
    assert part.status == "compared" and part.streams == remapped, part
    return report.data()


_here = threading.local()


@contextmanager
def _remapping() -> Iterator[None]:
    """Let runs of a thread that asks for it draw from other seeds than they are told."""
    from dataclasses import replace

    from mltwin.gate import check as module

    own = module.run_all

    def shifted(jobs: Any, **options: Any) -> Any:
        shift = getattr(_here, "shift", 0)
        runs = own([(scenario, seed + shift) for scenario, seed in jobs], **options)
        return [replace(run, seed=run.seed - shift) for run in runs]

    with patch.object(module, "run_all", shifted):
        yield


def _told(reports: list[dict[str, Any]], caught: int) -> dict[str, Any]:
    """Counts, by verdict and by metric, and where the true share lies with 95 %."""
    from scipy.stats import beta

    n = len(reports)
    metrics = [line for r in reports for part in r["scenarios"] for line in part["metrics"]]
    verdicts: dict[str, int] = {}
    by_metric: dict[str, int] = {}
    for line in metrics:
        verdicts[line["verdict"]] = verdicts.get(line["verdict"], 0) + 1
        if line["verdict"] == "regression":
            by_metric[line["metric"]] = by_metric.get(line["metric"], 0) + 1
    low = float(beta.ppf(0.025, caught, n - caught + 1)) if caught else 0.0
    high = float(beta.ppf(0.975, caught + 1, n - caught)) if caught < n else 1.0
    return {
        "trials": n,
        "caught": caught,
        "true_share_pct": [round(100 * low, 2), round(100 * high, 2)],
        "metrics_guarded": len(metrics) // n,
        "verdicts": verdicts,
        "regressions_by_metric": by_metric,
    }
