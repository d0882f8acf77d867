"""Message-based Flower strategies (`flwr.serverapp.strategy.Strategy`, Flower 1.21 and later)."""

from typing import Any, NoReturn

import numpy as np

from mltwin.models.federation.hooks import Server
from mltwin.sim.errors import InputError

from .federated_flower_calls import (
    Array,
    Calls,
    Failed,
    Sent,
    TooFew,
    Trained,
    flower_module,
    metrics_of,
)

_LOST = 1
_LOOKS = 3
"""Times that a strategy asks who is there, of which the last finds it waiting."""


class Nodes:
    """The clients that are there now: Flower's `Grid`, as far as choosing them goes.

    A node's id is its client's number plus 1.
    """

    def __init__(self, server: Server, wanted: int) -> None:
        self._ids = [client + 1 for client in server.idle().tolist()]
        self._wanted, self._looks = wanted, 0

    def get_node_ids(self) -> list[int]:
        """Those that are there. Raises TooFew: the strategy waits for more."""
        self._looks += 1
        if len(self._ids) < self._wanted or self._looks > _LOOKS:
            raise TooFew(max(self._wanted, len(self._ids) + 1), len(self._ids))
        return list(self._ids)

    def _refuse(self, *arguments: Any, **named: Any) -> NoReturn:
        raise InputError(
            "a strategy cannot send messages of its own here: the twin does", where="strategy"
        )

    send_and_receive = push_messages = pull_messages = create_message = _refuse


class MessageCalls(Calls):
    """Calls of one message-based strategy.

    Its first model is the twin's (Flower gives it to `start`, not to the strategy), and so is the
    evaluation on the server.
    """

    def __init__(self, strategy: Any) -> None:
        super().__init__(strategy)
        self.types = flower_module("flwr.app")

    def begin(self, server: Server) -> None:
        """As `Calls.begin`."""
        super().begin(server)
        _identify()
        self.config = self.types.ConfigRecord()
        self.messages: dict[int, Any] = {}

    def first(self) -> Array | None:
        """None: the twin's."""
        return None

    def evaluate(self, number: int) -> Any:
        """None: the twin does."""
        return None

    def configure(self, number: int) -> Sent:
        """As `Calls.configure`.

        Raises InputError: a model is sent that is not the server's.
        """
        model = self.types.ArrayRecord(self.arrays(self.server.weights))
        limits = ("min_available_nodes", "min_train_nodes")
        wanted = max(int(getattr(self.strategy, name, 0)) for name in limits)
        nodes = Nodes(self.server, wanted)
        asked = self.ask("configure_train", number, number, model, self.config, nodes)
        self.messages = {message.metadata.dst_node_id - 1: message for message in asked}
        sent: Sent = []
        for client, message in self.messages.items():
            for record in message.content.array_records.values():
                if record is not model and not _equal(record, model):
                    raise InputError(
                        f"{self.name} sends client {client} a model that is not the server's",
                        where="strategy",
                    )
            config: dict[str, Any] = {}
            for given in message.content.config_records.values():
                config |= dict(given)
            sent.append((client, config))
        return sent

    def aggregate(
        self, number: int, trained: Trained, failed: Failed
    ) -> tuple[Array | None, dict[str, Any]]:
        """As `Calls.aggregate`."""
        types = self.types
        weight = str(getattr(self.strategy, "weighted_by_key", "num-examples"))
        replies = []
        for client, model, samples, loss in zip(
            trained.client.tolist(), trained.models, trained.samples, trained.loss, strict=True
        ):
            answer = {
                "arrays": types.ArrayRecord(self.arrays(model)),
                "metrics": types.MetricRecord({weight: int(samples), **metrics_of(loss)}),
            }
            content = types.RecordDict(answer)
            replies.append(types.Message(content, reply_to=self.messages[client]))
        for client, why in failed:
            error = types.Error(_LOST, f"client {client} {why}")
            replies.append(types.Message(error, reply_to=self.messages[client]))
        new, metrics = self.ask("aggregate_train", number, number, replies)
        found = dict(metrics or {})
        if new is None:
            return None, found
        return self.vector(new.to_numpy_ndarrays(), "aggregate_train"), found


def _equal(record: Any, other: Any) -> bool:
    mine, theirs = record.to_numpy_ndarrays(), other.to_numpy_ndarrays()
    return len(mine) == len(theirs) and all(map(np.array_equal, mine, theirs))


def _identify() -> None:
    """Messages name the task that makes them; outside of Flower's engine there is none."""
    try:
        from flwr.supercore.task_identity import TaskIdentity
    except ImportError:  # earlier versions know no such thing
        return
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
