"""Any PyTorch module as the model of a federation (extra `measure`)."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import Local, Updates
from mltwin.sim import rng_arrays
from mltwin.sim.errors import InputError

from .classifier import Evaluated, mean
from .order import walk
from .tables import Examples

Array = npt.NDArray[Any]

Loss = Callable[[Any, Any], Any]

_TEST_BATCH = 1024


class TorchTask(Evaluated):
    """A PyTorch module that learns on the CPU, in float32.

    Clients are trained many at a time with `torch.func.vmap` over `grad` where the module allows
    it, else one after another (dropout, batch norm with running statistics, data-dependent
    control flow). Data come in the order of the other tasks. Results are the same from run to
    run; other than theirs the bits are those of one PyTorch version, CPU and number of threads.

    Args:
        module: makes the module; called once for each `initial`, and here.
        examples: who has which data; the module takes float32[m, features].
        loss: loss(outputs, targets) gives a tensor [m], one for each sample; None: cross entropy
            of logits [m, classes], or half the squared error where there are no classes.
        flops_per_sample: of forward and backward pass; None: 6 a parameter, as of dense layers.
        together: most clients at a time.

    Attributes:
        parameters: d, of all that `module.parameters()` gives, in its order.

    Raises:
        InputError: PyTorch is missing; the module does not take the data.
    """

    def __init__(
        self,
        module: Callable[[], Any],
        examples: Examples,
        loss: Loss | None = None,
        *,
        flops_per_sample: float | None = None,
        together: int = 64,
    ) -> None:
        self._torch = _import_torch()
        self.examples, self.together = examples, together
        self._make = module
        self._module = module()
        self._shapes = [(name, tuple(p.shape)) for name, p in self._module.named_parameters()]
        self.parameters = sum(int(np.prod(shape)) for _, shape in self._shapes)
        self.flops_per_sample = flops_per_sample or 6.0 * self.parameters
        self._loss = loss or self._usual_loss
        self._kind = np.int64 if examples.classes else np.float32
        self._x = self._torch.from_numpy(examples.x)
        self._y = self._torch.from_numpy(examples.y.astype(self._kind))
        self._vectorised = True
        self._try_module()

    def _usual_loss(self, outputs: Any, targets: Any) -> Any:
        functions = self._torch.nn.functional
        if self.examples.classes:
            return functions.cross_entropy(outputs, targets, reduction="none")
        return 0.5 * (outputs.reshape(targets.shape) - targets) ** 2

    def _try_module(self) -> None:
        """One pass over two samples; whether many clients can be trained at a time."""
        torch = self._torch
        start = torch.from_numpy(self.initial(0).astype(np.float32))
        x, y = self._x[:2], self._y[:2]
        try:
            _, losses = self._one_gradient(start, x, y)
        except (RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"the module or the loss fails on samples {tuple(x.shape)}: {error}", where="task"
            ) from None
        if tuple(losses.shape) != (len(x),):
            raise InputError(
                f"the loss of {len(x)} samples has shape {tuple(losses.shape)}",
                where="task",
                mend="give one loss for each sample (reduction='none')",
            )
        try:
            self._gradients(start[None], x[None], y[None])
        except (RuntimeError, NotImplementedError, ValueError):
            self._vectorised = False

    def initial(self, seed: int) -> Array:
        """float64[d], the first model: as the module is made under this seed of PyTorch."""
        torch = self._torch
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            parts = [p.detach().reshape(-1) for p in self._make().parameters()]
        return torch.cat(parts).double().numpy()

    def _objective(self, flat: Any, x: Any, y: Any) -> Any:
        """Mean loss of a batch, and the losses."""
        losses = self._loss(self._outputs(flat, x), y)
        return losses.mean(), losses

    def _outputs(self, flat: Any, x: Any) -> Any:
        values, place = {}, 0
        for name, shape in self._shapes:
            size = int(np.prod(shape))
            values[name] = flat[place : place + size].reshape(shape)
            place += size
        return self._torch.func.functional_call(self._module, values, (x,))

    def _one_gradient(self, flat: Any, x: Any, y: Any) -> Any:
        """[d] gradient and [m] losses of one client's batch."""
        return self._torch.func.grad(self._objective, has_aux=True)(flat, x, y)

    def _gradients(self, flat: Any, x: Any, y: Any) -> Any:
        """[n, d] gradients and [n, m] losses of the batches of n clients."""
        if self._vectorised:
            return self._torch.vmap(self._one_gradient)(flat, x, y)
        pairs = [self._one_gradient(*one) for one in zip(flat, x, y, strict=True)]
        return tuple(map(self._torch.stack, zip(*pairs, strict=True)))

    def train(
        self,
        versions: Array,
        which: Array,
        clients: Array,
        dispatches: Array,
        steps: Array,
        local: Local,
        seed: int,
    ) -> Updates:
        """Local training of n dispatches, as `hooks.Task.train` says.

        Raises:
            InputError: the step size is to adapt, which is not built here.
        """
        if local.adapt is not None:
            raise InputError(
                "a PyTorch model does not adapt its step size within a client's steps",
                where="task",
                mend="take softmax or mlp, or FedHyper's variant gm, g or sl",
            )
        count = len(clients)
        delta = np.zeros((count, self.parameters), np.float32)
        loss, squared = np.zeros(count), np.zeros(count)
        lr = np.broadcast_to(np.asarray(local.lr, np.float32), (count,))
        samples = self.examples.samples[clients]
        sizes = np.minimum(local.batch, samples) if local.batch else samples
        self._module.train()
        for group in _alike(sizes, steps, self.together if self._vectorised else 1):
            if not steps[group[0]]:
                continue
            batches = [
                self._batches(int(clients[i]), int(dispatches[i]), int(steps[i]), sizes[i], seed)
                for i in group
            ]
            start = self._torch.from_numpy(np.asarray(versions, np.float32)[which[group]])
            with self._torch.random.fork_rng(devices=[]):
                key = rng_arrays.bits(
                    seed, rng_arrays.TRAINING, clients[group[0]], dispatches[group[0]]
                )
                self._torch.manual_seed(int(key) >> 1)  # for dropout: then a group is one client
                end, losses = self._descend(start, np.stack(batches, 1), lr[group], local, group)
            delta[group] = (end - start).numpy()
            found = losses.double().numpy().reshape(len(group), -1)
            loss[group], squared[group] = found.mean(1), (found * found).mean(1)
        return Updates(delta, loss, squared)

    def _batches(self, client: int, dispatch: int, steps: int, size: int, seed: int) -> Array:
        """int64[steps, size], rows of the pool that each step of a dispatch is on."""
        data = self.examples
        rows = data.row[data.first[client] : data.first[client + 1]].astype(np.int64)
        if size == len(rows):
            return np.repeat(rows[None], steps, axis=0)
        stream = np.empty(steps * size, np.int64)
        with np.errstate(over="ignore"):
            walk(rows, seed, client, dispatch, stream)
        return stream.reshape(steps, size)

    def _descend(
        self, start: Any, batches: Array, lr: Array, local: Local, group: Array
    ) -> tuple[Any, Any]:
        """[n, d] weights after the steps, [n, steps, size] losses on the way."""
        torch = self._torch
        rates = torch.from_numpy(lr.copy())[:, None]
        correction = _tensor(torch, local.correction, group)
        weights, before = start, start
        estimate = velocity = torch.zeros_like(start)
        seen = []
        for step, rows in enumerate(batches):
            x, y = self._x[rows], self._y[rows]
            gradient, losses = self._gradients(weights, x, y)
            seen.append(losses.detach())
            if local.anchor is not None:
                if step:
                    estimate = estimate + (gradient - self._gradients(before, x, y)[0])
                else:
                    estimate = _tensor(torch, local.anchor, group).expand_as(start)
                gradient = estimate
            if local.prox:
                gradient = gradient + local.prox * (weights - start)
            if correction is not None:
                gradient = gradient + correction
            if local.clip:
                norm = gradient.double().norm(dim=1, keepdim=True)
                cut = torch.where(norm > local.clip, local.clip / norm, torch.ones_like(norm))
                gradient = gradient * cut.float()
            if local.momentum:
                velocity = local.momentum * velocity + gradient
                gradient = velocity
            before, weights = weights, weights - rates * gradient
        return weights.detach(), torch.stack(seen, 1)

    def test_samples(self, weights: Array, x: Array, y: Array) -> tuple[Array, Array, Array]:
        """float32[m] losses, bool[m] whether the class was found, float32[m, ...] outputs.

        In evaluation mode.
        """
        torch = self._torch
        flat = torch.from_numpy(np.array(weights, np.float32))
        inputs, labels = torch.from_numpy(x), torch.from_numpy(y.astype(self._kind))
        losses, outputs = [np.zeros(0, np.float32)], []
        self._module.eval()
        with torch.no_grad():
            for begin in range(0, max(1, len(y)), _TEST_BATCH):
                part = slice(begin, begin + _TEST_BATCH)
                found = self._outputs(flat, inputs[part])
                losses.append(self._loss(found, labels[part]).numpy())
                outputs.append(found.numpy())
        joined = np.concatenate(outputs)
        right = joined.argmax(1) == y if self.examples.classes else np.zeros(len(y), bool)
        return np.concatenate(losses), right, joined

    def losses(self, weights: Array, clients: Array) -> Array:
        """float64[n], mean loss of a model on all data of each client."""
        data, found = self.examples, np.zeros(len(clients))
        for i, rows in enumerate(self._rows(clients)):
            found[i] = mean(self.test_samples(weights, data.x[rows], data.y[rows])[0])
        return found

    def gradients(self, weights: Array, clients: Array) -> Array:
        """float32[n, d], full gradient of a model on the data of each client."""
        flat = self._torch.from_numpy(np.asarray(weights, np.float32).copy())
        found = np.zeros((len(clients), self.parameters), np.float32)
        self._module.train()
        for i, rows in enumerate(self._rows(clients)):
            found[i] = self._one_gradient(flat, self._x[rows], self._y[rows])[0].detach().numpy()
        return found

    def _rows(self, clients: Array) -> Iterator[Array]:
        data = self.examples
        for client in clients:
            yield data.row[data.first[client] : data.first[client + 1]].astype(np.int64)


def _alike(sizes: Array, steps: Array, most: int) -> Iterator[Array]:
    """Dispatches that take as many steps of as many samples, up to `most` at a time."""
    shapes = np.stack([sizes, steps], 1)
    for shape in np.unique(shapes, axis=0):
        group = np.flatnonzero((shapes == shape).all(1))
        yield from (group[k : k + most] for k in range(0, len(group), most))


def _tensor(torch: Any, values: Array | None, group: Array) -> Any:
    """The rows of a group of a float32[d] or [n, d], as a tensor."""
    if values is None:
        return None
    given = np.asarray(values, np.float32)
    return torch.from_numpy(given[group] if given.ndim == 2 else given[None].copy())


def _import_torch() -> Any:
    try:
        import torch
    except ImportError:
        raise InputError(
            "PyTorch is not installed", where="task", mend="pip install 'mltwin[measure]'"
        ) from None
    return torch
