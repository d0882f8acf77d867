"""What is asked of a Flower strategy, and how: Flower's types in, arrays out.

`Calls` is what `federated_flower` wants to know; this file has the one for
`flwr.server.strategy.Strategy`, `federated_flower_messages` that for message-based strategies.
"""

import importlib
import logging
import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from numpy import random as numpy_random  # what strategies draw from; nothing of ours does

from mltwin.models.federation.hooks import Server
from mltwin.sim.errors import InputError

Array = npt.NDArray[Any]
Sent = list[tuple[int, Mapping[str, Any]]]
"""Clients that are sent the model, each with its configuration."""
Failed = list[tuple[int, str]]
"""Clients that do not answer, and why."""


_ASKED = (
    "initialize_parameters", "configure_fit", "aggregate_fit", "evaluate", "configure_train",
    "aggregate_train",
)  # fmt: skip
_LOGGER = "flwr"
_turn = threading.RLock()


class TooFew(Exception):
    """A strategy waits for more clients than are there."""

    def __init__(self, wanted: int, there: int) -> None:
        super().__init__(f"{wanted} of {there}")
        self.wanted, self.there = wanted, there


@dataclass(frozen=True, eq=False)
class Trained:
    """What n clients answer: client int[n], models float32[n, d], samples int[n], loss [n]."""

    client: Array
    models: Array
    samples: Array
    loss: Array


class Calls(ABC):
    """Calls of one strategy in one run.

    Its code may draw from `random` and `numpy.random`: for each call both are seeded by the run's
    seed, the round and the call, and put back. Flower's log shows errors only.
    """

    def __init__(self, strategy: Any) -> None:
        self.strategy = strategy
        self.name = type(strategy).__name__

    def begin(self, server: Server) -> None:
        """A run begins."""
        self.server = server
        self.shapes = array_shapes(server.task)

    @abstractmethod
    def first(self) -> Array | None:
        """float64[d], the strategy's own first model, if any."""

    @abstractmethod
    def configure(self, number: int) -> Sent:
        """Who takes part in a round. Raises TooFew."""

    @abstractmethod
    def aggregate(
        self, number: int, trained: Trained, failed: Failed
    ) -> tuple[Array | None, dict[str, Any]]:
        """The next model float64[d], None: as before; and metrics."""

    @abstractmethod
    def evaluate(self, number: int) -> Any:
        """What the strategy's own evaluation of the model on the server says; None: nothing."""

    # Helpers of both kinds.

    def arrays(self, vector: Array) -> list[Array]:
        """float32 arrays of a model."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])[:-1]
        parts = np.split(np.asarray(vector, np.float32), ends)
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def vector(self, arrays: list[Array], what: str) -> Array:
        """float64[d] of a model's arrays.

        Raises InputError: arrays of other shapes.
        """
        found = [tuple(np.shape(array)) for array in arrays]
        if found != self.shapes:
            raise InputError(
                f"{what} of {self.name} has arrays {found}, the model {self.shapes}",
                where="strategy",
            )
        return np.concatenate([np.asarray(array, np.float64).reshape(-1) for array in arrays])

    def ask(self, what: str, number: int, *arguments: Any, **named: Any) -> Any:
        """Call a method of the strategy; an error in it becomes one clear line."""
        counter = number * len(_ASKED) + _ASKED.index(what)
        with seeded(self.server, counter), quiet():
            try:
                return getattr(self.strategy, what)(*arguments, **named)
            except (InputError, TooFew):
                raise
            except Exception as error:
                raise InputError(
                    f"{self.name}.{what} in round {number}: {type(error).__name__}: {error}",
                    where="strategy",
                ) from error


def calls_of(strategy: Any) -> Calls:
    """How to call a strategy.

    Raises InputError: it is none of Flower's, or Flower is not installed.
    """
    if all(hasattr(strategy, name) for name in ("configure_fit", "aggregate_fit")):
        return FitCalls(strategy)
    if all(hasattr(strategy, name) for name in ("configure_train", "aggregate_train")):
        from .federated_flower_messages import MessageCalls

        return MessageCalls(strategy)
    raise InputError(
        f"a {type(strategy).__name__} is no strategy of Flower",
        where="strategy",
        mend="give one that inherits flwr.server.strategy.Strategy",
    )


def flower_module(name: str) -> Any:
    """A module of Flower.

    Raises InputError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise not_installed() from None


def not_installed() -> InputError:
    """What to tell where Flower is missing."""
    return InputError(
        "Flower is not installed", where="strategy", mend="pip install mltwin[flower]"
    )


def missing_flower(error: BaseException | None) -> bool:
    """Whether an error says that Flower is missing."""
    name = getattr(error, "name", None)
    return isinstance(error, ImportError) and (name or "").partition(".")[0] == "flwr"


def array_shapes(task: Any) -> list[tuple[int, ...]]:
    """Shapes of the arrays that clients of Flower would send.

    Of dense layers weights [inputs, units] and biases [units] of each; of others one vector.
    """
    layout = getattr(task, "layout", None)
    if layout is None:
        return [(int(task.parameters),)]
    return [shape for rows, units in layout.shapes for shape in ((rows - 1, units), (units,))]


