"""Collectives over several devices of one node: one process a device, NCCL on CUDA, gloo else."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mltwin.sim.errors import InputError

from .points import Point
from .timing import QUICK, Effort, time_call

TIMEOUT_S = 1800


def time_collectives(
    points: Sequence[Point], device: str, *, quick: bool = False
) -> list[tuple[Point, dict[str, Any]]]:
    """Results of collective points, timed by rank 0 of as many processes as each asks for.

    Raises:
        InputError: a process failed; its last line is in the message.
    """
    results: list[tuple[Point, dict[str, Any]]] = []
    for gpus in sorted({p["gpus"] for p in points}):
        results += _time_group([p for p in points if p["gpus"] == gpus], gpus, device, quick)
    return results


def _time_group(
    points: list[Point], gpus: int, device: str, quick: bool
) -> list[tuple[Point, dict[str, Any]]]:
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.json"
        job.write_text(json.dumps({"points": points, "device": device, "quick": quick}))
        common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
        ranks = [
            subprocess.Popen(
                [sys.executable, "-m", "mltwin.calibration.measure.collectives", str(job)],
                env={**os.environ, **common, "RANK": str(rank), "WORLD_SIZE": str(gpus)},
                stdout=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(gpus)
        ]
        try:
            outputs = [rank.communicate(timeout=TIMEOUT_S) for rank in ranks]
        finally:
            for rank in ranks:
                rank.kill()
    for number, (rank, (_, errors)) in enumerate(zip(ranks, outputs, strict=True)):
        if rank.returncode != 0:
            last = (errors.strip().splitlines() or ["no message"])[-1]
            raise InputError(f"collectives over {gpus}: rank {number} failed: {last}")
    seconds = [json.loads(line) for line in outputs[0][0].splitlines()]
    return list(zip(points, seconds, strict=True))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _work(job: dict[str, Any]) -> None:
    """What each rank does: run every point in order; rank 0 prints its times."""
    import torch
    import torch.distributed as dist

    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    cuda = job["device"] == "cuda"
    if cuda:
        torch.cuda.set_device(rank)
    dist.init_process_group("nccl" if cuda else "gloo")
    effort = QUICK if job["quick"] else Effort()
    for point in job["points"]:
        call = _call(torch, dist, point, world, "cuda" if cuda else "cpu")
        result = time_call(_agreed_sampler(torch, dist, call, cuda), effort)
        if rank == 0:
            print(json.dumps(result), flush=True)
    dist.destroy_process_group()


def _call(torch: Any, dist: Any, point: Point, world: int, device: str) -> Any:
    """``bytes`` is what each rank gives (all-reduce, all-gather) or holds before the exchange."""
    count = max(world, point["bytes"] // 2 // world * world)
    mine = torch.ones(count, dtype=torch.bfloat16, device=device)
    part = torch.empty(count // world, dtype=torch.bfloat16, device=device)
    calls = {
        "all_reduce": lambda: dist.all_reduce(mine),
        "all_gather": lambda: dist.all_gather(list(mine.chunk(world)), part),
        "reduce_scatter": lambda: dist.reduce_scatter_tensor(part, mine),
        "all_to_all": lambda: dist.all_to_all_single(torch.empty_like(mine), mine),
    }
    return calls[point["name"]]


def _agreed_sampler(torch: Any, dist: Any, call: Any, cuda: bool) -> Any:
    """All ranks must make equally many calls, so each adopts the slowest rank's time."""
    import time

    def sample(calls: int) -> float:
        dist.barrier()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        if cuda:
            torch.cuda.synchronize()
        taken = torch.tensor([time.perf_counter() - start], dtype=torch.float64)
        taken = taken.cuda() if cuda else taken
        dist.all_reduce(taken, op=dist.ReduceOp.MAX)
        return float(taken.item())

    return sample


if __name__ == "__main__":
    _work(json.loads(Path(sys.argv[1]).read_text()))
