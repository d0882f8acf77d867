"""A toy system for the tests of sweeps, importable in worker processes.

Each run writes a line to the file that FLIP_LOG names. As a script it makes a sweep until it is
done or killed, `flipping.py FOLDER POINTS SEEDS`, and says "started" when the first row is there.
"""

import itertools
import os
import sys
import time
from typing import Any, Literal

import numpy as np
from pydantic import Field

import mltwin as mt
from mltwin.sim.rng_arrays import SERVICE, uniforms


class FlipScenario(mt.Scenario):
    """So many flips of a coin; may be slow, fail, or end its process."""

    system: Literal["flip"] = "flip"
    flips: int = Field(100, ge=1)
    heads: float = Field(0.5, ge=0, le=1)
    colour: Literal["red", "blue"] = "red"
    wait_s: float = Field(0.0, ge=0)
    fail_on: int | None = None
    die_on: int | None = None
    table: str = Field("", description="a file that the run depends on")

    def simulate(self, seed: int, **options: object) -> mt.Result:
        """Flip; say in the log first what is run."""
        if os.environ.get("FLIP_LOG"):
            with open(os.environ["FLIP_LOG"], "a", encoding="utf-8") as file:
                file.write(f"{os.getpid()} {self.flips} {self.heads} {seed}\n")
        if self.wait_s:
            time.sleep(self.wait_s)
        if self.fail_on == self.flips:
            raise mt.InputError(f"{self.flips} flips are\nnot to my taste", where="flips")
        if self.die_on == self.flips:
            os._exit(7)
        up = uniforms(seed, SERVICE, np.arange(self.flips)) < self.heads
        metrics: dict[str, Any] = {"up": float(up.sum()), "share_s": float(up.mean())}
        if self.colour == "blue":
            metrics["blues"] = 1.0
        return mt.Result(metrics, tables={"flips": {"up": up.astype(np.int8)}})


def main() -> None:
    """Sweep with small, frequent files and merges, so that kills hit those too."""
    import pandas  # PyArrow loads it with the first array, longer than a test would wait
    import pyarrow.parquet

    from mltwin.sweeps import identity, run, store

    del pandas, pyarrow
    # An edit of the package between two lives would rightly start all runs anew.
    identity.code_hash = run.code_hash = lambda: "this code"  # type: ignore[assignment]
    store.FLUSH_S, store._MOST_SMALL_PARTS = 0.02, 3  # type: ignore[misc]
    folder, points, seeds = sys.argv[1:]
    base, calls = FlipScenario(wait_s=0.001), itertools.count()
    space = {"flips": {"from": 1, "to": int(points), "steps": int(points)}}

    def progress(done: int, total: int) -> None:
        if next(calls) == 1:  # the first call tells of what was there before
            print("started", flush=True)

    found = run.sweep(base, space, seeds=int(seeds), store=folder, workers=2, progress=progress)
    print(found.digest, flush=True)


if __name__ == "__main__":
    main()
