"""The real engine: OpenVINO GenAI's continuous batching on the CPU, run step by step.

The loop is an open-loop client and the server in one thread: requests whose arrival has passed are
added, ``step()`` runs, tokens are collected, and so on. (``step()`` says nothing of what it did:
tokens are seen at the handles, sequences and blocks in the metrics.)
"""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import SERVICE, integers

from .graph import TinyLlama, import_openvino, model_folder
from .mirror import Rules
from .steplog import StepLog, machine_facts

_SLEEP_BELOW_S = 0.002  # the last stretch to an arrival is waited for awake
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Load:
    """Requests to run: tokens of each, and when it arrives (seconds, ascending).

    With ``concurrency`` > 0 arrivals are not looked at: so many requests are always in the engine.
    ``prompts``: token ids of the prompts; drawn from ``seed`` where None.
    """

    prompt: npt.NDArray[np.int64]
    output: npt.NDArray[np.int64]
    arrival: npt.NDArray[np.float64]
    concurrency: int = 0
    prompts: Sequence[npt.NDArray[np.int64]] | None = None
    seed: int = 0

    def __len__(self) -> int:
        return len(self.prompt)


class Engine:
    """A loaded engine. One at a time; ``run`` may be called again and again.

    Raises:
        InputError: openvino-genai is not installed, or does not take the model.
    """

    def __init__(
        self, rules: Rules | None = None, threads: int = 2, model: TinyLlama | None = None
    ) -> None:
        self._openvino = import_openvino()
        import openvino_genai

        self.rules = rules or Rules()
        self.model = model or TinyLlama()
        self.machine = machine_facts(threads)
        config = openvino_genai.SchedulerConfig()
        config.max_num_batched_tokens = self.rules.budget
        config.num_kv_blocks = self.rules.blocks
        config.dynamic_split_fuse = True
        config.enable_prefix_caching = self.rules.prefix_caching
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "KV_CACHE_PRECISION": "f16",
            "ENABLE_CPU_PINNING": False,
        }
        folder = model_folder(self.model)
        try:
            self._pipeline = openvino_genai.ContinuousBatchingPipeline(
                str(folder), config, "CPU", options
            )
        except RuntimeError as error:
            raise InputError(
                f"the engine does not take the model: {str(error).strip().splitlines()[-1]}",
                where=str(folder),
                mend="delete the folder, it is built again; or another openvino-genai",
            ) from None
        self._generation = openvino_genai.GenerationConfig
        self._next = 0

    def warm(self, progress: Progress | None = None) -> None:
        """Visit every number of tokens a step can have: the first visit costs far more."""
        for tokens in range(1, self.rules.budget + 1):
            self.run(_one(tokens, 1))
            if progress and tokens % 16 == 0:
                progress(tokens / self.rules.budget, "warming up")

    def run(self, load: Load, progress: Progress | None = None) -> StepLog:
        """Run the requests to their end; what happened, step by step."""
        run = _Run(self, load)
        collecting = gc.isenabled()
        gc.collect()
        gc.disable()
        try:
            return run.go(progress)
        finally:
            if collecting:
                gc.enable()

    def submit(self, ids: npt.NDArray[np.int64], output: int) -> Any:
        """Add a request; its handle."""
        config = self._generation()
        config.max_new_tokens = output
        config.ignore_eos = True
        config.do_sample = False
        self._next += 1
        tensor = self._openvino.Tensor(np.ascontiguousarray(ids[None, :], np.int64))
        return self._pipeline.add_request(self._next, tensor, config)

    def step(self) -> tuple[int, float]:
        """Run one step; sequences in it, and KV blocks in use."""
        self._pipeline.step()
        metrics = self._pipeline.get_metrics()
        return metrics.scheduled_requests, metrics.cache_usage

    @property
    def busy(self) -> bool:
        """Whether any request has not ended."""
        return bool(self._pipeline.has_non_finished_requests())


class _Run:
    """State of one run of the loop."""

    def __init__(self, engine: Engine, load: Load) -> None:
        self.engine, self.load = engine, load
        self.prompts = load.prompts or _draw_prompts(load, engine.model.vocabulary)
        self.log = StepLog(
            rules=engine.rules,
            prompt=load.prompt.tolist(),
            output=load.output.tolist(),
            arrival=load.arrival.tolist(),
            machine=engine.machine,
        )
        self.handles: dict[int, Any] = {}
        self.generated: list[list[int]] = [[] for _ in range(len(load))]
        self.added = 0
        self.added_at: list[float] = []

    def go(self, progress: Progress | None) -> StepLog:
        engine, log, total = self.engine, self.log, len(self.load)
        begun = time.perf_counter()
        while self.added < total or self.handles:
            now = time.perf_counter() - begun
            self._add(now)
            if not self.handles:
                self._wait(begun)
                continue
            scheduled, usage = engine.step()
            log.start.append(now)
            log.end.append(time.perf_counter() - begun)
            log.scheduled.append(scheduled)
            log.blocks.append(round(usage * engine.rules.blocks / 100))
            self._collect(scheduled)
            if progress and len(log.start) % 64 == 0:
                progress((self.added - len(self.handles)) / total, "")
        if self.load.concurrency:
            log.arrival = self.added_at
        if engine.rules.prefix_caching:
            log.tokens = [
                [*ids.tolist(), *made]
                for ids, made in zip(self.prompts, self.generated, strict=True)
            ]
        return log

    def _add(self, now: float) -> None:
        load = self.load
        if load.concurrency:
            while self.added < len(load) and len(self.handles) < load.concurrency:
                self.added_at.append(now)
                self._submit()
            return
        while self.added < len(load) and load.arrival[self.added] <= now:
            self._submit()

    def _submit(self) -> None:
        index = self.added
        handle = self.engine.submit(self.prompts[index], int(self.load.output[index]))
        self.handles[index] = handle
        self.added += 1

    def _wait(self, begun: float) -> None:
        while True:
            left = self.load.arrival[self.added] - (time.perf_counter() - begun)
            if left <= 0:
                return
            if left > _SLEEP_BELOW_S:
                time.sleep(left - _SLEEP_BELOW_S)

    def _collect(self, scheduled: int) -> None:
        emitted = []
        for index, handle in list(self.handles.items()):
            if handle.can_read():
                ids = [i for made in handle.read().values() for i in made.generated_ids]
                if ids:  # an ignored request is told so without a token
                    emitted.append(index)
                self.generated[index].extend(ids)
                if len(self.generated[index]) >= self.load.output[index]:
                    del self.handles[index]
        self.log.emitted.append(emitted)
        if scheduled == 0 and not self.engine.busy:
            self.log.ignored.extend(self.handles)
            self.handles.clear()


def _one(prompt: int, output: int) -> Load:
    return Load(np.array([prompt]), np.array([output]), np.zeros(1))


def _draw_prompts(load: Load, vocabulary: int) -> list[npt.NDArray[np.int64]]:
    """Random token ids, keyed by the request."""
    return [
        integers(load.seed, SERVICE, request, vocabulary, np.arange(int(n)))
        for request, n in enumerate(load.prompt)
    ]
