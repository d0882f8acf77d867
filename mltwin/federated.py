"""Federated learning: `mt.federated.Scenario`, `compare`, `strategies`.

A scenario says who takes part (`clients`), what is learned (`dataset`, `model`), what a client is
asked to do (`training`) and who decides (`strategy`, `selection`, `codec`, `attack`, `combine`; or
`peers`, without a server). System time and learning are one run. The model behind it:
`mltwin.models.federation`.
"""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mltwin.sim.errors import InputError

from . import scenario as _scenario
from .federated_aggregation import Aggregation
from .federated_fields import (
    Costs,
    Data,
    Model,
    Network,
    Peers,
    Population,
    Stop,
    Target,
    Training,
)
from .fields import Spec

if TYPE_CHECKING:
    from .federated_catalogue import strategies as strategies
    from .federated_compare import FederatedComparison as FederatedComparison
    from .federated_compare import compare as compare
    from .federated_flower import flower as flower
    from .result import Result

__all__ = ["FederatedScenario", "Scenario", "compare", "flower", "strategies"]

_LATER = {
    "FederatedComparison": "mltwin.federated_compare",
    "compare": "mltwin.federated_compare",
    "flower": "mltwin.federated_flower",
    "strategies": "mltwin.federated_catalogue",
}


class FederatedScenario(_scenario.Scenario):
    """A federation: what it learns, when, at what cost."""

    system: Literal["federated"] = "federated"
    strategy: Spec = Field(
        {"name": "fedavg"},
        description="how the server learns: `mltwin fed strategies`, or file.py:Class",
    )
    selection: Spec | None = Field(None, description="which idle clients work next; none: uniform")
    codec: Spec | None = Field(None, description="how updates travel; none: as they are")
    attack: Spec | None = Field(None, description="clients that send something else; none: none do")
    combine: Spec | None = Field(
        None, description="one change of many updates; none: the weighted sum"
    )
    clients: Population = Field(Population(), description="who takes part")
    dataset: Data = Field(Data(), description="what they learn from")
    model: Model = Field(Model(), description="what is learned")
    training: Training = Field(Training(), description="what a client is asked to do")
    stop: Stop = Field(Stop(), description="when a run ends")
    target: Target = Field(Target(), description="how good the model is to be")
    costs: Costs = Field(Costs(), description="prices and watts of the server's side")
    network: Network | None = Field(None, description="links that all transfers share")
    aggregation: Aggregation | None = Field(
        None, description="the service that makes a version of updates; none: it takes no time"
    )
    peers: Peers | None = Field(None, description="without a server: in place of `strategy`")

    result_class: ClassVar[str] = "mltwin.federated_result:FederatedResult"

    @model_validator(mode="after")
    def _together(self) -> "FederatedScenario":
        if self.stop.at_target and self.target.accuracy is None:
            learns = self.model.level not in ("time", "quadratic")
            raise InputError(
                "there is no accuracy to stop at",
                where="stop.at_target",
                mend="give target.accuracy" if learns else "leave it out, or learn a softmax model",
            )
        aims = self.target.accuracy is not None or self.target.loss is not None
        if self.model.level == "time" and aims:
            raise InputError(
                "nothing is learned that could reach a target",
                where="target",
                mend="set model.level to softmax",
            )
        if self.model.level == "quadratic" and self.target.accuracy is not None:
            raise InputError(
                "a quadratic model has no accuracy",
                where="target.accuracy",
                mend="give target.loss",
            )
        if self.peers is not None:
            self._refuse_server()
        return self

    def _refuse_server(self) -> None:
        """Peers have no server that could follow a policy."""
        if self.network is not None:
            raise InputError(
                "peers send over their own links", where="network", mend="leave it out"
            )
        for kind in ("strategy", "selection", "codec", "attack", "combine", "aggregation"):
            if getattr(self, kind) != type(self).model_fields[kind].default:
                raise InputError(
                    "peers have no server", where=kind, mend="leave it out, or leave out `peers`"
                )
        for name in ("aggregate_s", "aggregate_s_per_update", "detect_s"):
            if getattr(self.training, name) != Training.model_fields[name].default:
                raise InputError(
                    "peers have no server", where=f"training.{name}", mend="leave it out"
                )

    def simulate(
        self,
        seed: int,
        *,
        reference: bool = False,
        record: bool = False,
        progress: _scenario.Progress | None = None,
        **others: Any,
    ) -> "Result":
        """One run.

        Args:
            seed: of clients, data, first model and all draws.
            reference: by the SimPy twin (slow); the same result.
            record: keep the event log, which timelines need.
            progress: called with the share done, once at the end.
            others: options of other systems; ignored.

        Raises InputError: a name that is not known, data or clients that cannot be made.
        """
        from .federated_run import run_federated

        del others
        result = run_federated(self, seed, reference=reference, record=record)
        if progress is not None:
            progress(1.0, float(result.metrics["duration_s"]))
        return result

    def check(self) -> None:
        """Look up policies, laws, data and files.

        Raises InputError for the first that is wrong.
        """
        from .federated_run import check_names

        check_names(self)


Scenario = FederatedScenario
"""The name of it as `mt.federated.Scenario`."""


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name]), name)
