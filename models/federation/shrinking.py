"""FedConv: what smaller models save at the clients and cost at the server.

Shen et al., arXiv 2502.20639, and its code: level k has 0.75^k of the channels of every hidden
layer (network_architecture, config.py); the server makes the small models from the large one by
learned convolutions, widens what comes back by learned transposed convolutions and weighs the
clients, each tuned on a small public set (config.py: 10, 20, 20 and 20 epochs a round). The learned
convolutions themselves are not simulated: `policies.federated.submodels` has nested sub-models of
the same sizes. Published [abstract]: 33 % less compute and 25 % less traffic, on average over six
data sets and against other systems, which is not what is counted here (against whole models).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mltwin.sim.errors import InputError

PAPER_LEVELS = (0, 0, 1, 1, 1, 1, 2, 2, 2, 2)
"""k of the 10 clients (config.py)."""
PAPER_RATIO = 0.75


@dataclass(frozen=True)
class Layer:
    """A convolution, or a dense layer (kernel 1 at one place).

    Attributes:
        inputs, outputs: channels of the whole model.
        kernel: its side.
        places: of the output (height times width).
        spread: inputs for each input channel (49 where a 7 x 7 map is flattened).
    """

    inputs: int
    outputs: int
    kernel: int = 1
    places: int = 1
    spread: int = 1

    def weights(self, inputs: int, outputs: int) -> int:
        """Parameters with so many channels, biases included."""
        return self.kernel**2 * inputs * self.spread * outputs + outputs

    def flops(self, inputs: int, outputs: int) -> float:
        """Of one sample, forward, 2 for a multiplication and an addition."""
        return 2.0 * self.kernel**2 * inputs * self.spread * outputs * self.places


MNIST_CNN = (
    Layer(1, 16, kernel=3, places=28 * 28),
    Layer(16, 32, kernel=3, places=14 * 14),
    Layer(32, 10, spread=49),
)
"""FedConv's network for MNIST (network_architecture/MNIST.py): 20,490 parameters."""


@dataclass(frozen=True)
class Size:
    """Of a network: parameters, and FLOPs of one sample forward."""

    parameters: int
    flops: float


def size(layers: Sequence[Layer], share: float = 1.0) -> Size:
    """A network whose hidden layers have that share of their channels, rounded down as in the code.

    Raises InputError: a share that leaves a layer without channels.
    """
    if not 0.0 < share <= 1.0 or any(int(one.outputs * share) < 1 for one in layers[:-1]):
        raise InputError(f"share is {share}", where="size", mend="leave each layer a channel")
    kept = [layers[0].inputs, *(int(one.outputs * share) for one in layers[:-1])]
    widths = list(zip(kept, [*kept[1:], layers[-1].outputs], strict=True))
    pairs = list(zip(layers, widths, strict=True))
    return Size(
        sum(layer.weights(*width) for layer, width in pairs),
        sum(layer.flops(*width) for layer, width in pairs),
    )


@dataclass(frozen=True)
class FedConv:
    """One round.

    Attributes:
        bytes: of each client's model, one way.
        flops: of each client's local training.
        bytes_saved, flops_saved: over all clients, against whole models.
        server_flops: of tuning on the public set.
    """

    bytes: tuple[float, ...]
    flops: tuple[float, ...]
    bytes_saved: float
    flops_saved: float
    server_flops: float


def fedconv(
    layers: Sequence[Layer] = MNIST_CNN,
    *,
    samples: int,
    public_samples: int,
    levels: Sequence[int] = PAPER_LEVELS,
    ratio: float = PAPER_RATIO,
    local_epochs: int = 5,
    server_epochs: tuple[int, int, int, int] = (10, 20, 20, 20),
) -> FedConv:
    """Costs of a round with one client for each level.

    Training takes three forward passes' FLOPs. At the server, in this order of `server_epochs`: the
    large model is trained on the public set, each smaller size's convolutions (through the small
    model), each smaller client's transposed ones and the weights of clients (through the large
    one). Convolving the weights themselves is left out: it takes as much as a few samples.

    Args:
        samples: of each client; public_samples: of the server's set.

    Raises InputError: no client, or what `size` refuses.
    """
    if not levels:
        raise InputError("there is no client", where="fedconv.levels")
    whole = size(layers)
    made = {k: size(layers, ratio**k) for k in sorted(set(levels))}
    sent = tuple(4.0 * made[k].parameters for k in levels)
    work = tuple(3.0 * made[k].flops * samples * local_epochs for k in levels)
    large, squeeze, widen, weigh = server_epochs
    passes = (large + weigh) * whole.flops
    passes += squeeze * sum(one.flops for k, one in made.items() if k)
    passes += widen * sum(1 for k in levels if k) * whole.flops
    full_work = 3.0 * whole.flops * samples * local_epochs * len(levels)
    return FedConv(
        sent,
        work,
        1.0 - sum(sent) / (4.0 * whole.parameters * len(levels)),
        1.0 - sum(work) / full_work,
        3.0 * passes * public_samples,
    )
