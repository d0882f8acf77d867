"""Steps that adapt: the server's by moments, both by hypergradients, the clients' by anchors.

Synchronous algorithms on the frame of `synchronous.Rounds`; d_t is the mean update of a round.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import Arrivals, Clients, Plan, Server, Updates
from mltwin.sim.errors import InputError

from .limits import one_of, within
from .memory import Memory
from .registry import named
from .synchronous import Rounds, learns, step_size

Array = npt.NDArray[Any]

ANCHOR = 1
"""Tag of dispatches that bring a full gradient."""


@dataclass
class Moments(Rounds):
    """Rounds with an adaptive server step (Reddi et al. 2021, algorithm 2).

    m = beta1 m + (1 - beta1) d_t, v as the algorithm says, w += eta_g m / (sqrt(v) + tau);
    m starts at 0, v at tau^2. No bias correction, as in the paper.

    Attributes:
        beta1, beta2: of the moments.
        tau: degree of adaptivity.
    """

    server_lr: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3
    _first: Any = field(init=False, repr=False, default=None)
    _second: Any = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, beta1=(0, 1), beta2=(0, 1), tau=(1e-30, 1e9))

    def reset(self, server: Server) -> None:
        """No moments."""
        self._first, self._second = 0.0, self.tau**2

    def change(self, server: Server, done: Arrivals, updates: Updates) -> Array:
        """eta_g m / (sqrt(v) + tau)."""
        mean = self.mean(server, done, updates.delta)
        self._first = self.beta1 * self._first + (1 - self.beta1) * mean
        self._second = self.second(self._second, mean * mean)
        return self.server_lr * self._first / (np.sqrt(self._second) + self.tau)

    def second(self, v: Any, square: Array) -> Array:
        """The next v, from the last and d_t^2."""
        raise NotImplementedError


@named("strategy", "fedadagrad", source="Reddi et al. 2021 (ICLR), algorithm 2")
@dataclass
class FedAdagrad(Moments):
    """FedAvg with Adagrad at the server.

    v += d_t^2.
    """

    beta1: float = 0.0

    def second(self, v: Any, square: Array) -> Array:
        """v + d_t^2."""
        return v + square


@named("strategy", "fedadam", source="Reddi et al. 2021 (ICLR), algorithm 2")
@dataclass
class FedAdam(Moments):
    """FedAvg with Adam at the server.

    v = beta2 v + (1 - beta2) d_t^2.
    """

    def second(self, v: Any, square: Array) -> Array:
        """beta2 v + (1 - beta2) d_t^2."""
        return self.beta2 * v + (1 - self.beta2) * square


@named("strategy", "fedyogi", source="Reddi et al. 2021 (ICLR), algorithm 2")
@dataclass
class FedYogi(Moments):
    """FedAvg with Yogi at the server.

    v -= (1 - beta2) d_t^2 sign(v - d_t^2).
    """

    def second(self, v: Any, square: Array) -> Array:
        """v - (1 - beta2) d_t^2 sign(v - d_t^2)."""
        return v - (1 - self.beta2) * square * np.sign(v - square)


VARIANTS = ("g", "gm", "sl", "cl")
_BOUNDS = {"g": (-0.8, 4.0), "gm": (-0.2, 4.0), "sl": (-0.9, 9.0)}


@named("strategy", "fedhyper", source="Wang et al. 2024 (ICLR); code ATP-1010/FedHyper")
@dataclass
class FedHyper(Rounds):
    """Learning rates that rise while successive mean updates agree.

    h += <d_t, d_{t-1}>. g (server): w += (1 + h) d_t, h within -0.8 and 4. gm: h within -0.2 and 4,
    and 0.9 h d_{t-1} comes on top, d_{t-1} with momentum 0.9. sl (clients): eta_l (1 + h), within a
    tenth and ten times of the plan's, from the next round on. cl (within a client's steps): step k
    of a dispatch has size b eta_l, b = 1 at first, and after every step but the first b *= min(1.1,
    1 + <s_k, s_{k-1}> + 0.1 <s_k, d_{t-1}> / m), within 0.1 and 10; s_k is what step k changed the
    weights by, the first of them replaced by d_{t-1}, and m the clients of a round.

    The rules are those of the authors' code, where `sl` sets rates that the next round throws away:
    here they are kept, and the bounds are relative (0.001 and 0.1 there, at a rate of 0.01). There
    `cl` leaves out the first step of each pass over the data, here of each dispatch; the momentum
    of 0.5 at the clients is not here.

    Attributes:
        variant: "g", "gm", "sl" or "cl".
        momentum: of "gm".
    """

    variant: str = "gm"
    momentum: float = 0.9
    _hyper: float = field(init=False, repr=False, default=0.0)
    _last: Any = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self, "variant", VARIANTS)
        within(self, momentum=(0, 1))

    def reset(self, server: Server) -> None:
        """h = 0, no update before."""
        self._hyper, self._last = 0.0, None

    def local(self, server: Server, done: Arrivals) -> dict[str, Any]:
        """The clients' rate in "sl", what it adapts by in "cl"."""
        if self.variant == "sl":
            return {"lr": step_size(server.plan, server.version) * (1 + self._hyper)}
        if self.variant == "cl":
            last = np.zeros_like(server.weights) if self._last is None else self._last
            return {"adapt": last, "pull": 0.1 / (self.clients or len(done))}
        return {}

    def change(self, server: Server, done: Arrivals, updates: Updates) -> Array:
        """eta_g (1 + h) d_t, or with momentum, or d_t."""
        mean, last = self.mean(server, done, updates.delta), self._last
        self._last = mean
        if last is None or self.variant == "cl":
            return self.server_lr * mean
        low, high = _BOUNDS[self.variant]
        self._hyper = min(max(self._hyper + float(np.sum(last * mean)), low), high)
        if self.variant == "g":
            return self.server_lr * (mean + self._hyper * mean)
        if self.variant == "sl":
            return self.server_lr * mean
        self._last = mean + self.momentum * last
        return self.server_lr * (mean + self._hyper * mean + self.momentum * self._hyper * last)