def metrics_of(loss: float) -> dict[str, Any]:
    """What a client tells beside its model: the mean loss of its local steps, by its two names."""
    return {"loss": float(loss), "train_loss": float(loss)}


@contextmanager
def seeded(server: Server, counter: int) -> Iterator[None]:
    """`random` and `numpy.random` seeded by the run and a counter; afterwards as they were.

    Both are the process's: runs in other threads wait.
    """
    key = int(server.draws(counter, 1)[0] * 2**32)
    with _turn:
        before = random.getstate(), numpy_random.get_state()  # noqa: NPY002
        random.seed(key)
        numpy_random.seed(key)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(before[0])
            numpy_random.set_state(before[1])  # noqa: NPY002


@contextmanager
def quiet() -> Iterator[None]:
    """Flower logs errors only: it warns in every run of what is optional."""
    logger = logging.getLogger(_LOGGER)
    before = logger.level
    logger.setLevel(max(before, logging.ERROR))
    try:
        yield
    finally:
        logger.setLevel(before)


class Proxy:
    """A client as a strategy sees it: Flower's `ClientProxy`.

    Attributes:
        cid, node_id: its number.
        properties: samples, s_per_sample.
    """

    def __init__(self, client: int, server: Server) -> None:
        self.cid, self.node_id = str(client), client
        known = server.clients
        self.properties = {
            "samples": int(known.samples[client]),
            "s_per_sample": float(known.s_per_sample[client]),
        }

    def _refuse(self, *arguments: Any, **named: Any) -> NoReturn:
        raise InputError(
            "a strategy cannot call its clients here: the twin trains them", where="strategy"
        )

    fit = evaluate = get_parameters = get_properties = reconnect = _refuse


class Manager:
    """The clients that are there now: Flower's `ClientManager`.

    It draws as the run's selection policy says, so that Flower's strategies and the built-in ones
    choose the same clients under one seed.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._idle = server.idle()

    def __len__(self) -> int:
        return len(self._idle)

    def num_available(self) -> int:
        """How many are there."""
        return len(self._idle)

    def all(self) -> dict[str, Proxy]:
        """By their numbers."""
        return {str(client): Proxy(client, self._server) for client in self._idle.tolist()}

    def wait_for(self, num_clients: int, timeout: int = 86400) -> bool:
        """The round begins when so many are there. Raises TooFew: not yet."""
        if len(self) < num_clients:
            raise TooFew(num_clients, len(self))
        return True

    def sample(
        self, num_clients: int, min_num_clients: int | None = None, criterion: Any = None
    ) -> list[Proxy]:
        """So many; none where fewer are there (that the criterion takes)."""
        self.wait_for(num_clients if min_num_clients is None else min_num_clients)
        if criterion is None:
            enough = num_clients <= len(self)
            chosen = self._server.select(num_clients).tolist() if enough else []
            return [Proxy(client, self._server) for client in chosen]
        fit = [one for one in self.all().values() if criterion.select(one)]
        return random.sample(fit, num_clients) if num_clients <= len(fit) else []


class FitCalls(Calls):
    """Of `flwr.server.strategy.Strategy`."""

    def __init__(self, strategy: Any) -> None:
        super().__init__(strategy)
        self.types = flower_module("flwr.common")

    def first(self) -> Array | None:
        """As `Calls.first`."""
        given = self.ask("initialize_parameters", 0, client_manager=Manager(self.server))
        if given is None:
            return None
        arrays = self.types.parameters_to_ndarrays(given)
        return self.vector(arrays, "the first model")

    def configure(self, number: int) -> Sent:
        """As `Calls.configure`.

        Raises InputError: a model is sent that is not the server's.
        """
        model = self._model()
        asked = self.ask(
            "configure_fit",
            number,
            server_round=number,
            parameters=model,
            client_manager=Manager(self.server),
        )
        for proxy, instructions in asked or ():
            sent = instructions.parameters
            if sent is not model and sent.tensors != model.tensors:
                raise InputError(
                    f"{self.name} sends client {proxy.cid} a model that is not the server's",
                    where="strategy",
                )
        return [(int(proxy.cid), dict(given.config)) for proxy, given in asked or ()]

    def aggregate(
        self, number: int, trained: Trained, failed: Failed
    ) -> tuple[Array | None, dict[str, Any]]:
        """As `Calls.aggregate`."""
        types = self.types
        results = [
            (
                Proxy(int(client), self.server),
                types.FitRes(
                    status=types.Status(types.Code.OK, ""),
                    parameters=types.ndarrays_to_parameters(self.arrays(model)),
                    num_examples=int(samples),
                    metrics=metrics_of(loss),
                ),
            )
            for client, model, samples, loss in zip(
                trained.client, trained.models, trained.samples, trained.loss, strict=True
            )
        ]
        failures = [ConnectionError(f"client {client} {why}") for client, why in failed]
        new, metrics = self.ask("aggregate_fit", number, number, results, failures)
        if new is None:
            return None, dict(metrics or {})
        arrays = types.parameters_to_ndarrays(new)
        return self.vector(arrays, "aggregate_fit"), dict(metrics or {})

    def evaluate(self, number: int) -> Any:
        """As `Calls.evaluate`."""
        return self.ask("evaluate", number, number, self._model())

    def _model(self) -> Any:
        return self.types.ndarrays_to_parameters(self.arrays(self.server.weights))
