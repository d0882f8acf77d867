"""The client of `flower_task` behind both of Flower's interfaces."""

from typing import Any

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp

from .federated_learning_peers import SAMPLES
from .flower_task import learn

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """What the message API asks for."""
    place = context.node_config
    arrays = message.content["arrays"].to_numpy_ndarrays()
    learned = learn(arrays, int(place["partition-id"]), int(place["num-partitions"]))
    answer = {
        "arrays": ArrayRecord(learned),
        "metrics": MetricRecord({"num-examples": SAMPLES}),
    }
    return Message(content=RecordDict(answer), reply_to=message)


class Client(NumPyClient):
    """What the older API asks for."""

    def __init__(self, client: int, clients: int) -> None:
        self.client, self.clients = client, clients

    def fit(self, parameters: list[Any], config: dict[str, Any]) -> tuple[list[Any], int, Any]:
        """Train."""
        return learn(parameters, self.client, self.clients), SAMPLES, {}


def make_client(context: Context) -> Any:
    """The client of a virtual node."""
    place = context.node_config
    return Client(int(place["partition-id"]), int(place["num-partitions"])).to_client()