@named("strategy", "fedamd", source="Wu et al. 2023 (ICML), code HarliWu/FedAMD")
@dataclass
class FedAmd(Rounds):
    """Anchors send full gradients, miners descend from their mean with variance-reduced steps.

    Each client of a round is an anchor with probability `anchors`, else a miner. Anchor: v_i, its
    full gradient at w_t, kept at the server. Miner: g = mean of the v_i known when it was sent,
    then K steps x -= eta_l g, g += grad(x; b) - grad(x_last; b) with the same batch b at both
    points. Server: w += eta_g mean of the miners' updates; anchors do not move it.

    In the authors' code all clients have given v_i before the first round, at no cost; here all
    clients of the first step are anchors, and the mean is over those that have given one. An
    anchor computes one pass over its data and receives the model; a miner computes two gradients a
    step and receives the model and g. Codecs and attacks touch miners only.

    Attributes:
        anchors: probability of a client to be an anchor.
        every: all are anchors every so many rounds, else all are miners; 0: by `anchors`.
    """

    down_models = 2.0
    equal: bool = True
    anchors: float = 0.2
    every: int = 0
    _begun: bool = field(init=False, repr=False, default=False)
    _gradients: Any = field(init=False, repr=False, default=None)
    _sum: Any = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, anchors=(0, 1), every=(0, 1e9))

    def check(self, clients: Clients, plan: Plan) -> None:
        """Refuse a plan whose only rounds are of anchors (InputError)."""
        super().check(clients, plan)
        if self.every == 1 or (self.every == 0 and self.anchors == 1):
            raise InputError("all clients are anchors, nobody moves the model", where="strategy")

    def reset(self, server: Server) -> None:
        """No gradient known."""
        self._begun = False
        if learns(server):
            self._gradients = Memory(len(server.clients), len(server.weights))
            self._sum = np.zeros(len(server.weights))

    def send(self, server: Server, chosen: Array) -> None:
        """Anchors one full pass, miners the plan's steps at two gradients each."""
        if self.every:
            anchor = np.full(len(chosen), self._round % self.every == 0)
        else:
            anchor = server.draws(self._round, len(chosen)) < self.anchors
        if not self._begun:
            anchor[:] = True
        plan, models = server.plan, chosen[anchor]
        if len(models):
            samples = server.clients.samples[models]
            size = plan.model_bytes
            if size is None and learns(server):
                size = 4.0 * server.task.parameters
            server.dispatch(
                models,
                steps=1,
                tags=ANCHOR,
                scale=samples / np.minimum(plan.batch, samples) if plan.batch else 1.0,
                down_bytes=size,
            )
        if not anchor.all():
            server.dispatch(chosen[~anchor], scale=2.0)

    def _step(self, server: Server, done: Arrivals) -> None:
        anchor = done.tag == ANCHOR
        self._begun |= bool(anchor.any())
        if not learns(server):
            server.step(None, used=done)
            return
        miners = done.where(~anchor)
        change = np.zeros(len(server.weights))
        if len(miners):
            direction = (self._sum / max(self._gradients.known, 1)).astype(np.float32)
            updates = server.train(miners, anchor=direction)
            change = self.server_lr * self.mean(server, miners, updates.delta)
        self._remember(server, done.client[anchor])
        server.step(change, used=done)

    def _remember(self, server: Server, clients: Array) -> None:
        if len(clients):
            old = self._gradients[clients]
            new = server.task.gradients(server.weights, clients)
            self._gradients.put(clients, new)
            self._sum = self._sum + np.add.reduce(new.astype(np.float64) - old, axis=0)
