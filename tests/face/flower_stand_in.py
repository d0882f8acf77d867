"""As much of Flower as its strategies need, under its names: for tests without Flower."""

import enum
import io
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


class Code(enum.Enum):
    """How a client's answer went."""

    OK = 0


@dataclass
class Status:
    """As Flower's."""

    code: Code
    message: str


@dataclass
class Parameters:
    """As Flower's: arrays as bytes."""

    tensors: list[bytes]
    tensor_type: str


@dataclass
class FitIns:
    """As Flower's."""

    parameters: Parameters
    config: dict[str, Any] = field(default_factory=dict)


@dataclass
class FitRes:
    """As Flower's."""

    status: Status
    parameters: Parameters
    num_examples: int
    metrics: dict[str, Any]


def ndarrays_to_parameters(arrays: Sequence[Any]) -> Parameters:
    """As Flower's."""
    tensors = []
    for array in arrays:
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        tensors.append(buffer.getvalue())
    return Parameters(tensors, "numpy.ndarray")


def parameters_to_ndarrays(parameters: Parameters) -> list[Any]:
    """As Flower's."""
    return [np.load(io.BytesIO(tensor), allow_pickle=False) for tensor in parameters.tensors]


class FedAvg:
    """The rule of Flower's FedAvg: a weighted mean of the clients' models."""

    def __init__(
        self,
        *,
        fraction_fit: float = 1.0,
        min_fit_clients: int = 2,
        min_available_clients: int = 2,
        on_fit_config_fn: Any = None,
        initial_parameters: Parameters | None = None,
        evaluate_fn: Any = None,
    ) -> None:
        self.fraction_fit, self.min_fit_clients = fraction_fit, min_fit_clients
        self.min_available_clients = min_available_clients
        self.on_fit_config_fn, self.evaluate_fn = on_fit_config_fn, evaluate_fn
        self.initial_parameters = initial_parameters

    def initialize_parameters(self, client_manager: Any) -> Parameters | None:
        """What was given."""
        return self.initial_parameters

    def configure_fit(self, server_round: int, parameters: Parameters, client_manager: Any) -> Any:
        """A sample of those that are there."""
        config = self.on_fit_config_fn(server_round) if self.on_fit_config_fn else {}
        wanted = int(client_manager.num_available() * self.fraction_fit)
        clients = client_manager.sample(
            num_clients=max(wanted, self.min_fit_clients),
            min_num_clients=self.min_available_clients,
        )
        return [(client, FitIns(parameters, config)) for client in clients]

    def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
        """The weighted mean."""
        if not results:
            return None, {}
        total = sum(answer.num_examples for _, answer in results)
        sums: list[Any] = []
        for _, answer in results:
            arrays = parameters_to_ndarrays(answer.parameters)
            scaled = [array * (answer.num_examples / total) for array in arrays]
            sums = [a + b for a, b in zip(sums, scaled, strict=True)] if sums else scaled
        return ndarrays_to_parameters(sums), {}

    def evaluate(self, server_round: int, parameters: Parameters) -> Any:
        """By the user's function."""
        if self.evaluate_fn is None:
            return None
        return self.evaluate_fn(server_round, parameters_to_ndarrays(parameters), {})


def modules() -> Iterator[tuple[str, types.ModuleType]]:
    """What `sys.modules` would have."""
    names = ("flwr", "flwr.common", "flwr.server", "flwr.server.strategy")
    found = {name: types.ModuleType(name) for name in names}
    for thing in (Code, Status, Parameters, FitIns, FitRes):
        setattr(found["flwr.common"], thing.__name__, thing)
    for function in (ndarrays_to_parameters, parameters_to_ndarrays):
        setattr(found["flwr.common"], function.__name__, function)
    found["flwr.server.strategy"].FedAvg = FedAvg  # type: ignore[attr-defined]
    return iter(found.items())
