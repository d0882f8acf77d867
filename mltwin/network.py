"""`NetworkScenario`: flows, patterns or a collective over a topology, as a page of TOML.

Sections: `topology` (what is wired to what), `traffic` (what is sent), `changes` (links that fail
or slow down), `traces` (links that follow a trace). The models: `mltwin.models.network`.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from mltwin.sim.errors import InputError

from .fields import Section, Spec
from .result import Result
from .scenario import Scenario


class Traffic(Section):
    """What is sent: random flows, a pattern that starts at once, a collective, or a file."""

    kind: Literal["poisson", "pattern", "collective", "file"] = Field(
        "poisson", description="random flows, a pattern that starts at once, a collective, a CSV"
    )
    flows: int = Field(2000, ge=1, le=10_000_000, description="poisson: how many")
    load: float = Field(
        0.6, gt=0, le=100, description="poisson: of what all endpoints can send together"
    )
    size_mb: float = Field(
        10.0,
        gt=0,
        le=1e9,
        description="10^6 bytes: of a flow (poisson: the mean); of a collective's buffer on a rank",
    )
    law: Literal["fixed", "exponential", "lognormal", "pareto"] = Field(
        "exponential", description="poisson: of the sizes"
    )
    spread: float = Field(
        1.0, gt=0, le=10, description="lognormal: of the sizes' logarithm; pareto: exponent less 1"
    )
    matrix: Literal["uniform", "permutation", "incast", "islands"] = Field(
        "uniform",
        description="poisson: any pair, each rank to one other, all to rank 0, other islands only",
    )
    pattern: Literal["permutation", "incast", "all_to_all", "neighbours", "shift"] = Field(
        "permutation", description="pattern: who sends to whom"
    )
    senders: int | None = Field(None, ge=1, description="pattern incast: how many (default: all)")
    shift: int = Field(1, ge=1, description="pattern shift: rank r sends to r + shift")
    collective: Literal[
        "all_reduce", "reduce_scatter", "all_gather", "all_to_all", "broadcast", "send_recv"
    ] = Field("all_reduce", description="collective: which")
    algorithm: str = Field(
        "auto", description="collective: ring, tree, hierarchical, ...; auto: the fastest alone"
    )
    ranks: int | None = Field(
        None, ge=2, description="collective: the first so many (default: all)"
    )
    groups: int = Field(
        1, ge=1, description="collective: so many at once, each among every groups-th rank"
    )
    stepwise: bool = Field(
        False, description="collective: every step its own flow, else one pipelined flow an edge"
    )
    file: str | None = Field(
        None, description="file: CSV with start_s, source, target, bytes (and weight, cap_gbps)"
    )

    @model_validator(mode="after")
    def _fits(self) -> "Traffic":
        if (self.kind == "file") != (self.file is not None):
            raise InputError(
                "kind = 'file' and `file` go together",
                where="traffic",
                mend="give both or neither",
            )
        return self


class LinkChange(Section):
    """A link that fails, slows down or comes back."""

    at_ms: float = Field(ge=0, le=8e9, description="when")
    link: str = Field(description="its name, 'a->b' (both directions: 'a<->b')")
    share: float = Field(ge=0, le=1, description="of its bandwidth from then on; 0: it is down")


class LinkTrace(Section):
    """A link whose bandwidth follows a trace, which repeats."""

    link: str = Field(description="its name, 'a->b' (both directions: 'a<->b')")
    trace: str = Field(
        description="a file (Mahimahi, HSDPA, FCC, Puffer, 5G), or drawn: 3g, 4g, 5g, broadband, "
        "streaming"
    )
    scale: float = Field(1.0, gt=0, le=1e6, description="times the trace's bandwidth")
    start_s: float = Field(0.0, ge=0, le=1e6, description="where in a file's trace the run begins")
    until_s: float = Field(
        600.0, gt=0, le=1e6, description="how far it is laid out; later the last rate stays"
    )


class NetworkScenario(Scenario):
    """Transfers and collectives over a topology: completion times, loads, congestion."""

    system: Literal["network"] = "network"
    topology: Spec = Field(
        "leaf_spine",
        description='a builder, {name = "star", hosts = 8}, or {file = "mine.json"}',
    )
    routing: Literal["ecmp", "shortest", "spray", "split"] = Field(
        "ecmp", description="which of the shortest paths a flow takes; split: in `parts` subflows"
    )
    parts: int = Field(1, ge=1, le=256, description="split: subflows of a flow")
    fidelity: Literal["maxmin", "alphabeta"] = Field(
        "maxmin", description="flows share links max-min fairly, or each runs as if alone"
    )
    traffic: Traffic = Field(Traffic(), description="what is sent")
    changes: list[LinkChange] = Field([], description="links that fail or slow down")
    traces: list[LinkTrace] = Field([], description="links whose bandwidth follows a trace")

    result_class: ClassVar[str] = "mltwin.network_result:NetworkResult"

    @model_validator(mode="after")
    def _whole(self) -> "NetworkScenario":
        if self.parts > 1 and self.routing != "split":
            raise InputError(
                f"{self.parts} parts under routing = {self.routing!r}",
                where="parts",
                mend="routing = 'split', or leave `parts` out",
            )
        return self

    def simulate(self, seed: int, *, reference: bool = False, **others: Any) -> Result:
        """One run.

        Args:
            seed: of sizes, instants, pairs and hashes.
            reference: by the plain-Python twin (slow); same result.
            others: options of other systems; ignored.

        Raises InputError: a topology that cannot be built, a rank or link that is not there, a
            bad trace, a transfer over a link that is down for good.
        """
        from .network_run import run_network

        del others
        return run_network(self, seed, reference=reference)

    def check(self) -> None:
        """Build the topology and look up the files that the scenario names.

        Raises InputError for the first that is wrong.
        """
        from .network_run import topology_of
        from .network_traces import check_traces

        check_traces(self, topology_of(self))
        if self.traffic.file and not self.resolve_path(self.traffic.file).is_file():
            raise InputError(
                f"no file {self.traffic.file!r}", where="traffic.file", mend="check the path"
            )
