"""The same local training as others would write it: NumPy over many clients at once, PyTorch.

Needs nothing of ours, so that it also runs in the environment that has PyTorch:
`python benchmarks/federated_learning_peers.py '{"way": "torch_vmap", "sizes": [60, 10], ...}'`
prints one JSON object, the median client rounds per second.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

LR = 0.1
SAMPLES, STEPS, BATCH = 50, 5, 10
SECONDS = 1.5  # of timed rounds, at least three of them
MOST_NUMBERS = 4_000_000  # parameters of the clients that are trained at once


def pool(sizes: list[int], clients: int) -> tuple[Any, Any, Any]:
    """Features, labels and, for each client, its rows of them: as our own benchmark's."""
    draw = np.random.default_rng(0)
    count = SAMPLES * min(clients, max(4, 200_000_000 // (4 * SAMPLES * sizes[0])))
    centres = draw.normal(size=(sizes[-1], sizes[0])).astype(np.float32) * np.float32(0.6)
    labels = draw.integers(0, sizes[-1], count)
    x = draw.standard_normal((count, sizes[0]), dtype=np.float32)
    x *= np.float32(2)
    x += centres[labels]
    rows = np.arange(clients * SAMPLES).reshape(clients, SAMPLES) % count
    return x, labels, rows


def first_weights(sizes: list[int]) -> list[Any]:
    """[inputs + 1, units] for each layer, the last row the biases."""
    draw = np.random.default_rng(1)
    weights = []
    for inputs, units in zip(sizes[:-1], sizes[1:], strict=True):  # noqa: RUF007
        matrix = draw.standard_normal((inputs + 1, units), dtype=np.float32)
        matrix *= np.float32(np.sqrt(2.0 / inputs))
        matrix[-1] = 0
        weights.append(matrix)
    return weights


def numpy_step(weights: list[Any], x: Any, targets: Any) -> None:
    """One step of SGD of k clients in place: weights [k, inputs + 1, units], x [k, m, inputs]."""
    layers = [x]
    for matrix in weights[:-1]:
        layers.append(np.maximum(layers[-1] @ matrix[:, :-1] + matrix[:, -1:], 0))
    logits = layers[-1] @ weights[-1][:, :-1] + weights[-1][:, -1:]
    logits -= logits.max(2, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(2, keepdims=True)
    errors = logits - targets
    rate = np.float32(LR / x.shape[1])
    for layer in reversed(range(len(weights))):
        matrix, inputs = weights[layer], layers[layer]
        below = (errors @ matrix[:, :-1].transpose(0, 2, 1)) * (inputs > 0) if layer else None
        matrix[:, :-1] -= rate * (inputs.transpose(0, 2, 1) @ errors)
        matrix[:, -1] -= rate * errors.sum(1)
        errors = below


def numpy_round(sizes: list[int], clients: int) -> Callable[[int], Any]:
    """A round of all clients, a chunk at a time; gives the last chunk's weights."""
    x, labels, rows = pool(sizes, clients)
    unit = np.eye(sizes[-1], dtype=np.float32)
    first = first_weights(sizes)
    chunk = max(1, min(200, MOST_NUMBERS // sum(matrix.size for matrix in first)))

    def play(number: int) -> Any:
        draw = np.random.default_rng(number)
        weights: list[Any] = []
        for low in range(0, clients, chunk):
            mine = rows[low : low + chunk]
            k = len(mine)
            weights = [np.repeat(matrix[None], k, axis=0) for matrix in first]
            for _ in range(STEPS):
                chosen = np.take_along_axis(mine, draw.integers(0, SAMPLES, (k, BATCH)), 1)
                numpy_step(weights, x[chosen], unit[labels[chosen]])
        return weights

    return play


def _torch_module(sizes: list[int]) -> Any:
    import torch

    parts: list[Any] = []
    for layer, matrix in enumerate(first_weights(sizes)):
        linear = torch.nn.Linear(matrix.shape[0] - 1, matrix.shape[1])
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(matrix[:-1].T.copy()))
            linear.bias.zero_()
        parts += [linear] if layer == len(sizes) - 2 else [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*parts)


def torch_loop_round(sizes: list[int], clients: int) -> Callable[[int], Any]:
    """Clients one after another, as frameworks of real clients do: a module, autograd, SGD."""
    import torch

    x, labels, rows = map(torch.from_numpy, pool(sizes, clients))
    module = _torch_module(sizes)
    first = {name: value.clone() for name, value in module.state_dict().items()}
    optimiser = torch.optim.SGD(module.parameters(), lr=LR)

    def play(number: int) -> Any:
        draw = torch.Generator().manual_seed(number)
        for mine in rows:
            module.load_state_dict(first)
            for _ in range(STEPS):
                chosen = mine[torch.randint(0, SAMPLES, (BATCH,), generator=draw)]
                optimiser.zero_grad()
                torch.nn.functional.cross_entropy(module(x[chosen]), labels[chosen]).backward()
                optimiser.step()
        return module

    return play


def torch_vmap_round(sizes: list[int], clients: int) -> Callable[[int], Any]:
    """Many clients at once by `torch.func`."""
    import torch
    from torch.func import functional_call, grad, vmap

    x, labels, rows = map(torch.from_numpy, pool(sizes, clients))
    module = _torch_module(sizes)
    first = {name: value.detach() for name, value in module.named_parameters()}
    chunk = max(1, min(200, MOST_NUMBERS // sum(value.numel() for value in first.values())))

    def loss(values: Any, inputs: Any, targets: Any) -> Any:
        return torch.nn.functional.cross_entropy(
            functional_call(module, values, (inputs,)), targets
        )

    gradients = vmap(grad(loss))

    def play(number: int) -> Any:
        draw = torch.Generator().manual_seed(number)
        values: Any = None
        for low in range(0, clients, chunk):
            mine = rows[low : low + chunk]
            k = len(mine)
            values = {name: v.expand(k, *v.shape).clone() for name, v in first.items()}
            for _ in range(STEPS):
                chosen = mine.gather(1, torch.randint(0, SAMPLES, (k, BATCH), generator=draw))
                found = gradients(values, x[chosen], labels[chosen])
                for name in values:
                    values[name] -= LR * found[name]
        return values

    return play


WAYS = {"numpy": numpy_round, "torch_loop": torch_loop_round, "torch_vmap": torch_vmap_round}


def rate(play: Callable[[int], Any], clients: int) -> float:
    """Median client rounds per second, after a round that is not timed."""
    play(0)
    times: list[float] = []
    while len(times) < 3 or (sum(times) < SECONDS and len(times) < 25):
        started = time.perf_counter()
        play(len(times) + 1)
        times.append(time.perf_counter() - started)
    return clients / statistics.median(times)


def main(spec: dict[str, Any]) -> dict[str, Any]:
    """The rate of one way at one size, on one thread."""
    found: dict[str, Any] = {}
    if spec["way"].startswith("torch"):
        import torch

        torch.set_num_threads(1)
        found["torch"] = torch.__version__
    play = WAYS[spec["way"]](spec["sizes"], spec["clients"])
    return {"client_rounds_per_s": rate(play, spec["clients"]), **found}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
