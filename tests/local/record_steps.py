"""Record runs of the real engine as step logs: ``python tests/local/record_steps.py FOLDER``.

Made once on the machine that the logs name; the tests replay them anywhere. A cut through what the
scheduler does: open loop below and past capacity, a backlog, a closed loop, too few blocks, a
prompt that never fits, prefixes shared in whole blocks and in part.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mltwin.calibration.local.engine import Engine, Load
from mltwin.calibration.local.mirror import Rules
from mltwin.calibration.local.predict import draw_requests
from mltwin.calibration.local.replay import step_match

THREADS = 2


@dataclass(frozen=True)
class Case:
    """A run: how the engine is set up, and what arrives."""

    rules: Rules
    requests: int
    rate: float = 0.0  # a second; 0: all at once
    concurrency: int = 0
    shared: bool = False
    seed: int = 0


ROOMY, CACHED = Rules(), Rules(prefix_caching=True)
CASES = {
    "open-slow": Case(ROOMY, 250, rate=12.0, seed=1),
    "open-fast": Case(ROOMY, 250, rate=24.0, seed=2),
    "open-past": Case(ROOMY, 250, rate=60.0, seed=3),
    "backlog": Case(ROOMY, 200, seed=4),
    "closed": Case(ROOMY, 80, concurrency=6, seed=5),
    "small-budget": Case(Rules(budget=48), 60, rate=20.0, seed=6),
    "blocks-100": Case(Rules(blocks=100), 80, seed=7),
    "blocks-60": Case(Rules(blocks=60), 80, rate=40.0, seed=8),
    "blocks-30": Case(Rules(blocks=30), 60, seed=9),
    "never-fits": Case(Rules(blocks=6), 12, seed=10),
    "prefix": Case(CACHED, 60, rate=20.0, shared=True, seed=11),
    "prefix-backlog": Case(CACHED, 60, shared=True, seed=12),
    "prefix-closed": Case(CACHED, 60, concurrency=6, shared=True, seed=13),
    "prefix-blocks-100": Case(Rules(blocks=100, prefix_caching=True), 60, shared=True, seed=14),
    "prefix-blocks-40": Case(
        Rules(blocks=40, prefix_caching=True), 60, rate=30.0, shared=True, seed=15
    ),
}


def load_of(case: Case) -> Load:
    """The requests of a case."""
    drawn = draw_requests(case.requests, case.rate or 1.0, case.seed)
    arrival = drawn.arrival if case.rate else np.zeros(case.requests)
    if not case.shared:
        return Load(drawn.prompt, drawn.output, arrival, case.concurrency, seed=case.seed)
    prompts = shared_prompts(case)
    lengths = np.array([len(ids) for ids in prompts])
    return Load(lengths, drawn.output, arrival, case.concurrency, prompts, case.seed)


def shared_prompts(case: Case) -> list[np.ndarray]:
    """Prompts that begin like one another: five stems, some cut short, most with an own tail."""
    random = np.random.default_rng([case.seed, 10])
    stems = [random.integers(0, 256, int(n)) for n in random.integers(20, 300, 5)]
    prompts = []
    for _ in range(case.requests):
        stem = stems[random.integers(len(stems))]
        keep = len(stem) if random.random() < 0.7 else int(random.integers(1, len(stem) + 1))
        tail = random.integers(0, 256, int(random.integers(0, 100)) if random.random() < 0.8 else 0)
        prompts.append(np.concatenate([stem[:keep], tail]))
    return prompts


def main(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or CASES:
        log = Engine(CASES[name].rules, THREADS).run(load_of(CASES[name]))
        log.save(folder / f"{name}.json.gz")
        print(name, step_match(log), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
