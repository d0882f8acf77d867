"""`TrainingRunScenario`: a training job of days to months as a page of TOML.

Stragglers, failures, checkpoints, spare and missing nodes: how much of the time and the money
trains. The model behind it: `mltwin.models.training.reliability`.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from mltwin.sim.errors import InputError

from .fields import Section
from .result import Result
from .scenario import Scenario


class Job(Section):
    """What is trained, on how many nodes."""

    nodes: int = Field(256, ge=1, le=100_000, description="that the job wants")
    gpus_per_node: int = Field(8, ge=1, le=1024, description="for GPU hours and dollars")
    step_s: float = Field(10.0, gt=0, le=1e6, description="of an undisturbed step on all nodes")
    days: float = Field(30.0, gt=0, le=3650, description="of undisturbed steps to do")
    unit_nodes: int = Field(
        1, ge=1, le=100_000, description="of one model replica: an elastic job has whole ones"
    )
    fixed_share: float = Field(
        0.0, ge=0, le=1, description="of a step that does not last longer on fewer nodes"
    )
    update_share: float = Field(
        0.05, ge=0, le=1, description="of a step: the update, for which a copy must be done"
    )

    @model_validator(mode="after")
    def _fits(self) -> "Job":
        if self.nodes % self.unit_nodes:
            raise InputError(
                f"{self.nodes} nodes in replicas of {self.unit_nodes}",
                where="job.unit_nodes",
                mend="give a divisor of the nodes",
            )
        if self.step_s > self.days * 86400:
            raise InputError(
                f"a step of {self.step_s:g} s in {self.days:g} days",
                where="job.step_s",
                mend="give a shorter step or more days",
            )
        return self


class Cluster(Section):
    """Nodes besides, what fails with them, and their price."""

    spares: int = Field(4, ge=0, le=100_000, description="nodes that stand by")
    dollars_per_gpu_hour: float = Field(2.0, ge=0, le=1e4, description="of each GPU that is up")
    rack_nodes: int = Field(16, ge=1, le=100_000, description="that fail together with their rack")
    rack_mtbf_days: float | None = Field(
        None, gt=0, le=1e7, description="between failures of one rack; none: racks do not fail"
    )


class Stragglers(Section):
    """How steps differ: the job waits for the slowest node."""

    kind: Literal["none", "lognormal", "measured"] = Field(
        "lognormal", description="law of a node's factor on its step time, drawn for each step"
    )
    sigma: float = Field(0.02, ge=0, le=3, description="lognormal: of the factor's logarithm")
    measured: Literal["minibatch", "vm_compute", "vm_memory", "vm_requests"] = Field(
        "minibatch", description="measured: which quantiles (Alibaba's jobs, Azure's machines)"
    )
    slow_days: float | None = Field(
        None, gt=0, le=1e7, description="until a node turns slow, on average; none: never"
    )
    slow_factor: float = Field(1.3, ge=1, le=1000, description="of a slow node's steps")
    detect_hours: float | None = Field(
        6.0, ge=0, le=1e6, description="until a slow node is known and replaced by a spare"
    )


class Failures(Section):
    """When nodes and processes fail, and how long repairs take; or which nodes a trace has."""

    kind: Literal["none", "exponential", "weibull", "trace"] = Field(
        "exponential", description="law of the time between a node's failures"
    )
    mtbf_days: float = Field(
        260.0, gt=0, le=1e7, description="of a node; 260: Llama 3 (54 days, 2048 nodes, 419)"
    )
    shape: float = Field(0.7, gt=0, le=20, description="weibull; below 1 failures come in bursts")
    crash_share: float = Field(
        0.2, ge=0, le=1, description="of failures that take the process, not the node"
    )
    repair_hours: float = Field(24.0, ge=0, le=1e5, description="on average")
    repair: Literal["exponential", "fixed"] = Field("exponential", description="law of repairs")
    trace: str | None = Field(
        None, description="trace: a file of nodes that come and go (time_s,event,node)"
    )

    @model_validator(mode="after")
    def _fits(self) -> "Failures":
        if (self.kind == "trace") != (self.trace is not None):
            raise InputError(
                "kind = 'trace' and `trace` go together",
                where="failures",
                mend="give both or neither",
            )
        return self


class Checkpoint(Section):
    """How the state is saved, and how often."""

    strategy: Literal["sync", "async", "lazy", "memory"] = Field(
        "sync",
        description="sync: stop and write; async: stop for the copy; lazy: copy beside the next "
        "step (DataStates); memory: to a group's host memory (Gemini)",
    )
    interval: Literal["fixed", "young", "daly", "adaptive"] = Field(
        "daly", description="of work between checkpoints: given, or from cost and failures"
    )
    minutes: float = Field(30.0, gt=0, le=1e6, description="fixed: of work between checkpoints")
    state_gb: float = Field(
        1000.0, ge=0, le=1e7, description="of the whole job, 10^9 bytes; 14 bytes a parameter"
    )
    storage_gb_per_s: float = Field(25.0, gt=0, le=1e6, description="of the storage system")
    host_gb_per_s: float = Field(100.0, gt=0, le=1e6, description="GPUs of a node to its memory")
    peer_gb_per_s: float = Field(25.0, gt=0, le=1e6, description="of a node's network")
    copies: int = Field(
        2, ge=1, le=1024, description="memory, live: nodes of a group that hold each other's state"
    )
    storage_every: int = Field(
        100, ge=0, le=10**6, description="memory: so many checkpoints one goes to storage; 0: none"
    )


class Recovery(Section):
    """What happens after a failure."""

    elastic: Literal["rigid", "restart", "live"] = Field(
        "rigid",
        description="rigid: wait for all nodes; restart: go on with fewer from a checkpoint; "
        "live: remap in place (ElasWave)",
    )
    least_nodes: int = Field(1, ge=1, le=100_000, description="elastic: fewer do not run")
    detect_s: float = Field(30.0, ge=0, le=1e6, description="to notice a failure")
    restart_s: float = Field(300.0, ge=0, le=1e6, description="processes, communication, warm-up")
    reshard_s: float = Field(10.0, ge=0, le=1e6, description="live: to remap")
    swap_s: float = Field(60.0, ge=0, le=1e6, description="to replace a slow node in place")
    regrow_minutes: float = Field(
        30.0, ge=0, le=1e6, description="elastic: between two changes, before more nodes are taken"
    )


class TrainingRunScenario(Scenario):
    """A long training run: useful time, lost time, time to finish, dollars."""

    system: Literal["training-run"] = "training-run"
    job: Job = Field(Job(), description="what is trained")
    cluster: Cluster = Field(Cluster(), description="on what")
    stragglers: Stragglers = Field(Stragglers(), description="how steps differ")
    failures: Failures = Field(Failures(), description="what fails")
    checkpoint: Checkpoint = Field(Checkpoint(), description="what is saved")
    recovery: Recovery = Field(Recovery(), description="how the run goes on")
    limit_days: float = Field(3650.0, gt=0, le=36500, description="after which a run is given up")

    result_class: ClassVar[str] = "mltwin.reliability_result:TrainingRunResult"

    @model_validator(mode="after")
    def _together(self) -> "TrainingRunScenario":
        least = self.recovery.least_nodes
        if self.recovery.elastic != "rigid" and least > self.job.nodes:
            raise InputError(
                f"{least} nodes at least of {self.job.nodes}",
                where="recovery.least_nodes",
                mend="give no more than job.nodes",
            )
        slow, racks = self.stragglers.slow_days, self.cluster.rack_mtbf_days
        if self.failures.kind == "trace" and (slow or racks):
            raise InputError(
                "nodes come and go by a trace",
                where="stragglers.slow_days" if slow else "cluster.rack_mtbf_days",
                mend="leave slow nodes and failing racks out",
            )
        return self

    def simulate(self, seed: int, *, reference: bool = False, **others: Any) -> Result:
        """One run.

        Args:
            seed: of failures, repairs and step times.
            reference: by the SimPy twin (slow); the same result.
            others: options of other systems; ignored.
        """
        from .reliability_run import run_training

        del others
        return run_training(self, seed, reference=reference)

    def check(self) -> None:
        """Look up the file that the scenario names.

        Raises InputError if it is not there.
        """
        name = self.failures.trace
        if name is not None and not self.resolve_path(name).is_file():
            raise InputError(f"no file {name!r}", where="failures.trace", mend="check the path")
